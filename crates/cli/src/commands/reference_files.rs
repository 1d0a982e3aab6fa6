//! Documents of reference values: imported, signed, and the keys that are pinned for them.

use super::reference::JSON;
use crate::Context;
use crate::args::{ReferenceImportArgs, ReferenceSignArgs, ReferenceTrustArgs, ReferenceUntrustArgs};
use crate::broker_api::BrokerApi;
use crate::outcome::{self, Failure, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

pub(super) const SIGNERS: &str = "/confide/v0/reference-signers";
const IMPORTS: &str = "/confide/v0/reference-imports";

/// `confide reference import`.
pub(super) fn import(args: &ReferenceImportArgs, context: &Context) -> Result<()> {
    let document = outcome::read(&args.file)?;
    let beside = beside(&args.file);
    let signature = match &args.signature {
        Some(file) => Some(text(file)?),
        None if beside.is_file() => Some(text(&beside)?),
        None => None,
    };
    let body = json!({
        "document": STANDARD.encode(&document), "signature": signature, "name": args.name, "dry_run": args.dry_run,
    });
    let answer = BrokerApi::open(&args.broker)?.post(IMPORTS, body.to_string().as_bytes(), JSON)?;
    for note in answer.get("notes").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        context.printer.warn(format!("not imported: {note}"));
    }
    context.printer.data(&answer, || {
        let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or(0);
        let signed = match answer.get("signed_by").and_then(Value::as_str) {
            Some(name) => format!("signed by {name}"),
            None => "no pinned key signed it".to_owned(),
        };
        let format = answer.get("format").and_then(Value::as_str).unwrap_or("?");
        let verb = if args.dry_run { "would import" } else { "imported" };
        let new = if args.dry_run { String::new() } else { format!(", {} of them new", number("added")) };
        let (values, revoked) = (number("values"), number("revoked"));
        format!("{verb} {values} values{new}, {revoked} revoked ({format}, {signed})")
    });
    Ok(())
}

/// `confide reference sign`.
pub(super) fn sign(args: &ReferenceSignArgs, context: &Context) -> Result<()> {
    let document = outcome::read(&args.file)?;
    let known = serde_json::from_slice::<Value>(&document).ok();
    if known.as_ref().and_then(|value| value.get("type")).and_then(Value::as_str) != Some("confide-reference-values") {
        return Err(Failure::usage(format!("{} is not a bundle of reference values", args.file.display()))
            .hint("its `type` is confide-reference-values; the manual's page on reference values has the form"));
    }
    let key = zeroize::Zeroizing::new(outcome::read(&args.key)?);
    let signature = broker::sign_references(&key, &document).map_err(|error| {
        Failure::usage(format!("{} cannot sign", args.key.display()))
            .because(error)
            .hint("make a key: openssl genpkey -algorithm ed25519 -out signer.pem")
    })?;
    let file = beside(&args.file);
    if args.dry_run {
        context.printer.say(format!("would write {}", file.display()));
        return Ok(());
    }
    std::fs::write(&file, format!("{signature}\n"))
        .map_err(|error| Failure::environment(format!("cannot write {}", file.display())).because(error))?;
    context.printer.data(&json!({ "signature": file }), || format!("signed: {}", file.display()));
    Ok(())
}

/// `confide reference trust`.
pub(super) fn trust(args: &ReferenceTrustArgs, context: &Context) -> Result<()> {
    let body = json!({ "name": args.name, "public_key": text(&args.key)? });
    let api = BrokerApi::open(&args.broker)?;
    if args.dry_run {
        context.printer.say(format!("would pin {} as {}", args.key.display(), args.name));
        return Ok(());
    }
    let answer = api.post(SIGNERS, body.to_string().as_bytes(), JSON)?;
    context.printer.data(&answer, || {
        let key = answer.get("key").and_then(Value::as_str).unwrap_or("?");
        format!("pinned {key} as {}; unsigned documents are refused from now on", args.name)
    });
    Ok(())
}

/// `confide reference untrust`.
pub(super) fn untrust(args: &ReferenceUntrustArgs, context: &Context) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if args.name.is_empty() || !args.name.bytes().all(plain) {
        return Err(
            Failure::usage(format!("`{}` is not a key's name", args.name)).hint("list them: confide reference list")
        );
    }
    let api = BrokerApi::open(&args.broker)?;
    if args.dry_run {
        context.printer.say(format!("would take {} off", args.name));
        return Ok(());
    }
    api.delete(&format!("{SIGNERS}/{}", args.name))?;
    context.printer.data(&json!({ "removed": args.name }), || format!("{} is pinned no more", args.name));
    Ok(())
}

/// Where the signature of a document lies.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".sig");
    PathBuf::from(name)
}

fn text(file: &Path) -> Result<String> {
    String::from_utf8(outcome::read(file)?)
        .map_err(|error| Failure::usage(format!("{} is not text", file.display())).because(error))
}
