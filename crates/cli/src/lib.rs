//! The command line of Confide: arguments, commands, printing; the QEMU launcher; collateral from files.
//!
//! This is the only crate that prints. `confide` and `confide-dev` are the same program; the second one hands in a
//! [`Development`] with the emulated TEE, which nothing in this library names.
#![forbid(unsafe_code)]

mod appraise;
pub mod args;
mod broker_api;
mod collateral;
mod commands;
mod guest_parts;
mod images;
mod kvm;
mod outcome;
mod printer;
mod qemu;
mod workspace;

pub use outcome::{Failure, Outcome, Result};

use args::Args;
use clap::Parser;
use printer::Printer;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// The files and options that a VM is started with: what an SNP processor would measure.
#[derive(Debug, Clone)]
pub struct LaunchFacts {
    /// Firmware bytes.
    pub firmware: Vec<u8>,
    /// Kernel bytes.
    pub kernel: Vec<u8>,
    /// Initrd bytes.
    pub initrd: Vec<u8>,
    /// Kernel command line, as QEMU gets it.
    pub command_line: String,
    /// Number of virtual CPUs.
    pub vcpus: u32,
    /// QEMU's name of the virtual CPU that the measurement is for.
    pub vcpu_type: String,
    /// HOST_DATA, as the launch option gives it.
    pub host_data: claims::HostData,
}

/// Evidence made by a development TEE, in the forms that tools want.
#[derive(Debug, Clone)]
pub struct DevelopmentEvidence {
    /// The raw report.
    pub report: Vec<u8>,
    /// `primary_evidence` of the KBS protocol.
    pub primary_evidence: serde_json::Value,
    /// What a release rule needs to admit this evidence.
    pub claims: claims::snp::SnpClaims,
}

/// What `confide-dev` adds to `confide`: an emulated TEE.
pub trait Development: Send + Sync {
    /// The verifier that a broker started with `--dev` accepts beside the real one.
    fn verifier(&self, workspace: &Path) -> Result<Arc<dyn broker::ExtraVerifier>>;

    /// Answers the report requests of one guest that connects to `socket`, until it goes away.
    fn serve_processor(
        &self,
        workspace: &Path,
        facts: LaunchFacts,
        socket: std::os::unix::net::UnixListener,
    ) -> Result<()>;

    /// Evidence of a guest with this measurement and HOST_DATA.
    fn evidence(
        &self,
        workspace: &Path,
        report_data: claims::ReportData,
        measurement: claims::LaunchDigest,
        host_data: claims::HostData,
    ) -> Result<DevelopmentEvidence>;
}

/// The time, read here and handed to libraries that have no clock.
pub fn now() -> claims::UnixTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    claims::UnixTime(since.map_or(0, |duration| duration.as_secs()))
}

/// What every command gets.
pub(crate) struct Context {
    /// Where words go.
    pub(crate) printer: Printer,
    /// The emulated TEE, in `confide-dev`.
    pub(crate) development: Option<Arc<dyn Development>>,
}

/// Parses the command line, runs the command, and turns its end into an exit status.
pub fn main(development: Option<Arc<dyn Development>>) -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // `--help` and `--version` come this way too; clap knows where to print them.
            let _ = error.print();
            if !error.use_stderr() {
                return ExitCode::SUCCESS;
            }
            let wants_json = std::env::args_os().take_while(|arg| arg != "--").any(|arg| arg == "--json");
            Printer::new(wants_json, true).misuse(&Failure::misuse(&error));
            return ExitCode::from(2);
        }
    };
    let printer = Printer::new(args.json, args.quiet);
    let context = Context { printer: printer.clone(), development };
    let end = match commands::run(args.command, &context) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Refused) => ExitCode::from(1),
        Err(failure) => {
            printer.failure(&failure);
            failure.exit_code()
        }
    };
    match printer.lost() {
        Some(error) => {
            let failure = Failure::environment(format!("stdout cannot be written: {error}"));
            printer.failure(&failure);
            failure.exit_code()
        }
        None => end,
    }
}
