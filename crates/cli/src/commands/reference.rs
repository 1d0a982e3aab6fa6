//! `confide reference`: what a broker releases against.

use crate::Context;
use crate::args::ReferenceCommand;
use crate::broker_api::BrokerApi;
use crate::outcome::{self, Failure, Outcome, Result};
use claims::reference::Reference;

const PATH: &str = "/confide/v0/references";

/// Runs the command.
pub(super) fn run(command: &ReferenceCommand, context: &Context) -> Result {
    match command {
        ReferenceCommand::Add(args) => {
            let bytes = outcome::read(&args.file)?;
            let reference = Reference::parse(&bytes).map_err(|error| {
                Failure::usage(format!("{} is not a reference file", args.file.display()))
                    .because(error)
                    .hint("use the reference.json of a bundle that `confide build` made")
            })?;
            let api = BrokerApi::open(&args.broker)?;
            if args.dry_run {
                context.printer.say(format!("would release {} to {}", reference.resources.join(", "), reference.name));
                return Ok(Outcome::Done);
            }
            let answer = api.post(PATH, &bytes, "application/json")?;
            let id = answer.get("id").and_then(|id| id.as_str()).unwrap_or("?").to_owned();
            context
                .printer
                .data(&answer, || format!("rule {id} for {} ({})", reference.name, reference.resources.join(", ")));
        }
        ReferenceCommand::List(args) => {
            let list = BrokerApi::open(&args.broker)?.get(PATH)?;
            context
                .printer
                .data(&list, || super::table(&list, "references", &["id", "name", "site", "resources", "added"]));
        }
        ReferenceCommand::Remove(args) => {
            let sound = !args.id.is_empty() && args.id.bytes().all(|byte| byte.is_ascii_alphanumeric());
            if !sound {
                return Err(Failure::usage(format!("`{}` is not a rule's id", args.id))
                    .hint("list them: confide reference list"));
            }
            let api = BrokerApi::open(&args.broker)?;
            if args.dry_run {
                context.printer.say(format!("would remove rule {}", args.id));
                return Ok(Outcome::Done);
            }
            api.delete(&format!("{PATH}/{}", args.id))?;
            context.printer.data(&serde_json::json!({ "removed": args.id }), || format!("removed rule {}", args.id));
        }
    }
    Ok(Outcome::Done)
}
