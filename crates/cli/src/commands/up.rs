//! `confide up`: the main job on one machine.
//!
//! Every step runs what a person would type: the broker and the VM are this same program in processes of their own,
//! recorded in the workspace so that `down` ends exactly them.

use super::{broker as broker_command, build as build_command, down, up_proof};
use crate::args::{Accelerator, UpArgs};
use crate::broker_api::BrokerApi;
use crate::guest_parts;
use crate::outcome::{self, Failure, Outcome, Result};
use crate::workspace::{Process, Running, Workspace};
use crate::{Context, kvm};
use claims::Code;
use claims::site::Broker;
use claims::volume::VolumeKey;
use image::workload::Workload;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Address of the host as a guest on QEMU's user network sees it.
const HOST_FROM_GUEST: &str = "10.0.2.2";
const BROKER_PORT: u16 = 8999;
const BROKER_PATIENCE: Duration = Duration::from_secs(20);

/// Runs the command.
pub(super) fn run(args: &UpArgs, context: &Context) -> Result {
    let workload = build_command::read_workload(&args.workload)?;
    needs_hardware(context)?;
    // From here on Ctrl-C ends what was started, instead of this process alone.
    let cancelled = build_command::cancelled_by_signal()?;
    let workspace = Workspace::open(&args.workspace)?;
    end_earlier(&workspace, context)?;
    let parts = guest_parts::resolve(&args.parts, &build_command::named_parts(&workload))?;

    let mut started = Started { running: None, workspace: &workspace, context, cancelled, keep: false };
    let api = start_broker(args, &workspace, &mut started, context)?;
    let built = build(args, &workload, &workspace, &parts, &api, context)?;
    register(&workload, &workspace, &built, &api, context)?;
    let before = api.get("/confide/v0/status")?;
    started.go_on()?;
    let ports = start_vm(args, &workload, &built.folder, &workspace, &mut started, context)?;
    follow_boot(args, &workspace, &mut started, context)?;

    let decision = released(&api, &before, &built)?;
    let url = ports.first().map(|(_, host)| format!("http://127.0.0.1:{host}/"));
    let proof = match (&workload.proof, &url) {
        (Some(proof), Some(url)) => Some(up_proof::ask(proof, url, &workspace, context, &|| started.go_on())?),
        _ => None,
    };
    started.keep = true;
    let answer = json!({
        "attested": true, "url": url, "decision": decision, "broker": api.url(), "bundle": built.folder, "proof": proof,
        "emulated": context.development.is_some(),
    });
    context.printer.data(&answer, || {
        let url = url.as_deref().unwrap_or("(no port is open)");
        let decision = decision.as_str().unwrap_or_default();
        // Its settings name the usual port, which another broker may have.
        let at = if api.url().ends_with(&format!(":{BROKER_PORT}")) { String::new() } else { format!(" --url {}", api.url()) };
        format!("up: {url}\n  why it was trusted  confide explain {decision} --broker-dir {}{at}\n  end it              {} down",
            workspace.path("broker").display(), program())
    });
    Ok(Outcome::Done)
}

fn needs_hardware(context: &Context) -> Result<()> {
    if context.development.is_some() {
        context.printer.warn("EMULATED TEE: this shows everything and protects nothing");
        return Ok(());
    }
    super::launch::snp_host().map_err(|why| {
        Failure::environment(format!("this machine cannot start a confidential VM: {why}"))
            .code(Code::Hardware)
            .hint("to try everything without the hardware: confide-dev up WORKLOAD.yml")
    })
}

fn end_earlier(workspace: &Workspace, context: &Context) -> Result<()> {
    if let Some(running) = workspace.running()? {
        down::end(&running, context)?;
        workspace.forget();
    }
    Ok(())
}

/// Ends what was started unless `up` came to its end.
struct Started<'a> {
    running: Option<Running>,
    workspace: &'a Workspace,
    context: &'a Context,
    cancelled: &'a AtomicBool,
    keep: bool,
}

impl Started<'_> {
    fn record(&mut self, change: impl FnOnce(&mut Running)) -> Result<()> {
        let running =
            self.running.get_or_insert_with(|| Running { broker: None, launcher: None, broker_address: String::new() });
        change(running);
        self.workspace.record(running)
    }

    /// Stops the command after Ctrl-C.
    fn go_on(&self) -> Result<()> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(Failure::environment("interrupted; everything that was started is ended"));
        }
        Ok(())
    }
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        if let (Some(running), false) = (&self.running, self.keep) {
            // What does not end stays on the list, for `down`.
            match down::end(running, self.context) {
                Ok(_) => self.workspace.forget(),
                Err(failure) => self.context.printer.failure(&failure),
            }
        }
    }
}

fn start_broker(
    args: &UpArgs,
    workspace: &Workspace,
    started: &mut Started<'_>,
    context: &Context,
) -> Result<BrokerApi> {
    let folder = workspace.path("broker");
    if !folder.exists() {
        let listen = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), BROKER_PORT);
        let names = [HOST_FROM_GUEST.to_owned(), "localhost".to_owned()];
        broker_command::make(&folder, listen, &names)?;
        context.printer.step("broker", "keys and settings made");
    }
    let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), free_port(BROKER_PORT)?);
    let mut command = this_program()?;
    command
        .args(["broker", "serve", "--listen", &address.to_string(), "--config"])
        .arg(folder.join(broker::SETTINGS_FILE));
    command.arg("--workspace").arg(&args.workspace);
    if context.development.is_some() {
        command.arg("--dev");
    }
    let log = workspace.path("broker.log");
    let mut child = detached(command, &log)?;
    let process = Process::of(child.id());
    started.record(|running| {
        running.broker = process;
        running.broker_address = address.to_string();
    })?;
    let api = BrokerApi::at(&folder, format!("https://{address}"))?;
    let end = Instant::now() + BROKER_PATIENCE;
    loop {
        match api.get("/confide/v0/status") {
            Ok(_) => break,
            Err(failure) if ended(&mut child) || Instant::now() > end => {
                return Err(failure.hint(format!("its log is {}", log.display())));
            }
            Err(_) => {
                started.go_on()?;
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
    context.printer.step("broker", format!("serving at {}", api.url()));
    Ok(api)
}

fn build(
    args: &UpArgs,
    workload: &Workload,
    workspace: &Workspace,
    parts: &guest_parts::Parts,
    api: &BrokerApi,
    context: &Context,
) -> Result<image::build::Built> {
    let key = workspace.key(&key_name(workload))?;
    let key = VolumeKey::from_slice(&key)
        .map_err(|error| Failure::environment("the volume key cannot be used").because(error))?;
    let port = api.url().rsplit(':').next().unwrap_or_default();
    let broker = Broker { url: format!("https://{HOST_FROM_GUEST}:{port}"), identity: api.identity() };
    let bundle = workspace.path("bundle");
    if bundle.exists() {
        std::fs::remove_dir_all(&bundle).map_err(|error| outcome::cannot("remove", &bundle, error))?;
    }
    let begun = Instant::now();
    let built = build_command::build(workload, parts, &key, Some(broker), &bundle, false, context)?;
    context.printer.step("bundle built", format!("{} MB in {:.2} s", built.bytes >> 20, begun.elapsed().as_secs_f64()));
    let facts = build_command::describe(&built, begun, &args.workspace);
    let measurement = facts.get("launch_measurement").and_then(Value::as_str).unwrap_or_default();
    context.printer.step("measurement predicted", measurement);
    Ok(built)
}

/// Puts volume key, secrets and release rule into the broker.
fn register(
    workload: &Workload,
    workspace: &Workspace,
    built: &image::build::Built,
    api: &BrokerApi,
    context: &Context,
) -> Result<()> {
    let volume_key = workspace.key(&key_name(workload))?;
    put(api, &built.site.volume_key, &volume_key)?;
    api.post("/confide/v0/sites", &outcome::read(&built.folder.join(image::bundle::names::SITE))?, "application/json")?;
    let held = api.get("/confide/v0/resources")?;
    let holds = |path: &str| {
        let resources = held.get("resources").and_then(Value::as_array);
        resources.into_iter().flatten().any(|entry| entry.get("path").and_then(Value::as_str) == Some(path))
    };
    for path in &workload.resources {
        let kept = up_proof::secret_file(path);
        if workspace.path(&kept).exists() || !holds(path) {
            let made = !workspace.path(&kept).exists();
            put(api, path, &workspace.key(&kept)?)?;
            if made {
                context.printer.step("secret made", format!("{path} (32 random bytes; replace it with `secret put`)"));
            }
        }
    }
    let reference = serde_json::to_vec(&built.reference)
        .map_err(|error| Failure::environment("the reference has no JSON form").because(error))?;
    api.post("/confide/v0/references", &reference, "application/json")?;
    context.printer.step("registered", "volume key and release rule");
    Ok(())
}

fn put(api: &BrokerApi, path: &str, value: &[u8]) -> Result<()> {
    api.post(&super::secret::resource(path)?, value, "application/octet-stream").map(drop)
}

fn start_vm(
    args: &UpArgs,
    workload: &Workload,
    bundle: &Path,
    workspace: &Workspace,
    started: &mut Started<'_>,
    context: &Context,
) -> Result<Vec<(u16, u16)>> {
    let mut command = this_program()?;
    command.arg("launch").arg(bundle).arg("--workspace").arg(&args.workspace);
    let accelerator = match args.accelerator {
        Accelerator::Auto if context.development.is_some() => {
            match kvm::probe(&bundle.join(image::bundle::names::KERNEL)) {
                kvm::Kvm::Works => "kvm",
                kvm::Kvm::Broken(_) | kvm::Kvm::Absent(_) => "tcg",
            }
        }
        Accelerator::Auto => "auto",
        Accelerator::Kvm => "kvm",
        Accelerator::Tcg => "tcg",
    };
    command.args(["--accelerator", accelerator]);
    let mut ports = Vec::new();
    for guest in &workload.ports.inbound {
        let host = free_port(*guest)?;
        command.args(["--publish", &format!("{guest}:{host}")]);
        ports.push((*guest, host));
    }
    let child = detached(command, &workspace.path("vm.log"))?;
    let process = Process::of(child.id());
    started.record(|running| running.launcher = process)?;
    context.printer.step("vm", format!("starting ({accelerator})"));
    Ok(ports)
}

/// Prints the guest's steps as they come, until it is ready, halts, or takes too long.
fn follow_boot(args: &UpArgs, workspace: &Workspace, started: &mut Started<'_>, context: &Context) -> Result<()> {
    let path = workspace.path("vm.log");
    let file = File::open(&path).map_err(|error| outcome::cannot("read", &path, error))?;
    let mut log = BufReader::new(file);
    let end = Instant::now() + Duration::from_secs(args.timeout);
    let mut line = String::new();
    let mut last = String::new();
    loop {
        let count = log.read_line(&mut line).map_err(|error| outcome::cannot("read", &path, error))?;
        if count > 0 && line.ends_with('\n') {
            let text = line.trim_end();
            if let Some(why) = text.strip_prefix("confide: halt ") {
                return Err(super::launch::halt_failure(why).hint(format!("the VM's console is in {}", path.display())));
            }
            if let Some((step, words)) = text.strip_prefix("confide: step=").and_then(|rest| rest.split_once(' ')) {
                context.printer.step(step_name(step), words);
                if step == "ready" {
                    return Ok(());
                }
            }
            last = text.to_owned();
            line.clear();
            continue;
        }
        started.go_on()?;
        let alive =
            started.running.as_ref().and_then(|running| running.launcher).is_some_and(|process| process.alive());
        if !alive {
            return Err(Failure::environment(format!("the VM ended before its workload was up; last line: {last}"))
                .hint(format!("its console is in {}", path.display())));
        }
        if Instant::now() > end {
            return Err(Failure::environment(format!(
                "the workload is not up after {} s; last line: {last}",
                args.timeout
            ))
            .hint(format!("its console is in {}; --timeout waits longer", path.display())));
        }
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// A step of the guest in the words of the main job.
fn step_name(step: &str) -> &str {
    match step {
        "site" => "site checked",
        "network" => "network up",
        "evidence" => "evidence verified",
        "key" => "key released",
        "volume" => "volume opened",
        "drives" => "drives mounted",
        "container" => "container started",
        "ready" => "ready",
        other => other,
    }
}

/// The broker's own word that it released the volume key after this boot began: the decision's id.
fn released(api: &BrokerApi, before: &Value, built: &image::build::Built) -> Result<Value> {
    let last = before.pointer("/audit/sequence").and_then(Value::as_u64).unwrap_or(0);
    let list = api.get("/confide/v0/decisions?limit=100")?;
    let decisions = list.get("decisions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mine = |entry: &&Value| {
        entry.get("resource").and_then(Value::as_str) == Some(&built.site.volume_key)
            && entry.get("code").is_none_or(Value::is_null)
            && entry.get("sequence").and_then(Value::as_u64).is_some_and(|sequence| sequence > last)
    };
    let found = decisions.iter().find(mine).and_then(|entry| entry.get("decision").cloned());
    found.ok_or_else(|| {
        Failure::refused("the guest says that it is ready, but the broker released no key to it").code(Code::Denied)
    })
}

fn key_name(workload: &Workload) -> String {
    format!("keys/{}.key", workload.site)
}

/// `wanted` if it is free on loopback, else any free port.
fn free_port(wanted: u16) -> Result<u16> {
    let port = |port: u16| {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|listener| Ok(listener.local_addr()?.port()))
    };
    port(wanted)
        .or_else(|_| port(0))
        .map_err(|error| Failure::environment("no port is free on 127.0.0.1").because(error))
}

fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "confide".to_owned())
}

fn this_program() -> Result<Command> {
    let path =
        std::env::current_exe().map_err(|error| Failure::environment("cannot find this program").because(error))?;
    Ok(Command::new(path))
}

/// Starts a process that outlives this one, in its own group, with its output in `log`.
fn detached(mut command: Command, log: &Path) -> Result<Child> {
    use std::os::unix::process::CommandExt;
    let mut file = File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .open(log)
        .map_err(|error| outcome::cannot("write", log, error))?;
    file.rewind().map_err(|error| outcome::cannot("write", log, error))?;
    let copy = file.try_clone().map_err(|error| outcome::cannot("write", log, error))?;
    command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(copy)
        .process_group(0)
        .spawn()
        .map_err(|error| Failure::environment("cannot start this program again").because(error))
}

fn ended(child: &mut Child) -> bool {
    matches!(child.try_wait(), Ok(Some(_)))
}
