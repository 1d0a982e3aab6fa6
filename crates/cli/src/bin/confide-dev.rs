//! The `confide-dev` command: `confide` with the emulated TEE. The only place that names crate `emulated`.
#![forbid(unsafe_code)]

use claims::snp::SnpClaims;
use claims::{Code, HostData, LaunchDigest, ReportData, UnixTime};
use cli::{Development, DevelopmentEvidence, Failure, LaunchFacts, Result};
use emulated::{EmulatedVerifier, EmulatorError, Guest, Hardware, Model, Processor};
use measure::snp::{GuestFeatures, HashedFiles, KernelHashes, Launch, Ovmf, Vmm};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

fn main() -> std::process::ExitCode {
    cli::main(Some(Arc::new(Emulation)))
}

struct Emulation;

impl Emulation {
    fn processor(workspace: &Path) -> Result<Processor> {
        Processor::open(workspace, cli::now(), Model::GENOA, &Hardware::RefuseIfPresent).map_err(failed)
    }
}

impl Development for Emulation {
    fn verifier(&self, workspace: &Path) -> Result<Arc<dyn broker::ExtraVerifier>> {
        let verifier = Self::processor(workspace)?.verifier().map_err(failed)?;
        Ok(Arc::new(Verifier(verifier)))
    }

    fn serve_processor(&self, workspace: &Path, facts: LaunchFacts, socket: UnixListener) -> Result<()> {
        let processor = Self::processor(workspace)?;
        let guest = Guest::new(measured(&facts)?, facts.host_data).map_err(failed)?;
        emulated::serve(&processor, &guest, socket)
            .map_err(|error| Failure::environment("the emulated processor stopped").because(error))
    }

    fn evidence(
        &self,
        workspace: &Path,
        report_data: ReportData,
        measurement: LaunchDigest,
        host_data: HostData,
    ) -> Result<DevelopmentEvidence> {
        let processor = Self::processor(workspace)?;
        let guest = Guest::new(measurement, host_data).map_err(failed)?;
        let evidence = processor.evidence(&guest, report_data, 0).map_err(failed)?;
        let verifier = processor.verifier().map_err(failed)?;
        let refused =
            |error: attest::snp::SnpError| Failure::environment("the emulated evidence does not verify").because(error);
        let verified = verifier.verify(&evidence.report, &evidence.endorsements(), cli::now()).map_err(refused)?;
        let report = attest::snp::Report::parse(&evidence.report).map_err(refused)?;
        Ok(DevelopmentEvidence {
            primary_evidence: attest::snp::kbs::to_json(&report, &evidence.certificates),
            claims: verified.claims().clone(),
            report: evidence.report,
        })
    }
}

/// The digest that a processor would measure: of the very bytes that QEMU is given.
fn measured(facts: &LaunchFacts) -> Result<LaunchDigest> {
    let refused = |what: &str| Failure::refused(format!("this launch cannot be measured: {what}")).code(Code::Firmware);
    let ovmf = Ovmf::parse(&facts.firmware).map_err(|error| refused(&error.to_string()))?;
    let files =
        HashedFiles { kernel: &facts.kernel, initrd: Some(&facts.initrd), command_line: Some(&facts.command_line) };
    let launch = Launch {
        ovmf: &ovmf,
        kernel: Some(KernelHashes::of(&files)),
        vcpus: facts.vcpus,
        vcpu_type: facts
            .vcpu_type
            .parse()
            .map_err(|error| Failure::usage("this virtual CPU is not known").because(error))?,
        guest_features: GuestFeatures::SNP,
        vmm: Vmm::Qemu,
    };
    measure::snp::measure(&launch).map_err(|error| refused(&error.to_string()))
}

struct Verifier(EmulatedVerifier);

impl broker::ExtraVerifier for Verifier {
    fn verify(&self, report: &[u8], certificates: &broker::Endorsements, now: UnixTime) -> Result<SnpClaims, Code> {
        self.0.verify(report, certificates, now).map(|evidence| evidence.claims().clone()).map_err(|error| error.code())
    }

    fn samples(&self) -> Option<broker::Samples> {
        Some(broker::Samples { cpu: emulated::sample::cpu, device: emulated::sample::device })
    }
}

fn failed(error: EmulatorError) -> Failure {
    Failure::environment("the emulated processor cannot be used").because(error)
}
