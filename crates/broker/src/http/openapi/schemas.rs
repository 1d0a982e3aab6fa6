//! The schemas of what is sent and answered. Answers may gain members; requests are as strict as the handlers.

use serde_json::{Value, json};

/// All of them, by name.
pub(super) fn all() -> Value {
    let mut all = requests();
    if let (Some(all), Value::Object(answers)) = (all.as_object_mut(), answers()) {
        all.extend(answers);
    }
    all
}

fn requests() -> Value {
    let text = json!({"type": "string"});
    let base64 = json!({"type": "string", "pattern": "^[A-Za-z0-9+/_-]*={0,2}$"});
    let url = json!({"type": "string", "pattern": "^[A-Za-z0-9_-]+$"});
    json!({
        "ErrorInformation": {
            "type": "object", "required": ["type", "detail"], "additionalProperties": false,
            "properties": {
                "type": {"type": "string", "pattern": "^https://github.com/confidential-containers/kbs/errors/[A-Za-z]+$"},
                "detail": {"type": "string", "pattern": "^E-[A-Z0-9-]+: "},
            },
        },
        "Anything": {},
        "Object": {"type": "object"},
        "Text": text,
        "Request": {
            "type": "object", "required": ["version", "tee", "extra-params"],
            "properties": {
                "version": {"type": "string", "enum": ["0.4.0", "0.2.0"]},
                "tee": {"type": "string",
                    "enum": ["snp", "tdx", "sgx", "az-snp-vtpm", "az-tdx-vtpm", "tpm", "aci"]},
                "extra-params": {},
            },
        },
        "TeeKey": {"oneOf": [
            {"type": "object", "required": ["kty", "crv", "alg", "x", "y"], "properties": {
                "kty": {"type": "string", "enum": ["EC"]}, "crv": {"type": "string", "enum": ["P-256", "P-521"]},
                "alg": {"type": "string", "enum": ["ECDH-ES+A256KW"]}, "x": url, "y": url}},
            {"type": "object", "required": ["kty", "alg", "n", "e"], "properties": {
                "kty": {"type": "string", "enum": ["RSA"]},
                "alg": {"type": "string", "enum": ["RSA-OAEP-256", "RSA1_5"]}, "n": url, "e": url}},
        ]},
        "Attestation": {"oneOf": [
            {"type": "object", "required": ["runtime-data", "tee-evidence"],
                "description": "Protocol 0.4.0", "properties": {
                "init-data": {"type": "object", "nullable": true, "required": ["format", "body"],
                    "properties": {"format": {"type": "string", "enum": ["toml", "site"]}, "body": text}},
                "runtime-data": {"type": "object", "required": ["nonce", "tee-pubkey"],
                    "properties": {"nonce": text, "tee-pubkey": {"$ref": "#/components/schemas/TeeKey"}}},
                "tee-evidence": {"type": "object", "required": ["primary_evidence"],
                    "properties": {"primary_evidence": {}, "additional_evidence": text}},
            }},
            {"type": "object", "required": ["tee-pubkey", "tee-evidence"], "description": "Protocol 0.2.0",
                "properties": {"tee-pubkey": {"$ref": "#/components/schemas/TeeKey"}, "tee-evidence": {}}},
        ]},
        "AttestationPolicy": {
            "type": "object", "required": ["policy"],
            "properties": {"type": text, "policy_id": text, "policy": base64},
        },
        "ResourcePolicy": {"type": "object", "required": ["policy"], "properties": {"policy": base64}},
        "ReferenceMessage": {
            "type": "object", "required": ["version", "type", "payload"],
            "properties": {"version": {"type": "string", "enum": ["0.1.0"]}, "type": text, "payload": base64},
        },
        "ReferenceValue": {
            "type": "object", "required": ["name", "value"], "additionalProperties": false,
            "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 256}, "value": {},
                "expires": {"type": "integer", "minimum": 0, "nullable": true}, "single": {"type": "boolean"}},
        },
        "Revocation": {
            "type": "object", "required": ["reason"], "additionalProperties": false,
            "properties": {"reason": {"type": "string", "minLength": 1, "maxLength": 1024}},
        },
        "Ending": {"type": "object", "additionalProperties": false, "properties": {
            "reason": {"type": "string", "minLength": 1, "maxLength": 1024}, "expires": {"type": "integer", "minimum": 0}}},
        "NewRevocation": {
            "type": "object", "required": ["what", "subject", "reason"], "additionalProperties": false,
            "properties": {"what": {"type": "string", "enum": ["image", "site", "chip", "key", "policy", "rule"]},
                "subject": text, "reason": {"type": "string", "minLength": 1, "maxLength": 1024},
                "dry_run": {"type": "boolean"}},
        },
        "Document": {
            "type": "object", "required": ["document"], "additionalProperties": false,
            "properties": {"document": base64, "signature": {"type": "string", "nullable": true},
                "name": {"type": "string", "nullable": true}, "dry_run": {"type": "boolean"}},
        },
        "NewSigner": {"type": "object", "required": ["name", "public_key"], "additionalProperties": false,
            "properties": {"name": text, "public_key": text}},
        "Reference": {"type": "object", "required": ["version", "substrate", "launch_measurements", "host_data",
            "resources"], "description": "A reference.json"},
        "Proposal": {
            "type": "object", "additionalProperties": false,
            "properties": {"use": {"type": "string", "enum": ["release", "appraisal"]}, "for": text,
                "policy": {"type": "string", "nullable": true},
                "version": {"type": "integer", "minimum": 0, "nullable": true}, "dry_run": {"type": "boolean"}},
        },
        "Trial": {
            "type": "object", "required": ["name", "policy"], "additionalProperties": false,
            "properties": {"name": text, "for": text, "policy": text},
        },
    })
}

fn answers() -> Value {
    let (text, flag) = (json!({"type": "string"}), json!({"type": "boolean"}));
    let number = json!({"type": "integer", "minimum": 0});
    let none = json!({"type": "integer", "minimum": 0, "nullable": true});
    let digest = json!({"type": "string", "pattern": "^[0-9a-f]{64}$"});
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let base64url = json!({"type": "string", "pattern": "^[A-Za-z0-9_-]*$"});
    let of = |required: &[&str], properties: Value| json!({"type": "object", "required": required, "properties": properties});
    let list = |items: Value| json!({"type": "array", "items": items});
    let rule = of(
        &["id", "added", "name", "site", "host_data", "resources", "chips", "lease", "first_use_chip"],
        json!({"id": digest, "added": number, "name": text, "host_data": digest, "resources": texts, "reference": {}}),
    );
    let policy = of(
        &["name", "use"],
        json!({"name": text, "use": {"type": "string", "enum": ["release", "appraisal"]}, "for": text, "version": number,
            "added": number, "digest": digest, "policy": text}),
    );
    json!({
        "Ready": of(&["ready", "audit"], json!({"ready": flag, "audit": number})),
        "KeySet": of(&["keys"], json!({"keys": list(of(&["kty", "crv", "x", "y", "alg", "kid"], json!({"kid": text})))})),
        "Challenge": of(&["nonce", "extra-params"],
            json!({"nonce": {"type": "string", "minLength": 44, "maxLength": 44}, "extra-params": {}})),
        "Token": of(&["token"], json!({"token": text})),
        "Jwe": of(&["protected", "encrypted_key", "iv", "ciphertext", "tag"], json!({"protected": base64url,
            "encrypted_key": base64url, "iv": base64url, "ciphertext": base64url, "tag": base64url})),
        "Status": of(&["version", "development", "identity", "started", "time", "protocols", "references", "resources",
            "audit", "counters"], json!({"version": text, "development": flag, "identity": digest, "started": number,
            "time": number, "protocols": texts, "references": number, "resources": number,
            "audit": of(&["sequence", "head"], json!({"sequence": number, "head": digest})),
            "counters": {"type": "object", "additionalProperties": number}})),
        "Added": of(&["id", "added"], json!({"id": digest, "added": flag})),
        "Removed": of(&["removed"], json!({"id": digest, "removed": flag})),
        "Ended": of(&["id"], json!({"id": digest, "revoked": flag, "expires": number})),
        "NowRevoked": of(&["id", "what", "subject"], json!({"id": digest, "what": text, "subject": text})),
        "Revocations": of(&["revocations"], json!({"revocations": list(of(&["id", "what", "subject", "reason", "added",
            "admin"], json!({"id": digest, "reason": text, "added": number, "lifted": number})))})),
        "Lifted": of(&["id", "lifted"], json!({"id": digest, "lifted": flag})),
        "Intake": of(&["format", "notes", "values", "revoked", "names"], json!({"format": text, "values": number,
            "revoked": number, "names": list(of(&["name", "id"], json!({"name": text, "id": digest})))})),
        "Signers": of(&["signers"], json!({"signers": list(of(&["name", "key", "added", "serial"],
            json!({"name": text, "key": digest, "added": number, "serial": number})))})),
        "Signer": of(&["name", "key"], json!({"name": text, "key": digest})),
        "Site": of(&["host_data"], json!({"host_data": digest})),
        "Rule": rule,
        "References": of(&["references"], json!({"references": list(rule.clone())})),
        "Resources": of(&["resources"], json!({"resources": list(of(&["path", "version", "changed", "versions"],
            json!({"path": text, "version": number, "changed": number, "versions": number})))})),
        "Versions": of(&["path", "versions"], json!({"path": text, "versions": list(of(&["version", "added", "deleted"],
            json!({"version": number, "added": number, "deleted": none})))})),
        "Decisions": of(&["decisions"], json!({"decisions": list(of(&["sequence", "decision", "time", "kind"],
            json!({"sequence": number, "decision": text, "time": number, "kind": text})))})),
        "Policy": policy,
        "Policies": of(&["policies", "shipped"], json!({"policies": list(policy.clone()), "shipped": list(policy.clone())})),
        "PolicySet": of(&["name", "use", "for", "version", "digest", "cases"], json!({"name": text, "for": text,
            "version": none, "digest": digest, "cases": number})),
        "Flips": of(&["replayed", "skipped", "flips"], json!({"replayed": number, "skipped": number,
            "flips": list(of(&["decision", "resource", "was", "would"], json!({})))})),
        "ReferenceValues": of(&["values"], json!({"values": list(of(&["id", "name", "value", "single", "added", "expires",
            "revoked", "reason"], json!({"id": digest, "name": text, "single": flag, "added": number, "expires": none,
            "revoked": none, "reason": {"type": "string", "nullable": true}})))})),
        "Entries": of(&["entries"], json!({"entries": list(of(&["sequence", "body", "leaf"],
            json!({"sequence": number, "body": text, "leaf": digest})))})),
        "Head": of(&["head", "certificates", "from", "consistency"], json!({"head": text, "from": number})),
        "Verdict": of(&["ok", "entries", "root", "bad"], json!({"ok": flag, "entries": number, "root": digest})),
        "Receipt": of(&["kind", "version", "decision", "index", "leaf", "proof", "head", "certificates"],
            json!({"decision": text, "index": number, "leaf": digest, "proof": list(digest.clone()), "head": text,
            "certificates": texts})),
    })
}
