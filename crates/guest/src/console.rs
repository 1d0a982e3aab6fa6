//! What leaves the VM in the clear: typed, public lines on the console and in the `applog` drive's `boot.log`.
//!
//! *Takes* [`Public`] texts only. A `Public` is built from constants and from types that implement [`Disclose`].
//! *Guarantees* that nothing untagged goes out: neither the workload's output nor a secret nor an unlabelled text.
//! *Does not check* what a reviewed error says; `grep 'Public::reviewed'` lists every such place.

use crate::{applog, power};
use claims::{ChipId, Code, Digest256, HostData, LaunchDigest, VerityRoot};
use std::fmt;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

/// A text that the host may read. There is no way from `String` to `Public`; see [`Disclose`] and the macro `public!`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Public(String);

/// A value that the host may read.
pub trait Disclose {
    /// The value's text.
    fn disclose(&self) -> Public;
}

/// Builds a [`Public`] text from constants and values that implement [`Disclose`].
#[macro_export]
macro_rules! public {
    ($($part:expr),* $(,)?) => {{
        let mut text = $crate::console::Public::default();
        $( text.push(&$part); )*
        text
    }};
}

impl Public {
    /// Adds a value that may be disclosed.
    pub fn push(&mut self, value: &(impl Disclose + ?Sized)) {
        self.0.push_str(&value.disclose().0);
    }

    /// An error and its causes. Whoever calls this vouches that none of their texts can hold a secret or the
    /// workload's words.
    pub fn reviewed(error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        Self(text)
    }

    /// The text as one line of printable ASCII, at most 400 characters.
    pub fn line(&self) -> String {
        let printable = |letter: char| if letter.is_ascii_graphic() || letter == ' ' { letter } else { '?' };
        self.0.chars().take(MAX_LINE).map(printable).collect()
    }
}

/// The steps of a boot, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// `site.json` is the one that HOST_DATA names.
    Site,
    /// The guest has an address, and the firewall is up.
    Network,
    /// The processor gave evidence.
    Evidence,
    /// The broker released the volume key.
    Key,
    /// The root volume is open.
    Volume,
    /// The other drives are mounted.
    Drives,
    /// The workload's process runs.
    Container,
    /// All is done.
    Ready,
    /// The guest attested again.
    Reattest,
}

impl Step {
    /// The word on the console.
    pub fn name(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::Network => "network",
            Self::Evidence => "evidence",
            Self::Key => "key",
            Self::Volume => "volume",
            Self::Drives => "drives",
            Self::Container => "container",
            Self::Ready => "ready",
            Self::Reattest => "reattest",
        }
    }
}

/// Why the VM ends: a stable code and words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halt {
    /// The code; `confide explain` has a page for it.
    pub code: Code,
    /// What happened here.
    pub why: Public,
}

impl Halt {
    /// A refusal with its words.
    pub fn new(code: Code, why: Public) -> Self {
        Self { code, why }
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "halt code={} {}", self.code, self.why.line())
    }
}

impl std::error::Error for Halt {}

/// Says that a step is done.
pub fn step(step: Step, words: &Public) {
    say(&format!("step={} t={:.2} {}", step.name(), uptime().as_secs_f64(), words.line()));
}

/// Says something that is neither a step nor the end.
pub fn note(words: &Public) {
    say(&format!("note t={:.2} {}", uptime().as_secs_f64(), words.line()));
}

/// Says why, and ends the VM. Nothing after this call runs.
pub fn halt(halt: &Halt) -> ! {
    say(&halt.to_string());
    power::exit_vm()
}

/// Ends the VM when any thread panics. The panic's own text stays inside: it could hold anything.
pub fn halt_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or(("unknown file", 0), |place| (place.file(), u64::from(place.line())));
        let why = Public(format!("the guest has a fault at {}:{}", place.0, place.1));
        halt(&Halt::new(Code::Guest, why));
    }));
}

/// Time since the kernel started.
pub fn uptime() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

const MAX_LINE: usize = 400;

/// One line at a time, also when several threads speak.
static TURN: Mutex<()> = Mutex::new(());

fn say(words: &str) {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let line = format!("confide: {words}\n");
    if let Ok(mut console) = std::fs::OpenOptions::new().write(true).open("/dev/console") {
        // WHY: the serial line is the host's; when it takes nothing there is nobody to tell.
        let _ = console.write_all(line.as_bytes());
    }
    applog::boot_line(&line);
}

macro_rules! disclose_as_displayed {
    ($($kind:ty),* $(,)?) => { $(
        impl Disclose for $kind {
            fn disclose(&self) -> Public {
                Public(self.to_string())
            }
        }
    )* };
}

disclose_as_displayed!(u16, u32, u64, usize, i32, IpAddr, Ipv4Addr, SocketAddr, Code);
disclose_as_displayed!(Digest256, HostData, LaunchDigest, VerityRoot, ChipId);

impl Disclose for &'static str {
    fn disclose(&self) -> Public {
        Public((*self).to_owned())
    }
}

impl<T: Disclose> Disclose for &T {
    fn disclose(&self) -> Public {
        (*self).disclose()
    }
}

impl Disclose for Public {
    fn disclose(&self) -> Public {
        self.clone()
    }
}

/// Kind and number only: the text of a custom error stays inside.
impl Disclose for std::io::Error {
    fn disclose(&self) -> Public {
        match self.raw_os_error() {
            Some(number) => Public(std::io::Error::from_raw_os_error(number).to_string()),
            None => Public(self.kind().to_string()),
        }
    }
}

impl Disclose for rustix::io::Errno {
    fn disclose(&self) -> Public {
        Public(self.to_string())
    }
}

impl Disclose for Duration {
    fn disclose(&self) -> Public {
        Public(format!("{:.2} s", self.as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_printable_letters_only() {
        let error = std::io::Error::other("odd \u{1b}[2J\n words");
        let text = Public::reviewed(&error);
        assert_eq!(text.line(), "odd ?[2J? words");
        let long = Public("x".repeat(1000));
        assert_eq!(long.line().len(), MAX_LINE);
    }

    #[test]
    fn a_custom_error_text_is_not_disclosed() {
        let error = std::io::Error::other("key 00112233");
        assert_eq!(public!("reading failed: ", error).line(), "reading failed: other error");
        let error = std::io::Error::from_raw_os_error(2);
        assert_eq!(public!(error).line(), "No such file or directory (os error 2)");
    }

    #[test]
    fn halts_have_the_form_scripts_read() {
        let halt = Halt::new(Code::SiteMismatch, public!("got ", 1u32));
        assert_eq!(halt.to_string(), "halt code=E-SITE got 1");
    }
}
