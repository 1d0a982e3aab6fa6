//! `confide launch`: start a bundle.

use crate::args::{Accelerator, LaunchArgs};
use crate::kvm::{self, Kvm};
use crate::outcome::{self, Failure, Outcome, Result};
use crate::qemu::{Bundle, Machine, Published};
use crate::{Context, Development};
use claims::Code;
use image::bundle::names;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// How long a VM may take to end by itself once it was asked to.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the command.
pub(super) fn run(args: &LaunchArgs, context: &Context) -> Result {
    let bundle = Bundle::open(&args.bundle)?;
    match &context.development {
        Some(development) => emulated(args, &bundle, development, context),
        None => hardware(args, &bundle, context),
    }
}

/// Real silicon: the bundle's own script does it, so that there is one description of how to start.
fn hardware(args: &LaunchArgs, bundle: &Bundle, context: &Context) -> Result {
    let script = bundle.file(names::LAUNCH);
    let publish: Vec<String> =
        published(args, &bundle.manifest.ports)?.iter().map(|port| format!("{}:{}", port.guest, port.host)).collect();
    let mut command = std::process::Command::new("bash");
    command
        .arg(&script)
        .env("CONFIDE_BIND", &args.bind)
        .env("CONFIDE_GPU", args.gpu.join(" "))
        .env("CONFIDE_PUBLISH", publish.join(" "));
    if args.dry_run {
        context.printer.data(&serde_json::json!({ "command": [script] }), || script.display().to_string());
        return Ok(Outcome::Done);
    }
    snp_host().map_err(|why| {
        Failure::environment(format!("this machine cannot start a confidential VM: {why}"))
            .code(Code::Hardware)
            .hint("to try everything without the hardware, use confide-dev instead of confide")
            .hint("`confide doctor` lists what is missing")
    })?;
    // In this process's place: a signal for the launcher is one for the script, which asks the VM to end.
    Err(outcome::cannot("run", &script, command.exec()))
}

/// Whether this host can run SNP guests; the error says what is missing.
pub(crate) fn snp_host() -> Result<(), &'static str> {
    let parameter = std::fs::read_to_string("/sys/module/kvm_amd/parameters/sev_snp").unwrap_or_default();
    match (Path::new("/dev/sev").exists(), parameter.trim()) {
        (true, "Y" | "1") => Ok(()),
        (false, _) => Err("there is no /dev/sev (no AMD processor with SEV-SNP, or its driver is not loaded)"),
        (true, _) => Err("the kvm_amd module has SEV-SNP off (sev_snp is not Y)"),
    }
}

fn emulated(args: &LaunchArgs, bundle: &Bundle, development: &Arc<dyn Development>, context: &Context) -> Result {
    let accelerator = accelerator(args.accelerator, &bundle.file(names::KERNEL), context)?;
    let published = published(args, &bundle.manifest.ports)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Failure::environment("cannot start a runtime").because(error))?;
    // Listened to before there is anything to leave behind.
    let end = {
        let _inside = runtime.enter();
        Signals::new()?
    };
    let sockets = SocketFolder::make()?;
    let machine = Machine {
        accelerator,
        bind: &args.bind,
        published: &published,
        processor: &sockets.path("processor"),
        monitor: &sockets.path("monitor"),
    };
    let arguments = bundle.arguments(&machine);
    if args.dry_run {
        let words: Vec<String> = arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        context.printer.data(&serde_json::json!({ "command": words }), || words.join(" "));
        return Ok(Outcome::Done);
    }
    if !args.gpu.is_empty() {
        return Err(Failure::usage("a GPU cannot be passed to an emulated TEE").hint("leave --gpu away"));
    }
    bundle.keep_log()?;
    let facts = bundle.facts()?;
    let listener = UnixListener::bind(machine.processor)
        .map_err(|error| outcome::cannot("listen at", machine.processor, error))?;
    let (development, workspace) = (development.clone(), args.workspace.clone());
    let (tell, processor_failed) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        if let Err(failure) = development.serve_processor(&workspace, facts, listener) {
            let _ = tell.send(failure);
        }
    });
    context.printer.step("vm", format!("starting under {accelerator}, with an emulated secure processor"));
    runtime.block_on(watch(arguments, machine.monitor, processor_failed, end, context))
}

/// Runs QEMU to its end, hands its console through, and ends it when this process is asked to end: by the power button,
/// so that the workload gets its signal and its time, and hard when it is asked a second time.
async fn watch(
    arguments: Vec<std::ffi::OsString>,
    monitor: &Path,
    mut processor_failed: tokio::sync::mpsc::UnboundedReceiver<Failure>,
    mut end: Signals,
    context: &Context,
) -> Result {
    let mut child = tokio::process::Command::new("qemu-system-x86_64")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .process_group(0)
        .spawn()
        .map_err(|error| {
            Failure::environment("cannot start qemu-system-x86_64").because(error).hint("install it: scripts/setup.sh")
        })?;
    let console = child.stdout.take().ok_or_else(|| Failure::environment("QEMU gives no console"))?;
    let mut lines = BufReader::new(console).split(b'\n');
    let mut halted = None;
    // Before its workload runs a guest has nothing open, and does not listen to the power button yet.
    let mut works = false;
    let mut ending: Option<tokio::time::Instant> = None;
    loop {
        tokio::select! {
            line = lines.next_segment() => match line {
                Ok(Some(line)) => {
                    let text = printable(&line);
                    if let Some(why) = text.strip_prefix("confide: halt ") {
                        halted = Some(why.to_owned());
                    }
                    works |= text.starts_with("confide: step=container ");
                    context.printer.say(text);
                }
                Ok(None) | Err(_) => break,
            },
            Some(failure) = processor_failed.recv() => context.printer.failure(&failure),
            () = end.any() => {
                let again = ending.is_some();
                context.printer.say("ending the VM");
                if again || !works {
                    let _ = child.kill().await;
                } else {
                    power_down(monitor).await;
                }
                ending = Some(tokio::time::Instant::now() + PATIENCE);
            }
            () = tokio::time::sleep_until(ending.unwrap_or_else(tokio::time::Instant::now)), if ending.is_some() => {
                let seconds = PATIENCE.as_secs();
                context.printer.warn(format!("the VM did not end by itself within {seconds} s, so it was killed"));
                let _ = child.kill().await;
                break;
            }
        }
    }
    let status =
        child.wait().await.map_err(|error| Failure::environment("QEMU cannot be waited for").because(error))?;
    if ending.is_some() {
        return Ok(Outcome::Done);
    }
    match (halted, status.success()) {
        (Some(why), _) => Err(halt_failure(&why)),
        (None, true) => Ok(Outcome::Done),
        (None, false) => Err(Failure::environment(format!("QEMU ended with {status}"))),
    }
}

/// Turns `code=E-… words` of the guest's console into a failure.
pub(crate) fn halt_failure(why: &str) -> Failure {
    let (code, words) = why.strip_prefix("code=").and_then(|rest| rest.split_once(' ')).unwrap_or(("", why));
    let failure = Failure::refused(format!("the guest halted: {words}"))
        .hint("these are the guest's own words: hints, not facts; the broker's decision is in `confide audit show`");
    match code.parse::<Code>() {
        Ok(code) => failure.code(code),
        Err(_) => failure,
    }
}

fn printable(line: &[u8]) -> String {
    String::from_utf8_lossy(line).chars().filter(|letter| !letter.is_control() || *letter == '\t').collect()
}

/// QMP (qemu-qmp-ref): negotiate, then press the power button.
async fn power_down(monitor: &Path) {
    if let Ok(mut stream) = tokio::net::UnixStream::connect(monitor).await {
        let _ = stream.write_all(b"{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"system_powerdown\"}\n").await;
        let _ = stream.flush().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

struct Signals {
    hangup: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let failed = |error| Failure::environment("cannot listen for signals").because(error);
        Ok(Self {
            hangup: signal(SignalKind::hangup()).map_err(failed)?,
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.hangup.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Which accelerator to use; says so when KVM is there but does not work.
fn accelerator(wanted: Accelerator, kernel: &Path, context: &Context) -> Result<&'static str> {
    match wanted {
        Accelerator::Tcg => Ok("tcg"),
        Accelerator::Kvm => Ok("kvm"),
        Accelerator::Auto => Ok(match kvm::probe(kernel) {
            Kvm::Works => "kvm",
            Kvm::Broken(why) | Kvm::Absent(why) => {
                context.printer.step("vm", format!("plain emulation ({why})"));
                "tcg"
            }
        }),
    }
}

/// The workload's ports, each with the host port it is published on.
fn published(args: &LaunchArgs, ports: &[u16]) -> Result<Vec<Published>> {
    let mut published: Vec<Published> = ports.iter().map(|port| Published { guest: *port, host: *port }).collect();
    for pair in &args.publish {
        let wrong = || Failure::usage(format!("--publish {pair} is not GUEST:HOST, two port numbers"));
        let (guest, host) = pair.split_once(':').ok_or_else(wrong)?;
        let (guest, host): (u16, u16) = (guest.parse().map_err(|_| wrong())?, host.parse().map_err(|_| wrong())?);
        let entry = published.iter_mut().find(|port| port.guest == guest).ok_or_else(|| {
            Failure::usage(format!("port {guest} is not among the bundle's allowed_ports ({ports:?})"))
                .hint("add it to allowed_ports in the workload file, and build again")
        })?;
        entry.host = host;
    }
    Ok(published)
}

/// A short-lived folder for sockets (their paths are limited to 108 bytes), gone when the VM is.
struct SocketFolder(PathBuf);

impl SocketFolder {
    fn make() -> Result<Self> {
        let base = std::env::temp_dir();
        let folder = tempfile::Builder::new()
            .prefix("confide-vm-")
            .tempdir_in(&base)
            .map_err(|error| outcome::cannot("make a folder in", &base, error))?;
        Ok(Self(folder.keep()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for SocketFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
