//! `confide data add`: fill and grow a bundle's data drive.

use crate::Context;
use crate::args::DataAddArgs;
use crate::outcome::{self, Failure, Outcome, Result};
use image::data_drive::{self, Request};
use image::workload::GIGABYTE;
use serde_json::json;
use std::sync::atomic::Ordering;

/// Runs the command.
pub(super) fn add(args: &DataAddArgs, context: &Context) -> Result {
    for path in &args.paths {
        std::fs::symlink_metadata(path).map_err(|error| outcome::cannot("read", path, error))?;
    }
    if args.dry_run {
        let names: Vec<String> = args.paths.iter().map(|path| path.display().to_string()).collect();
        context.printer.data(&json!({ "would_add": names }), || format!("would add {}", names.join(", ")));
        return Ok(Outcome::Done);
    }
    let size = match args.size {
        Some(gigabytes) => Some(gigabytes.checked_mul(GIGABYTE).ok_or_else(|| Failure::usage("--size is too large"))?),
        None => None,
    };
    let cancelled = super::build::cancelled_by_signal()?;
    let request =
        Request { drive: &args.drive, paths: &args.paths, size, cancelled: &|| cancelled.load(Ordering::Relaxed) };
    let added = data_drive::add(&request).map_err(|error| {
        let what = format!("{} stays as it was", args.drive.display());
        match error.code() {
            Some(code) => Failure::refused(what).code(code),
            None => Failure::environment(what),
        }
        .because(error)
    })?;
    let answer = json!({ "drive": args.drive, "before": added.before, "after": added.after, "names": added.names });
    context.printer.data(&answer, || {
        format!(
            "{}: {} names on {} MB (before: {} MB)",
            args.drive.display(),
            added.names,
            added.after >> 20,
            added.before >> 20
        )
    });
    Ok(Outcome::Done)
}
