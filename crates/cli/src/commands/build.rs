//! `confide build`: from a workload file to a bundle.

use crate::Context;
use crate::args::{BuildArgs, GuestParts};
use crate::guest_parts::{self, Parts};
use crate::outcome::{self, Failure, Outcome, Result};
use crate::workspace;
use claims::Code;
use claims::site::{Broker, host_and_port};
use claims::volume::VolumeKey;
use image::build::{Built, Progress, Request};
use image::workload::{Place, Workload};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Runs the command.
pub(super) fn run(args: &BuildArgs, context: &Context) -> Result {
    let started = Instant::now();
    let broker = broker(args)?;
    let workload = read_workload(&args.workload)?;
    let parts = guest_parts::resolve(&args.parts, &named_parts(&workload))?;
    let key_path = args.volume_key_file.clone().unwrap_or_else(|| beside(&args.output, "key"));
    if broker.is_none() && workload.broker.is_none() {
        context.printer.warn("no broker is named, so this bundle can be measured and inspected but not started");
        context.printer.say(
            "hint: add `broker:` with url and identity to the workload file, or --broker-url and --broker-identity",
        );
    }
    if args.dry_run {
        return would_build(&workload, args, context);
    }
    if args.volume_key_file.is_some() && !key_path.exists() {
        return Err(Failure::environment(format!("the volume key {} is not there", key_path.display()))
            .hint(format!("make one with: head -c 32 /dev/urandom > {}", key_path.display())));
    }
    let key = workspace::key_file(&key_path, args.volume_key_file.is_none())?;
    let key =
        VolumeKey::from_slice(&key).map_err(|error| Failure::usage("the volume key cannot be used").because(error))?;
    let earlier = if args.force { Earlier::put_aside(&workload, args)? } else { Vec::new() };
    let built = build(&workload, &parts, &key, broker, &args.output, args.tgz, context)?;
    earlier.into_iter().try_for_each(Earlier::remove)?;
    let answer = describe(&built, started, &key_path);
    context.printer.data(&answer, || {
        let field = |name: &str| answer.get(name).map_or_else(String::new, |value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        let mut text = format!(
            "built {} in {} s, {} MB\n  launch measurement  {}\n  host data           {}\n  root hash           {}\n  volume key          {}",
            args.output.display(), field("seconds"), built.bytes >> 20,
            field("launch_measurement"), field("host_data"), field("root_hash"), key_path.display(),
        );
        if let Some(archive) = &built.archive {
            text.push_str(&format!("\n  archive             {}", archive.display()));
        }
        text
    });
    Ok(Outcome::Done)
}

/// What the files themselves say is found out by building only.
fn would_build(workload: &Workload, args: &BuildArgs, context: &Context) -> Result {
    let named = [("archive", &workload.docker_archive)].into_iter();
    let missing = named
        .chain(workload.user_config.values().map(|path| ("file for user_config", path)))
        .find(|(_, path)| !path.exists());
    if let Some((what, path)) = missing {
        return Err(Failure::environment(format!("the {what} {} is not there", path.display())));
    }
    if args.output.exists() && !args.force {
        return Err(Failure::environment(format!("{} exists already", args.output.display()))
            .hint("remove it or name another; --force replaces it"));
    }
    let answer = serde_json::json!({ "would_build": workload.name, "site": workload.site, "bundle": args.output });
    context.printer.data(&answer, || {
        format!("would build {} for {} into {}", workload.name, workload.site, args.output.display())
    });
    Ok(Outcome::Done)
}

/// What `--force` replaces: kept under another name until its successor is whole, and given back if that does not come.
struct Earlier {
    path: PathBuf,
    aside: Option<PathBuf>,
}

impl Earlier {
    fn put_aside(workload: &Workload, args: &BuildArgs) -> Result<Vec<Self>> {
        let archive = args.tgz.then(|| args.output.with_file_name(format!("{}.tgz", workload.image_name)));
        let there = [Some(args.output.clone()), archive].into_iter().flatten().filter(|path| path.exists());
        there
            .map(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let aside = path.with_file_name(format!(".{name}.replaced-{}", std::process::id()));
                std::fs::rename(&path, &aside).map_err(|error| outcome::cannot("rename", &path, error))?;
                Ok(Self { path, aside: Some(aside) })
            })
            .collect()
    }

    fn remove(mut self) -> Result<()> {
        let Some(aside) = self.aside.take() else { return Ok(()) };
        let removed = if aside.is_dir() { std::fs::remove_dir_all(&aside) } else { std::fs::remove_file(&aside) };
        removed.map_err(|error| outcome::cannot("remove", &aside, error))
    }
}

impl Drop for Earlier {
    fn drop(&mut self) {
        if let Some(aside) = &self.aside {
            // Nobody is left to tell if this fails; the name says what it is.
            let _ = std::fs::rename(aside, &self.path);
        }
    }
}

/// Reads and parses a workload file.
pub(super) fn read_workload(path: &Path) -> Result<Workload> {
    let bytes = outcome::read(path)?;
    let text = String::from_utf8(bytes)
        .map_err(|error| Failure::usage(format!("{} is not text", path.display())).because(error))?;
    let absolute = std::path::absolute(path).map_err(|error| outcome::cannot("find", path, error))?;
    let home = std::env::var_os("HOME").map(PathBuf::from);
    Workload::parse(&text, Place { file: &absolute, home: home.as_deref() }).map_err(|error| {
        Failure::usage(format!("{} cannot be used", path.display()))
            .because(error)
            .hint("every key is described in docs/manual/reference/workload-file.md")
    })
}

/// The parts that a workload file names.
pub(super) fn named_parts(workload: &Workload) -> GuestParts {
    GuestParts {
        kernel: workload.kernel.clone(),
        modules: workload.modules.clone(),
        firmware: workload.firmware.clone(),
        guest: None,
    }
}

/// Builds the bundle, with a progress bar; Ctrl-C leaves nothing behind.
pub(super) fn build(
    workload: &Workload,
    parts: &Parts,
    key: &VolumeKey,
    broker: Option<Broker>,
    out: &Path,
    archive: bool,
    context: &Context,
) -> Result<Built> {
    let bar = context.printer.bar();
    let cancelled = cancelled_by_signal()?;
    let cache = guest_parts::cache_folder().map(|folder| folder.join("volumes"));
    let request = Request {
        workload,
        kernel: &parts.kernel,
        modules: &parts.modules,
        firmware: &parts.firmware,
        guest: &parts.guest,
        volume_key: key,
        broker,
        out,
        cache: cache.as_deref(),
        archive,
        threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        progress: &|progress: Progress| bar.at(progress.step.name(), progress.done, progress.total),
        cancelled: &|| cancelled.load(Ordering::Relaxed),
    };
    image::build::build(&request).map_err(|error| {
        let failure = match error.code() {
            Some(code) => Failure::refused("the bundle was not built").code(code),
            None => Failure::environment("the bundle was not built"),
        };
        failure.because(error)
    })
}

/// Becomes true at the first SIGINT or SIGTERM. From then on a file that would grow over the limit of the shell
/// (`ulimit -f`) is an error like a full disk, and no longer the end of this process.
pub(super) fn cancelled_by_signal() -> Result<&'static AtomicBool> {
    static CANCELLED: AtomicBool = AtomicBool::new(false);
    static WATCHED: std::sync::Once = std::sync::Once::new();
    let mut failed = None;
    WATCHED.call_once(|| {
        use tokio::signal::unix::{SignalKind, signal};
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(tell.send(Some(error))),
            };
            runtime.block_on(async {
                let file_size = signal(SignalKind::from_raw(SIGXFSZ));
                match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
                    (Ok(mut interrupt), Ok(mut terminate)) if file_size.is_ok() => {
                        let _ = tell.send(None);
                        tokio::select! {
                            _ = interrupt.recv() => {}
                            _ = terminate.recv() => {}
                        }
                        CANCELLED.store(true, Ordering::Relaxed);
                    }
                    (Err(error), _) | (_, Err(error)) => drop(tell.send(Some(error))),
                    _ => drop(tell.send(file_size.err())),
                }
            });
        });
        failed = told.recv().ok().flatten();
    });
    match failed {
        Some(error) => Err(Failure::environment("cannot listen for signals").because(error)),
        None => Ok(&CANCELLED),
    }
}

/// signal(7), x86-64.
const SIGXFSZ: i32 = 25;

/// The facts about a build that scripts want.
pub(super) fn describe(built: &Built, started: Instant, key: &Path) -> serde_json::Value {
    let manifest = &built.manifest;
    let measurement = built
        .reference
        .launch_measurements
        .iter()
        .find(|entry| entry.vcpu_type == manifest.vcpu_type && entry.vcpus == manifest.vcpus)
        .map(|entry| entry.launch_measurement);
    serde_json::json!({
        "bundle": built.folder,
        "archive": built.archive,
        "name": manifest.name,
        "site": manifest.site,
        "launch_measurement": measurement,
        "vcpu_type": manifest.vcpu_type,
        "vcpus": manifest.vcpus,
        "host_data": built.reference.host_data,
        "root_hash": built.reference.root_hash,
        "volume_key_file": key,
        "seconds": (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        "bytes": built.bytes,
    })
}

fn broker(args: &BuildArgs) -> Result<Option<Broker>> {
    let (Some(url), Some(identity)) = (&args.broker_url, &args.broker_identity) else { return Ok(None) };
    if host_and_port(url).is_none() {
        return Err(Failure::usage(format!("--broker-url `{url}` is not `https://HOST:PORT`"))
            .code(Code::Format)
            .hint("HOST is a name or an IPv4 address, and nothing follows the port"));
    }
    let identity = identity.parse().map_err(|error| {
        Failure::usage("--broker-identity is not a SHA-256")
            .because(error)
            .code(Code::Format)
            .hint("`confide broker status` prints it")
    })?;
    Ok(Some(Broker { url: url.clone(), identity }))
}

/// `DIR.key` beside `DIR`.
fn beside(folder: &Path, extension: &str) -> PathBuf {
    let mut name = folder.file_name().map(std::ffi::OsStr::to_owned).unwrap_or_default();
    name.push(".");
    name.push(extension);
    folder.with_file_name(name)
}
