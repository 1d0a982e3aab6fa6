//! The generated pages of the manual's reference: each is made of what the program itself uses, so it cannot lag
//! behind. `UPDATE=1 cargo test -p cli --test reference_pages` writes them again.

use clap::{Arg, Command, CommandFactory};
use cli::args::Args;
use image::workload::Workload;
use std::fmt::Write;
use std::path::Path;

#[test]
fn command_line_page_is_current() {
    settle("command-line.md", &command_line_page());
}

#[test]
fn workload_file_page_is_current() {
    settle("workload-file.md", &Workload::manual());
}

#[test]
fn every_command_has_a_section() {
    let page = command_line_page();
    for (words, _) in leaves("confide", &root()) {
        assert!(page.contains(&format!("\n## `{words}`\n")), "{words} has no section");
    }
}

#[test]
fn every_argument_says_what_it_does() {
    for (words, command) in leaves("confide", &root()) {
        assert!(command.get_about().is_some(), "{words} has no help text");
        for argument in own_arguments(&command) {
            assert!(argument.get_help().is_some(), "{} of {words} has no help text", argument.get_id());
        }
    }
}

/// Compares a page with its file, or writes the file where `UPDATE` is set.
fn settle(name: &str, page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manual/reference").join(name);
    if std::env::var_os("UPDATE").is_some() {
        let written = std::fs::write(&path, page);
        assert!(written.is_ok(), "cannot write {}: {written:?}", path.display());
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    let number = there.lines().zip(page.lines()).take_while(|(left, right)| left == right).count();
    assert!(
        there == page,
        "{} differs from what the program says, first in line {}:\n  file     {:?}\n  program  {:?}\nrun: make docs",
        path.display(),
        number + 1,
        there.lines().nth(number),
        page.lines().nth(number),
    );
}

fn root() -> Command {
    let mut command = Args::command();
    command.build();
    command
}

fn command_line_page() -> String {
    let root = root();
    let mut page = String::from(
        "# The command line\n\n\
         `confide` and `confide-dev` take the same commands; only `confide-dev` knows the emulated TEE. This page is \
         generated from the program's own description of its arguments.\n\n\
         Stdout is data, stderr is talk. `--json` prints data as one JSON object, `--dry-run` checks and writes \
         nothing. [Exit status](exit-codes.md): 0 done, 1 refused, 2 usage, 3 environment.\n\n\
         ## Options of every command\n",
    );
    page.push_str(&table(&own_arguments(&root)));
    for (words, command) in leaves("confide", &root) {
        page.push_str(&section(&words, &command));
    }
    page
}

/// The commands that do something, each with the words it is called by.
fn leaves(words: &str, command: &Command) -> Vec<(String, Command)> {
    let below: Vec<&Command> = command.get_subcommands().filter(|below| below.get_name() != "help").collect();
    if below.is_empty() {
        return vec![(words.to_owned(), command.clone())];
    }
    below.into_iter().flat_map(|below| leaves(&format!("{words} {}", below.get_name()), below)).collect()
}

fn section(words: &str, command: &Command) -> String {
    let arguments = own_arguments(command);
    let mut text = format!("\n## `{words}`\n\n");
    if let Some(about) = command.get_about() {
        let _ = write!(text, "{about}. ");
    }
    let mut usage = words.to_owned();
    for argument in arguments.iter().filter(|argument| !argument.is_positional() && argument.is_required_set()) {
        let _ = write!(usage, " --{} {}", argument.get_long().unwrap_or_default(), value_name(argument));
    }
    if arguments.iter().any(|argument| !argument.is_positional() && !argument.is_required_set()) {
        usage.push_str(" [OPTIONS]");
    }
    for argument in arguments.iter().filter(|argument| argument.is_positional()) {
        let name = value_name(argument);
        let more = if argument.get_num_args().is_some_and(|count| count.max_values() > 1) { "..." } else { "" };
        let _ = match argument.is_required_set() {
            true => write!(usage, " {name}{more}"),
            false => write!(usage, " [{name}{more}]"),
        };
    }
    let _ = writeln!(text, "Usage: `{usage}`");
    text.push_str(&table(&arguments));
    if let Some(help) = command.get_after_help().map(ToString::to_string) {
        let mut continued = false;
        let _ = writeln!(text, "\n```console");
        for line in help.lines().skip(1).map(str::trim) {
            let _ = writeln!(text, "{} {line}", if continued { "   " } else { "$" });
            continued = line.ends_with('\\');
        }
        let _ = writeln!(text, "```");
    }
    text
}

/// What a command takes, without what clap adds and, below the root, without the options of every command.
fn own_arguments(command: &Command) -> Vec<&Arg> {
    let everywhere = command.get_name() != "confide" && command.get_name() != "cli";
    command
        .get_arguments()
        .filter(|argument| !argument.is_hide_set() && !["help", "version"].contains(&argument.get_id().as_str()))
        .filter(|argument| !(everywhere && argument.is_global_set()))
        .collect()
}

fn table(arguments: &[&Arg]) -> String {
    let mut text = String::new();
    if arguments.is_empty() {
        return text;
    }
    text.push_str("\n| argument | meaning |\n|---|---|\n");
    for argument in arguments {
        let _ = writeln!(
            text,
            "| `{}` | {} |",
            option(argument).replace('|', "\\|"),
            meaning(argument).replace('|', "\\|")
        );
    }
    text
}

fn option(argument: &Arg) -> String {
    if argument.is_positional() {
        return value_name(argument);
    }
    let short = argument.get_short().map(|letter| format!("-{letter}"));
    let long = argument.get_long().map(|word| format!("--{word}"));
    let mut text: Vec<String> = [short, long].into_iter().flatten().collect();
    if argument.get_action().takes_values()
        && let Some(last) = text.last_mut()
    {
        let _ = write!(last, " {}", value_name(argument));
    }
    text.join(", ")
}

fn value_name(argument: &Arg) -> String {
    match argument.get_value_names() {
        Some(names) => names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        None => argument.get_id().as_str().to_uppercase(),
    }
}

/// Help text, values to choose from, what holds where it is not given, the environment variable that stands in for it.
fn meaning(argument: &Arg) -> String {
    let mut text = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let takes = argument.get_action().takes_values();
    let choices: Vec<String> = if takes {
        argument.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect()
    } else {
        Vec::new()
    };
    if !choices.is_empty() {
        let _ = write!(text, ". One of {}", choices.join(", "));
    }
    let defaults: Vec<String> =
        argument.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    if takes && !defaults.is_empty() {
        let _ = write!(text, ". Default: {}", defaults.join(", "));
    }
    if let Some(name) = argument.get_env() {
        let _ = write!(text, ". Environment: `{}`", name.to_string_lossy());
    }
    text
}
