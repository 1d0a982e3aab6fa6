//! Codes of the guest.

macro_rules! guest_codes {
    ([$next:ident $($rest:ident)*] $($before:tt)*) => {
        $next! {
            [$($rest)*]
            $($before)*
            SiteMismatch = "E-SITE", "site.json does not match HOST_DATA",
                "The digest of the drive's bytes differs from the host data in the guest's own report.",
                "Another broker or other ports could be slipped in.",
                "Start the bundle with the site.json it was built with.";
            Root = "E-ROOT", "The root volume does not open or is damaged",
                "Wrong key, or blocks that do not match the measured root hash.",
                "Changed code would run.",
                "Copy the bundle again; check that the broker holds this bundle's key.";
            Broker = "E-BROKER", "The broker cannot be reached or is not the pinned one",
                "No route, no answer, or a TLS identity that site.json does not name.",
                "A false broker could hand out false keys.",
                "Check the broker's address in the workload file, and that it runs; the identity is in its broker.toml.";
            Network = "E-NETWORK", "The guest has no network",
                "No address by DHCP, or a static address that cannot be set.",
                "None.",
                "Check the launch script's network settings.";
            Drive = "E-DRIVE", "A drive is missing or cannot be used",
                "A drive that the workload needs is not attached, is malformed, or is not what it should be.",
                "A hostile file system could attack the kernel.",
                "Attach the bundle's own drives; rebuild user_data with confide data add.";
            Workload = "E-WORKLOAD", "The workload cannot be started",
                "Command, user or limits do not fit the image.",
                "None.",
                "Look at boot.log on the applog drive.";
            Hardware = "E-HARDWARE", "The hardware has no TEE that can be used",
                "No SNP device, or no emulated processor, answers.",
                "The guest would run unprotected.",
                "Run confide doctor; use confide-dev where there is no hardware.";
            Guest = "E-GUEST", "The guest has a fault",
                "A part of the guest stopped where it never should; the message says where, and nothing else leaves.",
                "A guest in an unknown state could go on with secrets.",
                "Report the place with the version of Confide; start the bundle again.";
        }
    };
}
