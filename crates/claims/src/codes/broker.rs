//! Codes of the key broker.

macro_rules! broker_codes {
    ([$next:ident $($rest:ident)*] $($before:tt)*) => {
        $next! {
            [$($rest)*]
            $($before)*
            ReportData = "E-REPORT-DATA", "The evidence is not bound to this session and key",
                "Report data is not the hash of the nonce and the guest's key.",
                "Evidence of somebody else, or of another time, is replayed.",
                "Attest again in one session; workload evidence is never accepted here.";
            Nonce = "E-NONCE", "The nonce is unknown, expired or used",
                "The challenge was not made by this broker, is older than its lifetime, or was taken before.",
                "An old message is replayed.",
                "Ask for a new challenge and attest again.";
            Binding = "E-BINDING", "The request's key or session is not the attested one",
                "A token or cookie was used without the key it was made for.",
                "A stolen session could be used.",
                "Attest again.";
            Session = "E-SESSION", "There is no attested session",
                "The request carries neither the cookie of an attested session nor a token, or the session has ended.",
                "A secret would go to a guest that proved nothing.",
                "Attest, then ask again.";
            Token = "E-TOKEN", "The attestation token is not valid here",
                "It is expired, is for another audience, or was not signed by this broker's token key.",
                "Anybody could write a token.",
                "Attest again at this broker.";
            Route = "E-ROUTE", "There is no such endpoint",
                "The path or the method is not one that the broker serves.",
                "None.",
                "Look into the broker's API reference; check URL and program version.";
            Unsupported = "E-UNSUPPORTED", "The broker does not do that",
                "The endpoint belongs to the protocol, but this broker takes release rules instead.",
                "A policy that was accepted and then ignored would be believed to protect.",
                "Use confide reference add to make release rules.";
            Format = "E-FORMAT", "The message is malformed",
                "Not the JSON, base64 or length wanted.",
                "A lenient reader can be led astray.",
                "Send what the protocol describes; the answer says which part is wrong.";
            Version = "E-VERSION", "The protocol version is not spoken here",
                "The client asked for another version.",
                "An older version could lack protections.",
                "Update the client.";
            TeeUnsupported = "E-TEE", "This kind of evidence is not appraised here",
                "No verifier for the TEE that the client names is present.",
                "Evidence that nobody checks would be believed.",
                "Use a TEE that this broker knows.";
            NoRule = "E-NO-RULE", "No release rule names this resource",
                "Nothing is released without a rule.",
                "A secret would go to whoever asks.",
                "Add a rule: confide reference add reference.json.";
            Denied = "E-DENIED", "No release rule admits this evidence",
                "Rules for the resource are there, but the evidence meets none.",
                "The secret would go to a guest that you do not know.",
                "Run confide explain DECISION on the broker; it names claim, got and wanted.";
            Policy = "E-POLICY", "The policy cannot be used",
                "It is not Rego, is too long, has another package than policy, or gives a result of another kind.",
                "A policy that is accepted and then fails would refuse everybody, or be believed to protect.",
                "The message names the place; confide policy set checks before anything changes.";
            PolicyCases = "E-POLICY-CASES", "A case that the policy carries does not come out as it says",
                "A policy may hold allow and deny cases (confide_cases); one of them has another result.",
                "The policy does not do what its author meant.",
                "Correct the policy or the case; nothing was changed.";
            PolicyBudget = "E-POLICY-BUDGET", "The policy took too long",
                "Evaluating it used up its time.",
                "The broker could be kept busy.",
                "Write the policy simpler.";
            NotAffirming = "E-NOT-AFFIRMING", "The evidence is not affirmed",
                "A release policy permits, but the appraisal of the evidence is not affirming.",
                "A secret would go to a guest that nobody vouches for.",
                "Add the reference values that the appraisal policy asks for, or name the status in accepted_statuses.";
            Lease = "E-LEASE", "Another guest holds the keys",
                "The rule gives an exclusive lease, and another guest with another report id has it.",
                "A copy of the disk is started a second time.",
                "Stop the other guest and wait for its lease to end.";
            Revoked = "E-REVOKED", "An administrator revoked it",
                "Image, site, chip, key, release rule or version of a policy is on the broker's list of revocations.",
                "A secret would go to what is known to be bad.",
                "Run confide explain DECISION on the broker: it says what was revoked, and why; confide revoke lift ID takes it back.";
            Selector = "E-SELECTOR", "No appraisal policy has that name",
                "The guest asks for an appraisal policy (attestation-policy-selector) that is not in force.",
                "Evidence would be appraised by another policy than the guest was set up for.",
                "Put a policy NAME_cpu into force, or correct the guest's selector; without one the default is asked.";
            Signer = "E-SIGNER", "The document is not signed by a key that is pinned here",
                "Reference values came unsigned, or signed by a key that no administrator pinned.",
                "Anybody who can hand you a file would decide what is good.",
                "Have it signed (confide reference sign), or pin the key that signed it: confide reference trust NAME --key FILE.";
            Rollback = "E-ROLLBACK", "The document is older than what was imported",
                "Its serial is below that of the last one of the same signer, or is that one's with other content.",
                "Values that were withdrawn would come back.",
                "Import the newest document; a signer gives each one a higher serial.";
            Expired = "E-EXPIRED", "The document is not valid at this time",
                "Its validity has ended, or has not begun.",
                "Values that their author does not stand for any more would be believed.",
                "Get a newer document; check the broker's clock.";
            Absent = "E-ABSENT", "The resource does not exist",
                "The rule permits it, but nothing is stored under this path.",
                "None.",
                "Store it: confide secret put REPO/TYPE/TAG --file F.";
            Path = "E-PATH", "The resource path is not valid",
                "Three segments of letters, digits, dash, underscore and dot; none starts with a dot.",
                "A path could reach what it should not.",
                "Use REPOSITORY/TYPE/TAG.";
            Admin = "E-ADMIN", "The caller is not an administrator",
                "The token is missing, expired, or signed by an unknown key.",
                "Anybody could change rules and secrets.",
                "Use the admin key that confide broker init made.";
            TooLarge = "E-TOO-LARGE", "The message is too large",
                "It is over the limit.",
                "Memory could be used up.",
                "Send less; limits are in the broker's settings.";
            Busy = "E-BUSY", "The broker is busy",
                "Too many requests at once.",
                "None.",
                "Try again later.";
            Store = "E-STORE", "The broker's store does not answer",
                "Disk full, locked or damaged; PostgreSQL gone; or the Vault that keeps the secret is sealed, gone, or refuses.",
                "None is released while that lasts.",
                "Look at the broker's log; run confide broker status. Where Vault is the cause, it passes when Vault is back.";
        }
    };
}
