//! The end of a VM: signals, the power button, stopping the workload, switching off.
//!
//! *Takes* signals and button presses, which the host can cause at any time.
//! *Guarantees* that no process of the workload outlives the decision to end, and that the VM ends even when a drive
//! or the console takes nothing any more.
//! *Does not check* who asked: stopping is the host's right.

use crate::mounts;
use libc::SIGPWR;
use rustix::process::{Pid, Signal, WaitOptions};
use rustix::system::RebootCommand;
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};
use std::time::Duration;

/// How long a workload may take to end by itself.
pub const GRACE: Duration = Duration::from_secs(10);

/// Something that the first process acts on.
#[derive(Debug)]
pub enum Event {
    /// A process ended.
    Child,
    /// Somebody asks to end: a signal or the power button.
    Stop,
    /// Something must not go on.
    Halt(crate::console::Halt),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
}

/// Events of this VM.
#[derive(Debug)]
pub struct Events {
    sender: Sender<Event>,
    receiver: Receiver<Event>,
}

impl Events {
    /// Listens to signals and the power button.
    pub fn listen() -> std::io::Result<Self> {
        let (sender, receiver) = channel();
        // Ctrl-Alt-Del becomes a signal instead of a sudden restart.
        let _ = rustix::system::reboot(RebootCommand::CadOff);
        let mut signals = signal_hook::iterator::Signals::new([SIGCHLD, SIGINT, SIGTERM, SIGPWR])?;
        let tell = sender.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in signals.forever() {
                let event = if signal == SIGCHLD { Event::Child } else { Event::Stop };
                if tell.send(event).is_err() {
                    return;
                }
            }
        })?;
        for button in buttons(Path::new("/dev/input")) {
            let tell = sender.clone();
            std::thread::Builder::new().name("button".into()).spawn(move || watch_button(&button, &tell))?;
        }
        Ok(Self { sender, receiver })
    }

    /// For those who have to tell.
    pub fn sender(&self) -> Sender<Event> {
        self.sender.clone()
    }

    /// The next event; none when nothing happens for that long.
    pub fn next(&self, patience: Duration) -> Option<Event> {
        self.receiver.recv_timeout(patience).ok()
    }
}

/// Takes in all processes that have ended, and says how `watched` did.
pub fn reap(watched: Pid) -> Option<Exit> {
    let mut exit = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == watched {
            exit = status.exit_status().map(Exit::Status).or(status.terminating_signal().map(Exit::Signal));
        }
    }
    exit
}

/// Asks `process` to end, waits for [`GRACE`], then ends everything.
pub fn stop(process: Pid, signal: Signal, events: &Events) -> Option<Exit> {
    let started = crate::console::uptime();
    if rustix::process::kill_process(process, signal).is_ok() {
        loop {
            if let Some(exit) = reap(process) {
                return Some(exit);
            }
            let left = GRACE.saturating_sub(crate::console::uptime().saturating_sub(started));
            if left.is_zero() {
                break;
            }
            let _ = events.next(left.min(Duration::from_millis(200)));
        }
    }
    kill_everything();
    None
}

/// Ends every process but this one.
pub fn kill_everything() {
    if std::process::id() != 1 {
        return;
    }
    // SAFETY: `kill` takes two numbers and touches no memory.
    // WHY: only the call with -1 reaches all processes at once, so that none can fork away from it.
    #[expect(unsafe_code, reason = "rustix has no call for all processes")]
    let _ = unsafe { libc::kill(-1, libc::SIGKILL) };
}

/// Ends the VM: no workload, then what can still be written, then the power.
pub fn exit_vm() -> ! {
    if std::process::id() != 1 {
        // Not in a VM of ours: there is nothing to switch off.
        std::process::abort();
    }
    kill_everything();
    within(Duration::from_secs(5), || {
        mounts::unmount_all();
        rustix::fs::sync();
    });
    within(Duration::from_secs(2), || {
        if let Ok(console) = std::fs::OpenOptions::new().write(true).open("/dev/console") {
            let _ = rustix::termios::tcdrain(&console);
        }
    });
    loop {
        // A machine without a way to switch off restarts, which the launcher turns into an exit.
        let _ = rustix::system::reboot(RebootCommand::PowerOff);
        let _ = rustix::system::reboot(RebootCommand::Restart);
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Runs `work`, but does not wait longer than `limit` for it.
fn within(limit: Duration, work: impl FnOnce() + Send + 'static) {
    let (done, wait): (SyncSender<()>, _) = std::sync::mpsc::sync_channel(1);
    let started = std::thread::Builder::new().spawn(move || {
        work();
        let _ = done.send(());
    });
    if started.is_ok() {
        let _ = wait.recv_timeout(limit);
    }
}

fn buttons(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.to_string_lossy().contains("event")).collect()
}

fn watch_button(button: &Path, tell: &Sender<Event>) {
    let Ok(mut device) = std::fs::File::open(button) else { return };
    let mut event = [0; INPUT_EVENT];
    while device.read_exact(&mut event).is_ok() {
        if is_power_key(&event) && tell.send(Event::Stop).is_err() {
            return;
        }
    }
}

const INPUT_EVENT: usize = 24; // struct input_event, include/uapi/linux/input.h

/// Type EV_KEY (1), code KEY_POWER (116), value 1 (pressed).
fn is_power_key(event: &[u8; INPUT_EVENT]) -> bool {
    event.get(16..) == Some(&[1, 0, 116, 0, 1, 0, 0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pressed_power_key_counts() {
        let mut event = [0; INPUT_EVENT];
        event[16..].copy_from_slice(&[1, 0, 116, 0, 1, 0, 0, 0]);
        assert!(is_power_key(&event));
        event[20] = 0;
        assert!(!is_power_key(&event));
    }

    #[test]
    fn work_that_hangs_is_not_waited_for() {
        let started = crate::console::uptime();
        within(Duration::from_millis(20), || std::thread::sleep(Duration::from_secs(5)));
        assert!(crate::console::uptime().saturating_sub(started) < Duration::from_secs(3));
    }
}
