//! `confide inspect`: look inside without root, mounts or nbd.

use crate::Context;
use crate::args::InspectArgs;
use crate::outcome::{Failure, Outcome, Result};
use crate::workspace;
use claims::volume::VolumeKey;
use image::inspect::{self, InspectError, Inspected, Item, ItemKind};
use serde_json::{Value, json};

/// Runs the command.
pub(super) fn run(args: &InspectArgs, context: &Context) -> Result {
    let key = match &args.key_file {
        Some(path) => {
            let bytes = workspace::key_file(path, false)?;
            Some(
                VolumeKey::from_slice(&bytes)
                    .map_err(|error| Failure::usage("the key cannot be used").because(error))?,
            )
        }
        None => None,
    };
    let refused = |error: InspectError| {
        let what = format!("cannot look into {}", args.path.display());
        match error.code() {
            Some(code) => Failure::refused(what).code(code),
            None => Failure::environment(what),
        }
        .because(error)
    };
    let opened = inspect::open(&args.path, key.as_ref()).map_err(refused)?;
    let inner = args.inner.as_deref().unwrap_or("/");
    if args.inner.is_some() && opened.is_file(inner).map_err(refused)? {
        let mut out = std::io::stdout().lock();
        opened.copy(inner, &mut out).map_err(refused)?;
        return Ok(Outcome::Done);
    }
    let items = opened.list(inner).map_err(refused)?;
    let list: Vec<Value> = items.iter().map(item_json).collect();
    let kind = match &opened {
        Inspected::Bundle(_) => "bundle",
        Inspected::Packed(_) => "packed bundle",
        Inspected::Volume(volume) if volume.sealed().is_some() => "sealed volume",
        Inspected::Volume(_) => "volume",
        Inspected::Initrd(_) => "initrd",
    };
    context.printer.data(&json!({ "kind": kind, "path": inner, "items": list }), || {
        items.iter().map(line).collect::<Vec<_>>().join("\n")
    });
    Ok(Outcome::Done)
}

fn item_json(item: &Item) -> Value {
    let (kind, target) = match &item.kind {
        ItemKind::Folder => ("folder", None),
        ItemKind::File => ("file", None),
        ItemKind::Link(target) => ("link", Some(target)),
        ItemKind::Special => ("special", None),
    };
    json!({
        "name": item.name, "kind": kind, "target": target, "mode": format!("{:04o}", item.mode),
        "uid": item.uid, "gid": item.gid, "size": item.size,
    })
}

fn line(item: &Item) -> String {
    let (letter, end) = match &item.kind {
        ItemKind::Folder => ('d', "/".to_owned()),
        ItemKind::File => ('-', String::new()),
        ItemKind::Link(target) => ('l', format!(" -> {target}")),
        ItemKind::Special => ('s', String::new()),
    };
    format!("{letter}{:04o} {:>5}:{:<5} {:>12} {}{end}", item.mode, item.uid, item.gid, item.size, item.name)
}
