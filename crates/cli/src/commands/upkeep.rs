//! `confide broker backup|restore|rotate-master|rotate-token-key|renew-leaf|import`: what is done to a broker's folder on this machine.

use crate::Context;
use crate::args::{
    BrokerBackupArgs, BrokerImportArgs, BrokerRenewArgs, BrokerRestoreArgs, BrokerRotateArgs, BrokerTokenKeyArgs,
};
use crate::broker_api;
use crate::outcome::{Failure, Outcome, Result};
use broker::{Backup, RenewalError, UpkeepError};
use serde_json::json;

/// `confide broker backup`.
pub(super) fn backup(args: &BrokerBackupArgs, context: &Context) -> Result {
    let folder = broker_api::folder(&args.broker)?;
    let file = args.output.display();
    if args.dry_run {
        context.printer.say(format!("would copy {} to {file}", folder.display()));
        return Ok(Outcome::Done);
    }
    let what = if args.with_keys { Backup::WithKeys } else { Backup::WithoutKeys };
    broker::backup(&folder, &args.output, what).map_err(|error| failed("no backup was made", error))?;
    let answer = json!({ "backup": args.output, "keys": args.with_keys });
    context.printer.data(&answer, || match what {
        Backup::WithKeys => format!("{file}: the whole folder, with its keys; keep it as closely as the folder"),
        Backup::WithoutKeys => {
            format!("{file}: store, settings and certificates; keep the keys elsewhere, master.key above all")
        }
    });
    Ok(Outcome::Done)
}

/// `confide broker restore`.
pub(super) fn restore(args: &BrokerRestoreArgs, context: &Context) -> Result {
    let folder = args.dir.display();
    if args.dry_run {
        context.printer.say(format!("would make {folder} from {}", args.file.display()));
        return Ok(Outcome::Done);
    }
    let restored =
        broker::restore(&args.file, &args.dir, crate::now()).map_err(|error| failed("nothing was restored", error))?;
    let answer = json!({ "restored": args.dir, "identity": restored.identity, "entries": restored.entries });
    context.printer.data(&answer, || {
        format!("{folder}: the broker {}, audit log of {} entries, whole", restored.identity, restored.entries)
    });
    context.printer.say("what changed after the copy is gone: compare `confide reference list` with what you expect");
    Ok(Outcome::Done)
}

/// `confide broker rotate-master`.
pub(super) fn rotate_master(args: &BrokerRotateArgs, context: &Context) -> Result {
    let folder = broker_api::folder(&args.broker)?;
    if args.dry_run {
        let what = if args.rewrap { "have Vault wrap the master key again" } else { "make a new master key" };
        context.printer.say(format!("would {what} in {}", folder.display()));
        return Ok(Outcome::Done);
    }
    if args.rewrap {
        broker::rewrap_master(&folder).map_err(|error| failed("the master key was not wrapped again", error))?;
        let answer = json!({ "rewrapped": true });
        context.printer.data(&answer, || "the master key is under the newest version of Vault's key".to_owned());
        return Ok(Outcome::Done);
    }
    let rotated = broker::rotate_master(&folder, crate::now(), args.from.as_deref())
        .map_err(|error| failed("the master key was not rotated", error))?;
    let answer = json!({ "epoch": rotated.epoch, "data_keys": rotated.data_keys });
    context.printer.data(&answer, || match rotated.epoch {
        Some(epoch) => format!("master key of epoch {epoch}; {} keys of secrets are under it", rotated.data_keys),
        None => "a rotation that was cut short is at its end".to_owned(),
    });
    Ok(Outcome::Done)
}

/// `confide broker rotate-token-key`.
pub(super) fn rotate_token_key(args: &BrokerTokenKeyArgs, context: &Context) -> Result {
    let folder = broker_api::folder(&args.broker)?;
    if args.dry_run {
        context.printer.say(format!("would make a new token key in {}", folder.display()));
        return Ok(Outcome::Done);
    }
    broker::rotate_token_key(&folder, args.identity_key.as_deref())
        .map_err(|error| not_issued("the token key was not rotated", error))?;
    context.printer.data(&json!({ "rotated": "token-key.pem", "restart": true }), || {
        "a new token key; the broker signs with it from its next start on, and tokens of the old key stay good till they end"
            .to_owned()
    });
    Ok(Outcome::Done)
}

/// `confide broker renew-leaf`.
pub(super) fn renew_leaf(args: &BrokerRenewArgs, context: &Context) -> Result {
    let folder = broker_api::folder(&args.broker)?;
    if args.dry_run {
        context.printer.say(format!("would issue a new TLS certificate in {}", folder.display()));
        return Ok(Outcome::Done);
    }
    let names = broker::renew_leaf(&folder, &args.name, args.identity_key.as_deref())
        .map_err(|error| not_issued("no certificate was issued", error))?;
    context.printer.data(&json!({ "renewed": "tls.pem", "names": names, "restart": false }), || {
        format!(
            "a new TLS certificate for {}; a running broker takes it within seconds, without a restart",
            names.join(", ")
        )
    });
    Ok(Outcome::Done)
}

fn not_issued(what: &str, error: RenewalError) -> Failure {
    let failure = match &error {
        RenewalError::Identity { .. } => Failure::refused(what),
        _ => Failure::environment(what),
    };
    failure.because(error).hint("name the identity's key, where you keep it offline: --identity-key FILE")
}

/// `confide broker import`.
pub(super) fn import(args: &BrokerImportArgs, context: &Context) -> Result {
    let folder = broker_api::folder(&args.broker)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| Failure::environment("cannot start a runtime").because(error))?;
    let imported = runtime
        .block_on(broker::import_trustee(&folder, &args.dir, crate::now(), args.dry_run))
        .map_err(|error| failed("nothing was imported", error))?;
    let count = |outcome: &str| imported.iter().filter(|one| one.outcome == outcome).count();
    let (new, same, skipped) = (count("imported"), count("unchanged"), count("skipped"));
    let answer = json!({
        "dry_run": args.dry_run, "imported": new, "unchanged": same, "skipped": skipped, "items": imported,
    });
    context.printer.data(&answer, || {
        let table = super::table(&answer, "items", &["outcome", "kind", "name", "place", "note"]);
        let verb = if args.dry_run { "would be imported" } else { "imported" };
        format!("{table}\n{new} {verb}, {same} there already, {skipped} not imported")
    });
    Ok(Outcome::Done)
}

fn failed(what: &str, error: UpkeepError) -> Failure {
    let failure = match &error {
        UpkeepError::Log { .. } | UpkeepError::Stranger { .. } => Failure::refused(what),
        _ => Failure::environment(what),
    };
    let failure = match &error {
        UpkeepError::InUse { .. } => failure.hint("end the broker first (SIGTERM), then run the same command again"),
        UpkeepError::Exists { .. } => failure.hint("name a file or folder that does not exist yet"),
        _ => failure,
    };
    failure.because(error)
}
