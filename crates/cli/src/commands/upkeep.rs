//! `confide broker backup|restore|rotate-master`: what is done to a broker's folder on this machine.

use crate::Context;
use crate::args::{BrokerBackupArgs, BrokerRestoreArgs, BrokerRotateArgs};
use crate::broker_api;
use crate::outcome::{Failure, Outcome, Result};
use broker::{Backup, UpkeepError};
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
