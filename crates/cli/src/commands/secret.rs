//! `confide secret`: what a broker keeps.

use crate::Context;
use crate::args::{SecretCommand, SecretGetArgs};
use crate::broker_api::BrokerApi;
use crate::outcome::{self, Failure, Outcome, Result};
use claims::Code;
use std::io::Read;
use std::path::Path;
use zeroize::Zeroizing;

/// Largest secret.
const MAX_LENGTH: u64 = 1 << 20;

/// Runs the command.
pub(super) fn run(command: &SecretCommand, context: &Context) -> Result {
    match command {
        SecretCommand::Put(args) => {
            let path = resource(&args.path)?;
            let value = read_value(&args.file)?;
            let api = BrokerApi::open(&args.broker)?;
            if args.dry_run {
                context.printer.say(format!("would store {} bytes as {}", value.len(), args.path));
                return Ok(Outcome::Done);
            }
            let version = api.put_secret(&path, &value)?;
            let stored = serde_json::json!({ "stored": args.path, "version": version, "bytes": value.len() });
            context.printer.data(&stored, || {
                let version = version.map(|number| format!(", version {number}")).unwrap_or_default();
                format!("stored {} ({} bytes{version})", args.path, value.len())
            });
        }
        SecretCommand::Get(args) => {
            let value = get(args)?;
            value.expose(|bytes| context.printer.bytes(bytes));
        }
        SecretCommand::List(args) => {
            let (path, member, columns) = match &args.path {
                None => (String::new(), "resources", ["path", "version", "versions", "changed"].as_slice()),
                Some(path) => (format!("/{}", checked(path)?), "versions", ["version", "added", "deleted"].as_slice()),
            };
            let list = BrokerApi::open(&args.broker)?.get(&format!("/confide/v0/resources{path}"))?;
            context.printer.data(&list, || super::table(&readable(&list, member), member, columns) + &elsewhere(&list));
        }
        SecretCommand::Delete(args) => {
            let path = format!("{}{}", resource(&args.path)?, of_version(args.secret_version));
            let api = BrokerApi::open(&args.broker)?;
            let what = match args.secret_version {
                None => args.path.clone(),
                Some(version) => format!("version {version} of {}", args.path),
            };
            if args.dry_run {
                context.printer.say(format!("would delete {what}"));
                return Ok(Outcome::Done);
            }
            api.delete(&path)?;
            let deleted = serde_json::json!({ "deleted": args.path, "version": args.secret_version });
            context.printer.data(&deleted, || format!("deleted {what}"));
        }
    }
    Ok(Outcome::Done)
}

/// A broker releases a value to attested guests only, never to an administrator: this attests with the TEE it runs in.
fn get(args: &SecretGetArgs) -> Result<claims::Secret<Vec<u8>>> {
    checked(&args.path)?;
    let identity = args.identity.parse().map_err(|error| {
        Failure::usage("--identity is not a SHA-256").because(error).hint("`confide broker status` prints it")
    })?;
    let attester = guest::evidence::detect().map_err(|error| {
        Failure::environment("this machine is not a confidential guest, so no broker releases a secret to it")
            .code(error.code())
            .because(error)
            .hint("administrators store, list and delete secrets; only attested guests read them")
    })?;
    let site = args.site.as_deref().map(outcome::read).transpose()?.unwrap_or_default();
    let failed = |error: guest::broker_client::ClientError| {
        let failure = if error.is_refusal() {
            Failure::refused("the broker refused")
        } else {
            Failure::environment("the broker did not answer")
        };
        failure.code(error.code()).because(error)
    };
    let path = format!("{}{}", args.path, of_version(args.secret_version));
    let pinned = attest::channel::Pinned::new(identity);
    let client = guest::broker_client::KbsClient::new(&args.url, pinned, crate::broker_api::resolve(), attester.into())
        .map_err(failed)?;
    client.attest(&site).and_then(|session| session.resource(&path)).map_err(failed)
}

fn of_version(version: Option<u64>) -> String {
    version.map(|number| format!("?version={number}")).unwrap_or_default()
}

/// A line for each prefix whose values the broker does not keep itself.
fn elsewhere(list: &serde_json::Value) -> String {
    let text =
        |row: &serde_json::Value, member: &str| row.get(member).and_then(|text| text.as_str()).unwrap_or("").to_owned();
    let line = |row: &serde_json::Value| {
        let prefix = Some(text(row, "prefix")).filter(|prefix| !prefix.is_empty());
        format!(
            "\n{}/…  kept in {}, mount {}",
            prefix.as_deref().unwrap_or("*"),
            text(row, "kept_in"),
            text(row, "mount")
        )
    };
    list.get("elsewhere").and_then(serde_json::Value::as_array).into_iter().flatten().map(line).collect()
}

/// Times for people, in what goes into a table.
fn readable(list: &serde_json::Value, member: &str) -> serde_json::Value {
    let mut list = list.clone();
    for row in list.get_mut(member).and_then(serde_json::Value::as_array_mut).into_iter().flatten() {
        for name in ["added", "changed", "deleted"] {
            if let Some(time) = row.get_mut(name)
                && let Some(text) = time.as_i64().and_then(super::audit::readable)
            {
                *time = text.into();
            }
        }
    }
    list
}

/// The KBS path of a resource, checked before it is sent.
pub(super) fn resource(path: &str) -> Result<String> {
    Ok(format!("/kbs/v0/resource/{}", checked(path)?))
}

/// Three segments as the KBS protocol wants them (the broker checks again).
fn checked(path: &str) -> Result<&str> {
    let sound = |segment: &str| {
        segment.starts_with(|first: char| first.is_ascii_alphanumeric() || "_-".contains(first))
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    let segments: Vec<&str> = path.split('/').collect();
    if segments.len() == 3 && segments.iter().all(|segment| sound(segment)) {
        return Ok(path);
    }
    Err(Failure::usage(format!("`{path}` is not REPOSITORY/TYPE/TAG")).code(Code::Path))
}

fn read_value(file: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let mut value = Zeroizing::new(Vec::new());
    let mut read = |reader: &mut dyn Read| reader.take(MAX_LENGTH + 1).read_to_end(&mut value);
    if file == Path::new("-") {
        read(&mut std::io::stdin().lock())
    } else {
        std::fs::File::open(file).and_then(|mut file| read(&mut file))
    }
    .map_err(|error| outcome::cannot("read", file, error))?;
    match value.len() as u64 {
        0 => Err(Failure::usage("the secret is empty")),
        length if length > MAX_LENGTH => Err(Failure::usage(format!("a secret has at most {MAX_LENGTH} bytes"))),
        _ => Ok(value),
    }
}
