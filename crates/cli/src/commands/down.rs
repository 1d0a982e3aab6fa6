//! `confide down`: end what `up` started, and nothing else.

use crate::Context;
use crate::args::DownArgs;
use crate::outcome::{self, Failure, Outcome, Result};
use crate::workspace::{Process, Running, Workspace};
use std::time::Duration;

/// A VM gets this long to end by itself; the launcher waits for it.
const PATIENCE: Duration = Duration::from_secs(25);

/// Runs the command.
pub(super) fn run(args: &DownArgs, context: &Context) -> Result {
    if !args.workspace.exists() {
        return nothing(context);
    }
    let workspace = Workspace::open(&args.workspace)?;
    let running = workspace.running()?;
    if args.dry_run {
        let list = running.as_ref().map(processes).unwrap_or_default();
        let names: Vec<&str> = list.iter().map(|(name, _)| *name).collect();
        context.printer.data(&serde_json::json!({ "would_end": names }), || format!("would end: {}", names.join(", ")));
        return Ok(Outcome::Done);
    }
    let ended = match &running {
        Some(running) => end(running, context)?,
        None => Vec::new(),
    };
    workspace.forget();
    if args.purge {
        std::fs::remove_dir_all(&args.workspace).map_err(|error| outcome::cannot("delete", &args.workspace, error))?;
    }
    if ended.is_empty() {
        return nothing(context);
    }
    context.printer.data(&serde_json::json!({ "ended": ended }), || format!("ended: {}", ended.join(", ")));
    Ok(Outcome::Done)
}

/// Ends the VM, then the broker. Returns the names of what was still running.
pub(super) fn end(running: &Running, context: &Context) -> Result<Vec<&'static str>> {
    let mut ended = Vec::new();
    for (name, process) in processes(running) {
        if process.alive() {
            context.printer.step("down", format!("ending the {name}"));
            if !process.end(PATIENCE) {
                return Err(Failure::environment(format!("the {name} does not end")));
            }
            ended.push(name);
        }
    }
    Ok(ended)
}

fn processes(running: &Running) -> Vec<(&'static str, Process)> {
    [("VM", running.launcher), ("broker", running.broker)]
        .into_iter()
        .filter_map(|(name, process)| Some((name, process?)))
        .collect()
}

fn nothing(context: &Context) -> Result {
    let none: [&str; 0] = [];
    context.printer.data(&serde_json::json!({ "ended": none }), || "nothing was running".to_owned());
    Ok(Outcome::Done)
}
