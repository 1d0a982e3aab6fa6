//! What each route takes and answers, for the document. A route that is not listed here is described by its path and its
//! gate alone.

/// What one route takes and answers.
pub(super) struct Details {
    pub(super) summary: &'static str,
    /// Numbers in the query.
    pub(super) query: &'static [&'static str],
    /// Type of the body, and the schema's name where it is JSON.
    pub(super) body: Option<(&'static str, Option<&'static str>)>,
    pub(super) answers: &'static [Reply],
}

/// One answer that is not a refusal.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) content: Content,
    /// Headers of it, each a text.
    pub(super) headers: &'static [&'static str],
}

/// What an answer holds.
pub(super) enum Content {
    /// Nothing.
    Empty,
    /// JSON of the named schema.
    Json(&'static str),
    /// Plain text.
    Text,
}

const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";
const EMPTY: &[Reply] = &[Reply { status: 200, content: Content::Empty, headers: &[] }];
const UNKNOWN: Details = Details {
    summary: "",
    query: &[],
    body: None,
    answers: &[Reply { status: 0, content: Content::Empty, headers: &[] }],
};

macro_rules! json {
    ($schema:literal) => {
        &[Reply { status: 200, content: Content::Json($schema), headers: &[] }]
    };
    ($schema:literal, new) => {
        &[
            Reply { status: 200, content: Content::Json($schema), headers: &[] },
            Reply { status: 201, content: Content::Json($schema), headers: &[] },
        ]
    };
    ($schema:literal, $header:literal) => {
        &[Reply { status: 200, content: Content::Json($schema), headers: &[$header] }]
    };
}

/// What a route takes and answers.
pub(super) fn of(method: &str, path: &str) -> Details {
    let get = |summary, answers| Details { summary, answers, ..UNKNOWN };
    let send = |summary, schema, answers| Details { summary, body: Some((JSON, Some(schema))), answers, ..UNKNOWN };
    match (method, path) {
        ("GET", "/healthz") => get("Whether the broker runs", EMPTY),
        ("GET", "/readyz") => get("Whether the broker can decide", json!("Ready")),
        ("GET", "/metrics") => get("Prometheus text", &[Reply { status: 200, content: Content::Text, headers: &[] }]),
        ("GET", "/.well-known/jwks.json") => get("Public keys of tokens", json!("KeySet")),
        ("GET", "/openapi.json") => get("This document", json!("Object")),
        ("POST", "/kbs/v0/auth") => send("A challenge", "Request", json!("Challenge", "set-cookie")),
        ("POST", "/kbs/v0/attest") => send("Evidence for a challenge", "Attestation", json!("Token", "set-cookie")),
        ("GET", "/kbs/v0/resource/{*path}") => Details {
            query: &["version"],
            ..get("A secret, encrypted to the attested key", json!("Jwe", "confide-decision"))
        },
        ("POST", "/kbs/v0/resource/{*path}") => Details {
            summary: "Stores the next version of a secret",
            body: Some((BYTES, None)),
            answers: &[Reply { status: 200, content: Content::Empty, headers: &["confide-version"] }],
            ..UNKNOWN
        },
        ("DELETE", "/kbs/v0/resource/{*path}") => {
            Details { query: &["version"], ..get("Deletes a secret, or one version of it", EMPTY) }
        }
        ("POST", "/kbs/v0/attestation-policy") => send("Sets an appraisal policy", "AttestationPolicy", EMPTY),
        ("POST", "/kbs/v0/resource-policy") => send("Sets the release policy of every path", "ResourcePolicy", EMPTY),
        ("GET", "/kbs/v0/resource-policy") => get("That policy, base64url", json!("Text")),
        ("POST", "/kbs/v0/reference-value") => send("Sets reference values", "ReferenceMessage", EMPTY),
        ("GET", "/kbs/v0/reference-value") => get("All reference values in force", json!("Object")),
        ("GET", "/kbs/v0/reference-value/{*id}") => get("The value in force of one name", json!("Anything")),
        ("GET", "/confide/v0/status") => get("How the broker is", json!("Status")),
        ("POST", "/confide/v0/references") => send("Adds a release rule", "Reference", json!("Added", new)),
        ("GET", "/confide/v0/references") => get("Release rules", json!("References")),
        ("GET", "/confide/v0/references/{id}") => get("One release rule", json!("Rule")),
        ("DELETE", "/confide/v0/references/{id}") => get("Removes a release rule", json!("Removed")),
        ("POST", "/confide/v0/sites") => send("Keeps the text of a site.json", "Object", json!("Site")),
        ("GET", "/confide/v0/resources") => get("Secrets, without values", json!("Resources")),
        ("GET", "/confide/v0/resources/{*path}") => get("Versions of a secret", json!("Versions")),
        ("GET", "/confide/v0/decisions") => {
            Details { query: &["before", "limit"], ..get("Decisions, newest first", json!("Decisions")) }
        }
        ("GET", "/confide/v0/decisions/{id}") => get("One decision, whole", json!("Object")),
        ("GET", "/confide/v0/policies") => get("Policies in force", json!("Policies")),
        ("POST", "/confide/v0/policies/try") => {
            send("Which recorded decisions a policy would flip", "Trial", json!("Flips"))
        }
        ("POST", "/confide/v0/policies/{id}") => send("Puts a policy into force", "Proposal", json!("PolicySet")),
        ("GET", "/confide/v0/policies/{id}") => {
            Details { query: &["version"], ..get("One policy with its versions", json!("Policy")) }
        }
        ("DELETE", "/confide/v0/policies/{id}") => get("Takes a policy out of force", json!("Removed")),
        ("GET", "/confide/v0/policies/confide/{id}") => get("A policy that comes with the broker", json!("Policy")),
        ("POST", "/confide/v0/reference-values") => {
            send("Adds one reference value", "ReferenceValue", json!("Added", new))
        }
        ("GET", "/confide/v0/reference-values") => get("Every reference value", json!("ReferenceValues")),
        ("POST", "/confide/v0/reference-values/{id}") => {
            send("Revokes one reference value, or says when it ends", "Ending", json!("Ended"))
        }
        ("DELETE", "/confide/v0/reference-values/{id}") => get("Removes one reference value", json!("Removed")),
        ("POST", "/confide/v0/reference-imports") => {
            send("Takes a document of reference values, whole or not at all", "Document", json!("Intake"))
        }
        ("GET", "/confide/v0/reference-signers") => get("Keys that may sign such documents", json!("Signers")),
        ("POST", "/confide/v0/reference-signers") => send("Pins such a key", "NewSigner", json!("Signer")),
        ("DELETE", "/confide/v0/reference-signers/{id}") => get("Takes such a key off", json!("Removed")),
        ("GET", "/confide/v0/revocations") => get("Every revocation, also lifted ones", json!("Revocations")),
        ("POST", "/confide/v0/revocations") => {
            send("Revokes an image, site, chip, key, policy version or rule", "NewRevocation", json!("NowRevoked", new))
        }
        ("POST", "/confide/v0/revocations/{id}") => send("Lifts a revocation", "Revocation", json!("Lifted")),
        ("GET", "/confide/v0/audit") => {
            Details { query: &["from", "limit"], ..get("Entries of the audit log", json!("Entries")) }
        }
        ("GET", "/confide/v0/audit/head") => {
            Details { query: &["from"], ..get("The newest signed head", json!("Head")) }
        }
        ("GET", "/confide/v0/audit/verify") => get("The broker's own walk over the log", json!("Verdict")),
        ("GET", "/confide/v0/audit/receipts/{id}") => get("Proof of a decision, with its entry", json!("Receipt")),
        ("GET", "/confide/v0/receipts/{id}") => get("Proof of a release to this session", json!("Receipt")),
        _ => UNKNOWN,
    }
}
