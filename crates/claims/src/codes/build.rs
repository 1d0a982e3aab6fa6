//! Codes of images, volumes and what a bundle is made of.

macro_rules! build_codes {
    ([$next:ident $($rest:ident)*] $($before:tt)*) => {
        $next! {
            [$($rest)*]
            $($before)*
            Image = "E-IMAGE", "The image archive cannot be used",
                "Truncated, a layer is missing, a digest differs, another architecture, or an entry that escapes.",
                "Other contents than the ones named would run.",
                "Save the image again with docker save, or pull it again.";
            Layer = "E-LAYER", "A layer holds an entry that is not allowed",
                "A path that is absolute or climbs out, a link that leads out, a name that is too long.",
                "Files outside of the container could be written.",
                "Rebuild the image without that entry.";
            Digest = "E-DIGEST", "A digest in the archive differs",
                "A blob's bytes are not those that its manifest names.",
                "The image was changed on its way.",
                "Save or pull the image again.";
            Pin = "E-PIN", "The image is not named unambiguously",
                "The archive holds several images, none for this architecture, or an index that points elsewhere.",
                "Another image than the intended one would run.",
                "Save exactly one image for linux/amd64.";
            Disk = "E-DISK", "A disk image has a form that is not allowed",
                "A qcow2 with a backing file, a data file, overlapping or compressed clusters, or unknown features.",
                "Files of the host could be read through it.",
                "Convert it with qemu-img convert to a plain qcow2.";
            LuksProfile = "E-LUKS-PROFILE", "A LUKS2 header is not of the one accepted form",
                "Another cipher, key slot, segment, size or requirement than Confide writes.",
                "A null cipher or a forged offset would make a guest write plain text.",
                "Use volumes that confide build or confide volume create made.";
            Key = "E-KEY", "The key does not open the volume",
                "Another volume's key, or an older one.",
                "None.",
                "Give the key of this bundle.";
            Firmware = "E-FIRMWARE", "The firmware cannot be measured with a kernel",
                "Its metadata lacks the kernel-hash section (type 0x10), or is malformed.",
                "Kernel, initrd and command line would not be in the launch measurement.",
                "Use an AMD SEV build of OVMF: ovmf-amdsev of Debian sid, or ovmf of Ubuntu 25.04 and later.";
            Kernel = "E-KERNEL", "The kernel lacks a driver the guest needs",
                "A module is neither built in nor in the modules folder; the message names it.",
                "None.",
                "Use linux-image-cloud-amd64 of Debian 13, or add the module.";
            CommandLine = "E-CMDLINE", "The kernel command line is not allowed",
                "A forbidden token, a line that is too long, or a NUL byte.",
                "The kernel or the guest could be told to run something else.",
                "Remove the token.";
        }
    };
}
