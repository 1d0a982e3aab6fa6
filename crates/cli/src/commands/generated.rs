//! What is generated from the command line's own description: completions and manual pages.

use crate::Context;
use crate::args::{Args, CompletionsArgs, ManArgs};
use crate::outcome::{self, Outcome, Result};
use clap::CommandFactory;

/// `confide completions SHELL`.
pub(super) fn completions(args: &CompletionsArgs) -> Result {
    let mut command = Args::command();
    let name = program_name();
    clap_complete::generate(args.shell, &mut command, name, &mut std::io::stdout());
    Ok(Outcome::Done)
}

/// `confide man DIR`.
pub(super) fn man(args: &ManArgs, context: &Context) -> Result {
    std::fs::create_dir_all(&args.output).map_err(|error| outcome::cannot("make", &args.output, error))?;
    clap_mangen::generate_to(Args::command().name("confide"), &args.output)
        .map_err(|error| outcome::cannot("write manual pages to", &args.output, error))?;
    context.printer.say(format!("manual pages are in {}", args.output.display()));
    Ok(Outcome::Done)
}

fn program_name() -> String {
    std::env::args_os()
        .next()
        .and_then(|path| std::path::Path::new(&path).file_name().map(|name| name.to_string_lossy().into_owned()))
        .unwrap_or_else(|| "confide".to_owned())
}
