//! The workload's life: its start, what is watched while it runs, and the end.

use super::volumes::{VERIFIED_CONFIG, VERIFIED_ROOT};
use crate::agent::{self, Agent};
use crate::applog::{self, Applog, Full, Snapshot, Window};
use crate::broker_client::Keeper;
use crate::console::{self, Halt, Step};
use crate::container::{self, Access, Plan, Started};
use crate::mapper::Mapper;
use crate::network::{self, Network};
use crate::power::{self, Event, Events, Exit};
use crate::reattest::{self, Check};
use crate::{mounts, public};
use claims::Code;
use claims::site::Site;
use claims::workload::{Settings, UserData, WorkloadLog};
use rustix::process::Signal;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// Everything that stands before the workload starts.
pub(super) struct Prepared {
    pub(super) site: Site,
    pub(super) settings: Settings,
    pub(super) network: Arc<Network>,
    pub(super) keeper: Arc<Keeper>,
    pub(super) mapper: Mapper,
    pub(super) applog: Option<Applog>,
    pub(super) has_data: bool,
}

/// A VM whose workload runs.
pub(super) struct Running {
    events: Events,
    container: rustix::process::Pid,
    stop_signal: Signal,
    snapshot: Option<Snapshot>,
    drained: Option<Receiver<()>>,
}

/// Starts the agent, the workload, and everything that watches.
pub(super) fn start(prepared: Prepared) -> Result<Running, Halt> {
    let Prepared { site, settings, network, keeper, mapper, applog, has_data } = prepared;
    let events = Events::listen().map_err(|error| fault("listening to signals", &error))?;
    let plan = plan(&site, &settings, has_data)?;
    let keeps_log = settings.log == WorkloadLog::Applog;
    let window = |name, full| applog.as_ref().filter(|_| keeps_log).and_then(|applog| applog.window(name, full));
    let snapshot =
        window(applog::FOLDER_ARCHIVE, Full::Stop).map(|window| Snapshot::new(mounts::APPLOG.into(), window));

    agent::start(Agent::new(&site, &settings, Arc::clone(&keeper)))
        .map_err(|error| fault("starting the agent", &error))?;
    let Started { pid, output } = container::start(&plan)?;
    console::step(Step::Container, &public!("workload started"));
    let drained = match output {
        Some(output) => Some(keep_output(output, window(applog::WORKLOAD_LOG, Full::Wrap))?),
        None => None,
    };
    watch_volumes(mapper, site.user_config.is_some(), events.sender())?;
    renew_lease(network)?;
    attest_again(keeper, &site, events.sender())?;
    console::step(Step::Ready, &public!("boot complete"));
    let stop_signal = Signal::from_named_raw(i32::from(settings.stop_signal)).unwrap_or(Signal::TERM);
    Ok(Running { events, container: pid, stop_signal, snapshot, drained })
}

/// Watches until something ends, and ends everything else.
pub(super) fn to_the_end(mut running: Running) -> ! {
    let mut next_snapshot = console::uptime().saturating_add(applog::EVERY);
    loop {
        match running.events.next(TICK) {
            Some(Event::Child) => {
                if let Some(exit) = power::reap(running.container) {
                    console::note(&ended(exit));
                    finish(&mut running)
                }
            }
            Some(Event::Stop) => {
                console::note(&public!("asked to stop"));
                match power::stop(running.container, running.stop_signal, &running.events) {
                    Some(exit) => console::note(&ended(exit)),
                    None => console::note(&public!("workload killed: it did not end within ", power::GRACE)),
                }
                finish(&mut running)
            }
            Some(Event::Halt(halt)) => {
                power::kill_everything();
                console::halt(&halt)
            }
            None => {}
        }
        if console::uptime() >= next_snapshot {
            next_snapshot = console::uptime().saturating_add(applog::EVERY);
            take_snapshot(running.snapshot.as_mut());
        }
    }
}

const TICK: Duration = Duration::from_secs(1);
/// How often the verified devices are asked.
const WATCH: Duration = Duration::from_millis(500);
const OUTPUT_PIECE: usize = 16 * 1024;
const DRAIN: Duration = Duration::from_secs(2);

fn plan(site: &Site, settings: &Settings, has_data: bool) -> Result<Plan, Halt> {
    let folder = Path::new(mounts::APPLOG);
    mounts::make_folder(folder, "the applog folder")?;
    let owner = (settings.user.uid, settings.user.gid);
    std::os::unix::fs::chown(folder, Some(owner.0), Some(owner.1))
        .map_err(|error| fault("giving the applog folder to the workload's user", &error))?;
    let mut plan = Plan::new(mounts::CONTAINER_ROOT, settings.clone())
        .bind(format!("{}/hosts", network::ETC), "/etc/hosts", Access::File)
        .bind(format!("{}/resolv.conf", network::ETC), "/etc/resolv.conf", Access::File)
        .bind(folder, "/applog", Access::Writable);
    if site.user_config.is_some() {
        plan = plan.bind(mounts::USER_CONFIG, "/user_config", Access::Trusted);
    }
    if has_data {
        let access = match settings.user_data {
            UserData::ReadOnly => Access::Foreign,
            UserData::ReadWrite => Access::ForeignWritable,
        };
        plan = plan.bind(mounts::USER_DATA, "/user_data", access);
    }
    Ok(plan)
}

/// Takes the workload's output in, so that it never blocks, and keeps it where there is a place for it.
fn keep_output(mut output: File, mut window: Option<Window>) -> Result<Receiver<()>, Halt> {
    let (done, drained) = channel();
    spawn("output", move || {
        let mut piece = vec![0; OUTPUT_PIECE];
        while let Ok(length) = output.read(&mut piece) {
            if length == 0 {
                break;
            }
            if let Some(window) = &mut window {
                // WHY: a drive that takes nothing must not stop the workload.
                let _ = window.append(piece.get(..length).unwrap_or_default());
            }
        }
        if let Some(window) = &mut window {
            let _ = window.flush();
        }
        let _ = done.send(());
    })?;
    Ok(drained)
}

/// Damaged blocks are never handed out; this ends the VM when one was met.
fn watch_volumes(mapper: Mapper, has_config: bool, tell: Sender<Event>) -> Result<(), Halt> {
    spawn("volumes", move || {
        loop {
            for name in [VERIFIED_ROOT, VERIFIED_CONFIG] {
                if name == VERIFIED_CONFIG && !has_config {
                    continue;
                }
                if mapper.is_corrupted(name).unwrap_or(true) {
                    let why = public!("a block of drive `", name, "` does not match its root hash");
                    let _ = tell.send(Event::Halt(Halt::new(Code::Root, why)));
                    return;
                }
            }
            std::thread::sleep(WATCH);
        }
    })
}

fn renew_lease(network: Arc<Network>) -> Result<(), Halt> {
    let Some(first) = network.renewal_interval() else { return Ok(()) };
    spawn("lease", move || {
        let mut wait = first;
        loop {
            std::thread::sleep(wait);
            wait = if network.renew() {
                network.renewal_interval().unwrap_or(first)
            } else {
                (wait / 2).max(Duration::from_secs(30))
            };
        }
    })
}

fn attest_again(keeper: Arc<Keeper>, site: &Site, tell: Sender<Event>) -> Result<(), Halt> {
    let say = |check: &Check| match check {
        Check::Accepted => console::step(Step::Reattest, &public!("the broker accepted this machine again")),
        Check::Doubted(error) => console::note(&public!("the broker refused once: ", error.code())),
        Check::Unanswered { silent, why } => {
            console::note(&public!("the broker has not answered for ", *silent, ": ", why.code()));
        }
    };
    let stop = move |stop: reattest::Stop| {
        let _ = tell.send(Event::Halt(stop.into()));
    };
    reattest::start(keeper, &site.attestation, say, stop).map_err(|error| fault("starting a thread", &error))
}

fn finish(running: &mut Running) -> ! {
    power::kill_everything();
    if let Some(drained) = &running.drained {
        let _ = drained.recv_timeout(DRAIN);
    }
    take_snapshot(running.snapshot.as_mut());
    power::exit_vm()
}

fn take_snapshot(snapshot: Option<&mut Snapshot>) {
    if let Some(Err(error)) = snapshot.map(Snapshot::take) {
        console::note(&public!("the applog folder could not be written: ", error));
    }
}

fn ended(exit: Exit) -> console::Public {
    match exit {
        Exit::Status(status) => public!("workload ended with status ", status),
        Exit::Signal(signal) => public!("workload ended by signal ", signal),
    }
}

fn spawn(name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<(), Halt> {
    match std::thread::Builder::new().name(name.into()).spawn(work) {
        Ok(_) => Ok(()),
        Err(error) => Err(fault("starting a thread", &error)),
    }
}

fn fault(doing: &'static str, error: &std::io::Error) -> Halt {
    Halt::new(Code::Guest, public!(doing, " failed: ", error))
}
