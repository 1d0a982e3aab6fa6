//! The manual's commands. Every fence labelled `console` is checked: its `confide` lines must parse, so no page can
//! name an option that is not there. A fence below `<!-- run -->` is also run, and what it shows must come out
//! (`…` stands for any text). `<!-- run vectors -->` and `<!-- run parts -->` say what a block needs to be run at all.

#[path = "manual/script.rs"]
mod script;

use clap::Parser;
use clap::error::ErrorKind;
use cli::args::Args;
use std::fs::File;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A block may take this long.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn every_command_in_the_manual_parses() {
    let pages = pages();
    let mut checked = 0;
    let mut wrong = Vec::new();
    for block in pages.iter().flat_map(|(name, text)| blocks(name, text)) {
        for (line, command) in &block.commands {
            for words in script::confide_calls(command) {
                checked += 1;
                if let Err(why) = parse(&words) {
                    wrong.push(format!("{}:{line}: {}\n    {why}", block.page, words.join(" ")));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "commands that the program does not take:\n{}", wrong.join("\n"));
    assert!(checked > 50, "only {checked} commands were found: are the fences still labelled `console`?");
}

#[test]
fn blocks_to_run_do_what_they_show() {
    let vectors = vectors();
    let mut ran = 0;
    let mut wrong = Vec::new();
    for block in pages().iter().flat_map(|(name, text)| blocks(name, text)).filter(|block| block.run.is_some()) {
        let needs = block.run.as_deref().unwrap_or_default();
        let lacking = needs.split(' ').find_map(|need| match need {
            "vectors" if vectors.is_none() => Some("vectors are not here"),
            "parts" if !guest_parts() => Some("guest parts or the static guest are not here"),
            _ => None,
        });
        if let Some(lacking) = lacking {
            eprintln!("skipped: {}:{}: {lacking}", block.page, block.line);
            continue;
        }
        ran += 1;
        if let Err(why) = run(&block, vectors.as_deref()) {
            wrong.push(format!("{}:{}: {why}", block.page, block.line));
        }
    }
    assert!(wrong.is_empty(), "blocks that do not do what they show:\n{}", wrong.join("\n\n"));
    assert!(ran > 5, "only {ran} blocks ran: are they still marked `<!-- run -->`?");
}

#[test]
fn every_link_leads_to_a_file() {
    let mut wrong = Vec::new();
    for (name, text) in pages() {
        let folder = root().join(&name).parent().map(Path::to_owned).unwrap_or_default();
        for target in links(&text) {
            if !folder.join(&target).exists() {
                wrong.push(format!("{name}: {target}"));
            }
        }
    }
    assert!(wrong.is_empty(), "links that lead nowhere:\n{}", wrong.join("\n"));
}

#[test]
fn every_page_is_short_and_labels_its_fences() {
    for (name, text) in pages() {
        // The list of all commands grows with them: it is looked things up in, not read.
        let generated = name.ends_with("reference/command-line.md");
        assert!(generated || text.lines().count() < 400, "{name} has 400 lines or more");
        assert!(text.starts_with("# "), "{name} does not open with its title");
        let opening = text.lines().filter(|line| line.starts_with("```")).step_by(2);
        for fence in opening {
            assert!(fence.len() > 3, "{name} has a fence without a label");
        }
    }
}

#[test]
fn the_index_names_every_page() {
    let pages = pages();
    let index = pages.iter().find(|(name, _)| name == "docs/manual/README.md").map(|(_, text)| text.as_str());
    let index = index.unwrap_or_default();
    for (name, _) in &pages {
        if let Some(path) = name.strip_prefix("docs/manual/").filter(|path| *path != "README.md") {
            assert!(index.contains(&format!("({path})")), "the index does not name {path}");
        }
    }
}

/// A fence labelled `console`.
struct Block {
    page: String,
    line: usize,
    /// Words after `run` of the comment above it, where there is one.
    run: Option<String>,
    /// Commands with the lines they start in.
    commands: Vec<(usize, String)>,
    /// What the page shows of the output.
    shown: Vec<String>,
}

fn blocks(page: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    let mut run = None;
    while let Some((number, line)) = lines.next() {
        let line = line.trim();
        if let Some(words) = line.strip_prefix("<!-- run").and_then(|rest| rest.strip_suffix("-->")) {
            run = Some(words.trim().to_owned());
            continue;
        }
        if !line.starts_with("```") {
            if !line.is_empty() {
                run = None;
            }
            continue;
        }
        let mut block =
            Block { page: page.to_owned(), line: number + 1, run: run.take(), commands: Vec::new(), shown: Vec::new() };
        while let Some((number, inside)) = lines.next() {
            if inside.trim_start().starts_with("```") {
                break;
            }
            match inside.trim_start().strip_prefix("$ ") {
                None => block.shown.push(inside.to_owned()),
                Some(first) => {
                    let mut command = first.to_owned();
                    while command.ends_with('\\') {
                        command.push('\n');
                        let Some((_, next)) = lines.next() else { break };
                        command.push_str(next.trim_start().trim_start_matches("> "));
                    }
                    block.commands.push((number + 1, command));
                }
            }
        }
        if line == "```console" {
            blocks.push(block);
        }
    }
    blocks
}

/// Whether the program takes these words. A placeholder (`N`, `<PORT>`) may stand where a value is typed.
fn parse(words: &[String]) -> Result<(), String> {
    match Args::try_parse_from(words) {
        Ok(_) => Ok(()),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(()),
            ErrorKind::ValueValidation | ErrorKind::InvalidValue if words.iter().any(|word| is_placeholder(word)) => {
                Ok(())
            }
            _ => Err(error.to_string().lines().next().unwrap_or_default().to_owned()),
        },
    }
}

fn is_placeholder(word: &str) -> bool {
    let name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"_:".contains(&byte);
    (word.starts_with('<') && word.ends_with('>'))
        || (word.starts_with(|first: char| first.is_ascii_uppercase()) && word.bytes().all(name))
}

/// Runs the commands of a block with bash in a folder of their own, and looks for what the page shows.
fn run(block: &Block, vectors: Option<&Path>) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let folder = tempfile::tempdir().map_err(text)?;
    let (bin, work) = (folder.path().join("bin"), folder.path().join("work"));
    std::fs::create_dir(&bin).and_then(|()| std::fs::create_dir(&work)).map_err(text)?;
    symlink(env!("CARGO_BIN_EXE_confide"), bin.join("confide")).map_err(text)?;
    symlink(env!("CARGO_BIN_EXE_confide-dev"), bin.join("confide-dev")).map_err(text)?;
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let output = folder.path().join("output");
    let log = File::create(&output).map_err(text)?;
    let script: Vec<&str> = block.commands.iter().map(|(_, command)| command.as_str()).collect();
    let mut command = Command::new("bash");
    command
        .args(["-euo", "pipefail", "-c", &script.join("\n")])
        .current_dir(&work)
        .env("PATH", path)
        .env("REPO", root())
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(text)?)
        .stderr(log)
        .process_group(0);
    for name in ["CONFIDE_WORKSPACE", "CONFIDE_BROKER_DIR", "CONFIDE_BROKER_URL"] {
        command.env_remove(name);
    }
    if let Some(vectors) = vectors {
        command.env("CONFIDE_VECTORS", vectors);
    }
    let mut child = command.spawn().map_err(text)?;
    let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    let end = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().map_err(text)? {
            Some(status) => break Some(status),
            None if Instant::now() > end => break None,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    // What a block leaves running ends with it.
    if let Some(group) = group {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.wait();
    let printed = String::from_utf8_lossy(&std::fs::read(&output).map_err(text)?).into_owned();
    match status {
        None => return Err(format!("not done after {} s; it printed:\n{printed}", PATIENCE.as_secs())),
        Some(status) if !status.success() => return Err(format!("ended with {status}; it printed:\n{printed}")),
        Some(_) => {}
    }
    match block.shown.iter().find(|wanted| !printed.lines().any(|line| matches(line, wanted))) {
        Some(wanted) => Err(format!("no line of the output is like {wanted:?}; it printed:\n{printed}")),
        None => Ok(()),
    }
}

/// Whether a line is as shown; `…` stands for any text.
fn matches(line: &str, shown: &str) -> bool {
    let mut rest = line.trim_end();
    let mut parts = shown.trim_end().split('…');
    let Some(tail) = parts.next().and_then(|first| rest.strip_prefix(first)) else { return false };
    rest = tail;
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// README.md and every page of the manual, by path below the repository.
fn pages() -> Vec<(String, String)> {
    let mut pages = Vec::new();
    let mut folders = vec![PathBuf::from("docs/manual")];
    let mut names = vec![PathBuf::from("README.md")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).into_iter().flatten().flatten() {
            let path = folder.join(entry.file_name());
            if entry.path().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                names.push(path);
            }
        }
    }
    names.sort();
    for name in names {
        let text = std::fs::read_to_string(root().join(&name));
        assert!(text.is_ok(), "cannot read {}: {text:?}", name.display());
        pages.push((name.display().to_string(), text.unwrap_or_default()));
    }
    pages
}

/// Targets of Markdown links that are files here, without their anchors.
fn links(text: &str) -> Vec<String> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
        .filter(|target| !target.contains("://") && !target.starts_with('#') && !target.contains(' '))
        .map(|target| target.split('#').next().unwrap_or_default().to_owned())
        .collect()
}

fn root() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    path.canonicalize().unwrap_or(path)
}

fn vectors() -> Option<PathBuf> {
    let named = std::env::var_os("CONFIDE_VECTORS").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| root().join("../shared/vectors"));
    folder.canonicalize().ok()
}

/// Whether a build finds everything that it takes from the set-up.
fn guest_parts() -> bool {
    let named = std::env::var_os("CONFIDE_GUEST_PARTS").map(PathBuf::from);
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    let parts = named.or_else(|| cache.map(|cache| cache.join("confide/guest-parts")));
    let guest = Path::new(env!("CARGO_BIN_EXE_confide")).with_file_name("confide-guest");
    guest.exists() && parts.is_some_and(|parts| parts.join("vmlinuz").exists() && parts.join("OVMF.amdsev.fd").exists())
}
