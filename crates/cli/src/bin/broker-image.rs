//! Makes the container image of the key broker: the `confide` program, the libraries that it is linked with, and nothing
//! else, no shell among it. For `make image`; not a program for users.
//!
//!   broker-image PROGRAM LIBRARY… OUTPUT.tar
//!
//! `SOURCE_DATE_EPOCH` is the time of every file. The libraries keep their places, where the program's loader looks.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program says what it did")]

use image::oci::{Content, Entry, Recipe, write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// User and group that the broker runs as; no user of a host has this number.
const USER: u32 = 65532;
/// Where keys and store lie; a volume.
const HOME: &str = "var/lib/confide-broker";
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [program, libraries @ .., output] = arguments.as_slice() else {
        eprintln!("usage: broker-image PROGRAM LIBRARY… OUTPUT.tar");
        return ExitCode::from(2);
    };
    let epoch = std::env::var("SOURCE_DATE_EPOCH").unwrap_or_else(|_| "0".to_owned());
    let Ok(created) = epoch.parse() else {
        eprintln!("error: SOURCE_DATE_EPOCH is `{epoch}`, wanted seconds since 1970");
        return ExitCode::from(2);
    };
    match write(&recipe(program, libraries, created), output) {
        Ok(written) => {
            println!("sha256:{}", written.manifest);
            ExitCode::SUCCESS
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            eprintln!("error: {error}{cause}");
            ExitCode::from(3)
        }
    }
}

fn recipe(program: &Path, libraries: &[PathBuf], created: u64) -> Recipe {
    let text = |path: &str, text: String| Entry {
        path: path.to_owned(),
        mode: 0o644,
        owner: 0,
        content: Content::Bytes(text.into_bytes()),
    };
    let file = |path: &str, from: &Path| Entry {
        path: path.to_owned(),
        mode: 0o755,
        owner: 0,
        content: Content::File(from.to_owned()),
    };
    let mut entries = vec![
        file("usr/bin/confide", program),
        text("etc/passwd", format!("root:x:0:0::/:/\nconfide-broker:x:{USER}:{USER}::/{HOME}:/\n")),
        text("etc/group", format!("root:x:0:\nconfide-broker:x:{USER}:\n")),
        // Names of a PostgreSQL or Vault server: the C library asks what this file names.
        text("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".to_owned()),
        Entry { path: HOME.to_owned(), mode: 0o700, owner: USER, content: Content::Folder },
    ];
    entries.extend(libraries.iter().map(|library| file(library.to_string_lossy().trim_start_matches('/'), library)));
    let config = serde_json::json!({
        "Entrypoint": ["/usr/bin/confide"],
        "Cmd": ["broker", "serve", "--config", format!("/{HOME}/broker/broker.toml")],
        "User": format!("{USER}:{USER}"),
        "WorkingDir": format!("/{HOME}"),
        "Env": ["PATH=/usr/bin"],
        "ExposedPorts": {"8999/tcp": {}},
        "Volumes": {format!("/{HOME}"): {}},
        "StopSignal": "SIGTERM",
        "Labels": {
            "org.opencontainers.image.title": "confide-broker",
            "org.opencontainers.image.description": "Key broker: releases keys only against proof",
            "org.opencontainers.image.version": VERSION,
            "org.opencontainers.image.licenses": "Apache-2.0",
        },
    });
    Recipe { name: format!("confide-broker:{VERSION}"), entries, config, created }
}
