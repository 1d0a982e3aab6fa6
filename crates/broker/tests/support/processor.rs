//! Emulated processors, each with its own development root, and guests that were launched on them.

use attest::snp::kbs::to_json;
use attest::snp::{Endorsements, Report};
use broker::{ExtraVerifier, Samples};
use claims::snp::{GuestPolicy, SnpClaims, Tee};
use claims::{ChipId, Code, HostData, LaunchDigest, ReportData, UnixTime};
use emulated::{EmulatedVerifier, Guest, Hardware, Model, Processor};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, OnceLock};

/// Two machines.
static PROCESSORS: LazyLock<[Processor; 2]> = LazyLock::new(|| {
    // Keys are in memory after opening, so a folder of its own may go.
    let nameless = tempfile::tempdir().unwrap();
    let kept = WORKSPACE.get().map_or(nameless.path(), PathBuf::as_path);
    [open(kept, Model::GENOA), open(tempfile::tempdir().unwrap().path(), Model::MILAN)]
});

/// Where the first machine's roots are kept, for a broker in another process; set before the first launch.
pub static WORKSPACE: OnceLock<PathBuf> = OnceLock::new();

fn open(workspace: &Path, model: Model) -> Processor {
    let hardware = Hardware::Ignore { reason: "a test".into() };
    Processor::open(workspace, super::now(), model, &hardware).unwrap()
}

/// A guest's launch on one of the machines.
#[derive(Clone)]
pub struct Launch {
    pub guest: Guest,
    pub vmpl: u32,
    pub machine: usize,
}

impl Default for Launch {
    /// Another instance (report id) of the same bundle each time.
    fn default() -> Self {
        let guest = Guest::new(LaunchDigest([0x11; 48]), HostData([0x22; 32])).unwrap();
        Self { guest, vmpl: 0, machine: 0 }
    }
}

impl Launch {
    pub fn with_policy(policy: u64) -> Self {
        let launch = Self::default();
        Self { guest: launch.guest.with_policy(GuestPolicy(policy)), ..launch }
    }

    pub fn with_host_data(host_data: HostData) -> Self {
        let mut launch = Self::default();
        launch.guest.host_data = host_data;
        launch
    }

    pub fn on(machine: usize) -> Self {
        Self { machine, ..Self::default() }
    }

    pub fn chip_id(&self) -> ChipId {
        PROCESSORS[self.machine].chip_id().unwrap()
    }

    /// A report over `report_data`, as JSON of KBS clients.
    pub fn evidence(&self, report_data: [u8; 64]) -> Value {
        let made = PROCESSORS[self.machine].evidence(&self.guest, ReportData(report_data), self.vmpl).unwrap();
        to_json(&Report::parse(&made.report).unwrap(), &made.certificates)
    }

    /// A `reference.json` that admits this launch.
    pub fn reference(&self, resources: &[&str]) -> Value {
        json!({
            "version": 1, "name": "hello", "site": "site-1", "substrate": "cvm",
            "launch_measurements": [{"vcpu_type": "EPYC-v4", "vcpus": 1, "guest_features": 1,
                "launch_measurement": self.guest.measurement}],
            "host_data": self.guest.host_data, "root_hash": "00".repeat(32), "resources": resources,
            "tcb_floor": null, "chips": "any", "lease": "shared", "inputs": [], "command_line": "quiet",
        })
    }
}

/// The verifier of both machines' roots.
pub fn verifier() -> Option<Arc<dyn ExtraVerifier>> {
    // Making the roots takes longer than a connection may be idle, on a machine that does other things as well.
    LazyLock::force(&PROCESSORS);
    Some(Arc::new(Emulated(PROCESSORS.each_ref().map(|processor| processor.verifier().unwrap()))))
}

/// The same, and upstream's sample evidence.
pub fn verifier_with_samples() -> Option<Arc<dyn ExtraVerifier>> {
    Some(Arc::new(WithSamples(verifier()?)))
}

struct WithSamples(Arc<dyn ExtraVerifier>);

impl ExtraVerifier for WithSamples {
    fn verify(&self, report: &[u8], certificates: &Endorsements, now: UnixTime) -> Result<SnpClaims, Code> {
        self.0.verify(report, certificates, now)
    }

    fn samples(&self) -> Option<Samples> {
        Some(Samples { cpu: emulated::sample::cpu, device: emulated::sample::device })
    }
}

/// They remember the keys that they verified, as the verifier of a running broker does.
struct Emulated([EmulatedVerifier; 2]);

impl ExtraVerifier for Emulated {
    fn verify(&self, report: &[u8], certificates: &Endorsements, now: UnixTime) -> Result<SnpClaims, Code> {
        let mut code = Code::SnpRoot;
        for verifier in &self.0 {
            match verifier.verify(report, certificates, now) {
                // A lie that the broker must not pass on.
                Ok(evidence) => return Ok(SnpClaims { tee: Tee::Snp, ..evidence.claims().clone() }),
                Err(error) if error.code() != Code::SnpRoot => code = error.code(),
                Err(_) => {}
            }
        }
        Err(code)
    }
}
