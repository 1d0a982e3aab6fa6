//! Every parser of bytes that somebody else controls, as a plain function: the fuzz targets call these, and so does a
//! short run with damaged seeds in the ordinary tests.
//!
//! A function may do what it likes with the result, but must not panic, whatever the bytes; where there is an encoder,
//! what was parsed must encode to the same.

use claims::UnixTime;
use sealed::ReadAt;
use std::io;
use std::path::{Path, PathBuf};

/// A parser, and the vectors that are seeds for it.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Name of the fuzz target.
    pub name: &'static str,
    /// Feeds it bytes.
    pub run: fn(&[u8]),
    /// Vector files that are seeds: folder below the vectors, end of the name.
    pub seeds: &'static [(&'static str, &'static str)],
}

/// All of them.
pub const TARGETS: &[Target] = &[
    target("snp_report", snp_report, &[("snp/reports", ".bin"), ("snp/negatives", ".bin")]),
    target("snp_cert_table", snp_cert_table, &[]),
    target("snp_kbs_json", snp_kbs_json, &[]),
    target("snp_collateral", snp_collateral, &[("snp/certs", ".der"), ("snp/roots", ".pem")]),
    target("quote", quote, &[("tdx", "quote.bin"), ("sgx", "quote.bin")]),
    target("pck_extension", pck_extension, &[]),
    target("tcb_info", tcb_info, &[("sgx", "tcbInfo.json")]),
    target("qe_identity", qe_identity, &[("sgx", "qeIdentity.json")]),
    target("dcap_collateral", dcap_collateral, &[("sgx", "collateral.json"), ("sgx", ".der"), ("sgx", ".tcb")]),
    target("hcl_report", hcl_report, &[("azvtpm", "hcl_report.bin")]),
    target("tpm_quote", tpm_quote, &[("azvtpm", "quote.msg")]),
    target("uvm_endorsement", uvm_endorsement, &[("snp/aci", ".bin")]),
    target("host_certificates", host_certificates, &[("snp/aci", ".json")]),
    target("token", token, &[]),
    target("detached_eat", detached_eat, &[("nvgpu/tokens", ".json")]),
    target("key_set", key_set, &[("nvgpu/tokens", "chain.json")]),
    target("ratls_certificate", ratls_certificate, &[("sgx/ratls", ".pem")]),
    target("spdm_evidence", spdm_evidence, &[("nvgpu/evidence", ".report.bin")]),
    target("gpu_json", gpu_json, &[("nvgpu/evidence-json", ".json")]),
    target("rim", rim, &[("nvgpu/rims", ".xml"), ("nvgpu/rims", ".swidtag")]),
    target("ovmf", ovmf, &[("snp/measure/inputs", ".fd"), ("snp/measure/inputs", "_suffix.bin")]),
    target("igvm", igvm, &[]),
    target("tdx_firmware", tdx_firmware, &[("snp/measure/inputs", ".fd")]),
    target("sgxs", sgxs, &[("sgx/measurement", ".sgxs")]),
    target("sigstruct", sigstruct, &[("sgx/measurement", ".sig"), ("sgx/measurement", ".bin")]),
    target("enclave_elf", enclave_elf, &[]),
    target("oci_document", oci_document, &[]),
    target("tar", tar, &[("layers/tars", ".tar"), ("layers/images", ".tar")]),
    target("layer_merge", layer_merge, &[("layers/tars", ".tar")]),
    target("layer_hash", layer_hash, &[("layers/tars", ".tar")]),
    target("cpio", cpio, &[]),
    target("initrd", initrd, &[]),
    target("kernel_module", kernel_module, &[]),
    target("kernel_image", kernel_image, &[]),
    target("qcow2", qcow2, &[]),
    target("luks2_header", luks2_header, &[]),
    target("ext4", ext4, &[]),
    target("workload_file", workload_file, &[]),
    target("bundle_manifest", bundle_manifest, &[]),
    target("site_json", site_json, &[]),
    target("kbs_messages", kbs_messages, &[]),
    target("reference_files", reference_files, &[]),
    target("cce_policy", cce_policy, &[("cce/cases", ".rego")]),
    target("cce_template", cce_template, &[("cce/cases", ".json")]),
    target("floors", floors, &[]),
];

/// Files below `vectors` that are seeds of a target.
pub fn seeds(target: &Target, vectors: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (folder, end) in target.seeds {
        walk(&vectors.join(folder), end, &mut found);
    }
    found.sort();
    found
}

fn walk(folder: &Path, end: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, end, found);
        } else if path.to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
}

const fn target(name: &'static str, run: fn(&[u8]), seeds: &'static [(&'static str, &'static str)]) -> Target {
    Target { name, run, seeds }
}

/// A time inside the validity of most vectors.
const NOW: UnixTime = UnixTime(1_784_250_304);

fn snp_report(bytes: &[u8]) {
    if let Ok(report) = attest::snp::Report::parse(bytes) {
        assert_eq!(report.as_bytes(), bytes, "a report is kept as it came");
    }
}

fn snp_cert_table(bytes: &[u8]) {
    use attest::snp::CertificateTable;
    if let Ok(table) = CertificateTable::parse(bytes) {
        // Entries may share padding in the input, so that the encoding can be shorter, never too long to parse.
        assert_eq!(CertificateTable::parse(&table.encode()), Ok(table), "a table parses alike");
    }
}

fn snp_kbs_json(bytes: &[u8]) {
    use attest::snp::kbs::{from_json, from_slice, to_json};
    if let Ok((report, table)) = from_slice(bytes) {
        let again = from_json(&to_json(&report, &table)).ok();
        assert_eq!(again, Some((report, table)), "evidence is written as it was read");
    }
}

/// The first 1184 bytes are the report; then three certificates and a list, each behind a two-byte length.
fn snp_collateral(bytes: &[u8]) {
    use attest::snp::{Collateral, CrlPolicy, Endorsements, Report};
    let _ = Collateral::new().add(bytes);
    let Some((report, mut rest)) = bytes.split_at_checked(1184) else { return };
    let mut part = || {
        let (length, after) = rest.split_first_chunk::<2>().unwrap_or((&[0, 0], &[]));
        let (part, after) = after.split_at(usize::from(u16::from_le_bytes(*length)).min(after.len()));
        rest = after;
        part.to_vec()
    };
    let with = Endorsements { vek: part(), intermediate: part(), root: part(), crl: Some(part()) };
    if let Ok(report) = Report::parse(report) {
        let _ = report.verify(&with, &CrlPolicy::Required, NOW);
    }
}

fn quote(bytes: &[u8]) {
    if let Ok(quote) = attest::dcap::Quote::parse(bytes) {
        let _ = quote.check_signatures();
    }
}

fn pck_extension(bytes: &[u8]) {
    let _ = attest::dcap::PckExtension::parse(bytes);
}

fn tcb_info(bytes: &[u8]) {
    let _ = attest::dcap::TcbInfo::parse(bytes);
}

fn qe_identity(bytes: &[u8]) {
    let _ = attest::dcap::QeIdentity::parse(bytes);
}

fn dcap_collateral(bytes: &[u8]) {
    let mut collateral = attest::dcap::Collateral::new();
    if collateral.add(bytes).is_ok() {
        let _ = collateral.verify();
    }
    let _ = attest::expiry::of(bytes);
}

fn hcl_report(bytes: &[u8]) {
    let _ = attest::azure::HclReport::parse(bytes);
    let _ = attest::azure::kbs::parse(bytes);
    let _ = attest::azure::TdReport::parse(bytes);
}

fn tpm_quote(bytes: &[u8]) {
    use attest::tpm::{Quote, Signature};
    if let Ok(signature) = Signature::raw_rsa(&[1; 256]) {
        let _ = Quote::parse(bytes, signature);
    }
    let _ = Signature::from_tpmt(bytes);
    let _ = attest::tpm::kbs::parse(bytes);
    let _ = attest::tpm::EnrolledKey::from_spki(bytes);
}

fn uvm_endorsement(bytes: &[u8]) {
    use attest::aci::{AciEvidence, UVM_ISSUER, UvmEndorsement};
    if let Ok(endorsement) = UvmEndorsement::parse(bytes) {
        let _ = endorsement.verify(UVM_ISSUER, NOW);
    }
    let _ = AciEvidence::from_combined(bytes);
}

fn host_certificates(bytes: &[u8]) {
    let _ = attest::aci::HostCertificates::parse(bytes);
}

fn token(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = attest::token::Token::parse(text);
    }
}

fn detached_eat(bytes: &[u8]) {
    let _ = attest::token::nras::DetachedEat::parse(bytes);
}

fn key_set(bytes: &[u8]) {
    let _ = attest::token::KeySet::parse(bytes);
}

fn ratls_certificate(bytes: &[u8]) {
    let _ = attest::ratls::RaTlsCertificate::parse(bytes);
    let _ = attest::ratls::RaTlsCertificate::parse_pem(bytes);
}

fn spdm_evidence(bytes: &[u8]) {
    if let Ok(evidence) = attest::nvgpu::Evidence::parse(bytes) {
        assert_eq!(evidence.as_bytes(), bytes, "evidence is kept as it came");
    }
    let _ = attest::nvgpu::Opaque::parse(bytes);
}

fn gpu_json(bytes: &[u8]) {
    let _ = attest::nvgpu::json::parse(bytes);
    let _ = claims::nvgpu::GoldenMeasurements::parse(bytes);
}

fn rim(bytes: &[u8]) {
    use attest::nvgpu::{NvidiaRoots, RevocationInput, Rim};
    if let Ok(rim) = Rim::parse(bytes) {
        let _ = rim.verify(&NvidiaRoots, &RevocationInput::absent("fuzzing"), NOW);
    }
}

/// What parses is measured in bounded time.
fn ovmf(bytes: &[u8]) {
    use measure::snp::{GuestFeatures, KernelHashes, Launch, Ovmf, VcpuType, Vmm};
    let Ok(ovmf) = Ovmf::parse(bytes) else { return };
    let pages: u64 = ovmf.sections().iter().map(|section| u64::from(section.size) / 4096).sum();
    let (Ok(vcpu_type), true) = ("EPYC-v4".parse::<VcpuType>(), pages <= 256) else { return };
    let hashes = KernelHashes { command_line: [1; 32], initrd: [2; 32], kernel: [3; 32] };
    let kernel = ovmf.needs_kernel_hashes().is_ok().then_some(hashes);
    let launch =
        Launch { ovmf: &ovmf, kernel, vcpus: 2, vcpu_type, guest_features: GuestFeatures::SNP, vmm: Vmm::Qemu };
    let _ = measure::snp::measure(&launch);
}

fn igvm(bytes: &[u8]) {
    let _ = measure::snp::igvm::measure(bytes);
}

fn tdx_firmware(bytes: &[u8]) {
    let _ = measure::tdx::mrtd(bytes);
}

fn sgxs(bytes: &[u8]) {
    let _ = measure::sgx::sgxs::measure(bytes);
}

fn sigstruct(bytes: &[u8]) {
    let _ = measure::sgx::sigstruct::verify(bytes);
}

fn enclave_elf(bytes: &[u8]) {
    let layout =
        measure::sgx::elf::Layout { heap: 0x10000, stack: 0x1000, threads: 1, ssa_frame_pages: 1, debug: false };
    let _ = measure::sgx::elf::measure(bytes, &layout);
}

fn oci_document(bytes: &[u8]) {
    let _ = image::archive::any_document(bytes);
}

fn tar(bytes: &[u8]) {
    let _ = image::archive::tar::entries_of(bytes);
}

fn layer_merge(bytes: &[u8]) {
    let _ = image::overlay::merge_bytes(&[bytes]);
}

fn layer_hash(bytes: &[u8]) {
    let _ = image::layers::root_hash(bytes, &image::layers::Options { threads: 1 });
}

fn cpio(bytes: &[u8]) {
    if let Ok(entries) = image::cpio::read(bytes)
        && let Ok(written) = image::cpio::write(&entries)
    {
        assert_eq!(image::cpio::read(&written).ok(), Some(entries), "an archive is read as it was written");
    }
}

fn initrd(bytes: &[u8]) {
    let _ = image::initrd::read(bytes);
}

fn kernel_module(bytes: &[u8]) {
    let _ = image::modules::ModuleInfo::parse(bytes);
}

fn kernel_image(bytes: &[u8]) {
    let _ = image::modules::kernel_release(bytes);
}

fn qcow2(bytes: &[u8]) {
    if let Ok(reader) = image::qcow2::Reader::open(InMemory(bytes)) {
        let mut block = [0; 4096];
        let _ = reader.read_exact_at(0, &mut block);
    }
}

fn luks2_header(bytes: &[u8]) {
    let _ = sealed::luks2::Header::parse(bytes);
}

fn ext4(bytes: &[u8]) {
    if let Ok(reader) = sealed::ext4::Reader::open(InMemory(bytes))
        && let Ok(root) = reader.lookup(b"")
    {
        let _ = reader.list(root);
    }
}

fn workload_file(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let place = image::workload::Place { file: Path::new("w.yml"), home: None };
        let _ = image::workload::Workload::parse(text, place);
    }
}

fn bundle_manifest(bytes: &[u8]) {
    let _ = image::bundle::Manifest::parse(bytes);
}

fn site_json(bytes: &[u8]) {
    let _ = claims::site::Site::parse(bytes);
}

fn kbs_messages(bytes: &[u8]) {
    use claims::kbs;
    let _ = serde_json::from_slice::<kbs::Request>(bytes);
    let _ = serde_json::from_slice::<kbs::Challenge>(bytes);
    let _ = serde_json::from_slice::<kbs::Attestation>(bytes);
    let _ = serde_json::from_slice::<kbs::Jwe>(bytes);
}

fn reference_files(bytes: &[u8]) {
    let _ = claims::reference::Reference::parse(bytes);
    if let Ok(values) = claims::wanted::WantedValues::parse(bytes) {
        let _ = values.of::<claims::wanted::SgxWanted>("sgx");
    }
}

fn cce_policy(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = image::cce::Document::parse(text);
        let _ = image::cce::Denial::parse(text);
    }
}

fn cce_template(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = image::cce::Template::parse(text, None, true);
    }
}

fn floors(bytes: &[u8]) {
    let _ = attest::floors::Floors::parse(bytes);
}

struct InMemory<'a>(&'a [u8]);

impl ReadAt for InMemory<'_> {
    fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).ok();
        let part = start.and_then(|start| self.0.get(start..)?.get(..out.len()));
        out.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn size(&self) -> u64 {
        self.0.len() as u64
    }
}
