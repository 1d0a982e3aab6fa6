//! From a workload file to a bundle's folder.
//!
//! *Takes* a [`Request`]: every input by path, the volume key as a value, and where to put the result.
//! *Guarantees* that the folder appears whole or not at all, and that its bytes depend on the inputs only.
//! *Does not check* that a broker knows the bundle: registering `reference.json` is the caller's step.

mod command_line;
mod drives;
mod error;
mod host_files;
mod measurement;
mod parts;
mod root;
mod staging;
mod tgz;

pub use command_line::{CommandLineError, MAX_LENGTH as MAX_COMMAND_LINE, check as check_command_line};
pub use error::BuildError;
pub use host_files::HostFileError;

pub(crate) use drives::{PlainError, REMOTE_DATA, REMOTE_DATA_FILE, data_options, write_plain};
pub(crate) use host_files::HostFiles;
pub(crate) use staging::{Unfinished, create};

use crate::bundle::{BundleDrive, DriveFormat, Manifest, StaticFile, launch_script, names, readme};
use crate::workload::Workload;
use claims::boot::BootParameters;
use claims::reference::Reference;
use claims::site::{Broker, Site, host_data};
use claims::snp::GuestPolicy;
use claims::volume::{Drive, Geometry, VolumeKey};
use claims::workload::UserData;
use claims::{Digest256, HostData};
use drives::SealedDrive;
use measurement::Measured;
use parts::Parts;
use sealed::tree::{Meta, Tree};
use staging::Staging;
use std::path::{Path, PathBuf};

/// Everything a build depends on.
pub struct Request<'a> {
    /// What to run, where, and for whom.
    pub workload: &'a Workload,
    /// Kernel image (bzImage).
    pub kernel: &'a Path,
    /// The kernel's modules: the folder that holds `kernel/` and `modules.builtin`.
    pub modules: &'a Path,
    /// Firmware with the kernel-hashes section.
    pub firmware: &'a Path,
    /// The static guest program.
    pub guest: &'a Path,
    /// The site's volume key.
    pub volume_key: &'a VolumeKey,
    /// The broker to use; wins over the workload file's.
    pub broker: Option<Broker>,
    /// The folder to make. It must not exist yet.
    pub out: &'a Path,
    /// Whether to write `NAME.tgz` beside the folder as well.
    pub archive: bool,
    /// Folder that keeps what is the same for every site of an image; none keeps nothing.
    pub cache: Option<&'a Path>,
    /// Threads to use; changes the time only, never the bytes.
    pub threads: usize,
    /// Told what is being done.
    pub progress: &'a (dyn Fn(Progress) + Sync),
    /// Asked now and then whether to give up.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
}

/// What a build made.
#[derive(Debug)]
pub struct Built {
    /// The bundle's folder.
    pub folder: PathBuf,
    /// The whole bundle in one file, where it was asked for.
    pub archive: Option<PathBuf>,
    /// How to start it.
    pub manifest: Manifest,
    /// What a broker is to expect.
    pub reference: Reference,
    /// The site file.
    pub site: Site,
    /// Bytes of the files written (space really used, holes not counted).
    pub bytes: u64,
}

/// How far a build is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub step: Step,
    /// Bytes done in this step.
    pub done: u64,
    /// Bytes of this step, where they are known.
    pub total: Option<u64>,
}

/// A step of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Kernel, modules, firmware and guest program are read and checked.
    Parts,
    /// The archive is read and its layers are merged.
    Image,
    /// The root volume is written.
    Root,
    /// The other drives are written.
    Drives,
    /// The launch measurement is computed.
    Measure,
    /// The one-file form is written.
    Archive,
}

impl Step {
    /// A word for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parts => "guest parts",
            Self::Image => "image",
            Self::Root => "root volume",
            Self::Drives => "drives",
            Self::Measure => "measurement",
            Self::Archive => "archive",
        }
    }
}

/// Builds the bundle.
pub fn build(request: &Request<'_>) -> Result<Built, BuildError> {
    let archive = request.archive.then(|| request.out.with_file_name(format!("{}.tgz", request.workload.image_name)));
    for path in archive.iter().map(PathBuf::as_path).chain([request.out]) {
        if path.symlink_metadata().is_ok() {
            return Err(BuildError::Exists { path: path.to_owned() });
        }
    }
    let staging = Staging::new(request.out)?;
    let parts = Parts::read(request)?;
    let (initrd, root) = std::thread::scope(|scope| {
        let initrd = scope.spawn(|| parts.write_initrd(request, &staging));
        let root = root::write(request, &staging)?;
        let initrd = initrd.join().map_err(|_| BuildError::Internal { what: "packing the initrd".to_owned() })??;
        Ok::<_, BuildError>((initrd, root))
    })?;
    let workload = request.workload;
    step(request, Step::Drives);
    let (log, files) = drives::log_drive(workload.drives.applog, workload.workload_log)?;
    drives::write_empty(&log, names::APPLOG, &staging, request.cancelled)?;
    let data = drives::data_drive(workload.drives.user_data)?;
    drives::write_empty(&data, names::USER_DATA, &staging, request.cancelled)?;
    let user_config = user_config(request, &staging)?;
    let site = workload.site(request.broker.clone(), Some(user_config));
    let site_bytes = site.to_bytes().map_err(|error| BuildError::Internal { what: error.to_string() })?;
    if site_bytes.len() > claims::site::MAX_LENGTH {
        return Err(BuildError::SiteTooLarge { got: site_bytes.len() });
    }
    staging.write(names::SITE, 0o644, &site_bytes)?;

    step(request, Step::Measure);
    let command_line = command_line::compose(&BootParameters { root: root.geometry, applog: files })?;
    let measured = Measured { parts: &parts, initrd, root: &root, command_line, host_data: host_data(&site_bytes) };
    let launch_measurements = measured.launch_measurements(workload)?;
    let reference = measured.reference(workload, launch_measurements);
    let files = vec![
        StaticFile { name: names::FIRMWARE.to_owned(), sha256: parts.firmware_digest },
        StaticFile { name: names::INITRD.to_owned(), sha256: initrd },
        StaticFile { name: names::SITE.to_owned(), sha256: Digest256::of(&site_bytes) },
        StaticFile { name: names::KERNEL.to_owned(), sha256: parts.kernel_digest },
    ];
    let manifest = manifest(workload, &reference, files);
    staging.write(names::REFERENCE, 0o644, &json(&reference)?)?;
    staging.write(names::MANIFEST, 0o644, &json(&manifest)?)?;
    staging.write(names::LAUNCH, 0o755, launch_script(&manifest).as_bytes())?;
    staging.write(names::README, 0o644, readme(&manifest, &site).as_bytes())?;
    let bytes = staging.bytes()?;

    let packed = archive.map(|path| pack(request, &staging, &manifest, path)).transpose()?;
    if (request.cancelled)() {
        return Err(BuildError::Cancelled);
    }
    staging.keep(request.out)?;
    let archive = packed.map(Unfinished::keep).transpose()?;
    Ok(Built { folder: request.out.to_owned(), archive, manifest, reference, site, bytes })
}

fn step(request: &Request<'_>, step: Step) {
    (request.progress)(Progress { step, done: 0, total: None });
}

/// The sealed drive with the site's own configuration, empty where there is none.
fn user_config(request: &Request<'_>, staging: &Staging) -> Result<Geometry, BuildError> {
    let mut tree = Tree::new(Meta::plain(0o755));
    let mut files = HostFiles::new(0);
    for (name, path) in &request.workload.user_config {
        files.add(&mut tree, path, name.as_bytes())?;
    }
    let drive = SealedDrive {
        name: names::USER_CONFIG,
        size: request.workload.drives.user_config,
        tree: &tree,
        sources: &files,
        drive: Drive::UserConfig,
        spare: 0,
    };
    drives::write_sealed(&drive, staging, request, &|_| {})
}

fn manifest(workload: &Workload, reference: &Reference, files: Vec<StaticFile>) -> Manifest {
    let drive = |serial: &str, file: &str, format, writable| BundleDrive {
        serial: serial.to_owned(),
        file: file.to_owned(),
        format,
        writable,
    };
    let data_writable = workload.user_data == UserData::ReadWrite;
    Manifest {
        version: 1,
        name: workload.name.clone(),
        site: workload.site.clone(),
        cvm_id: cvm_id(reference),
        vcpus: workload.vcpus,
        vcpu_type: workload.vcpu_type.clone(),
        memory_bytes: workload.memory_bytes,
        command_line: reference.command_line.clone(),
        policy: GuestPolicy::PLAIN.0,
        host_data: reference.host_data,
        ports: workload.ports.inbound.clone(),
        gpu: workload.gpu,
        drives: vec![
            drive("root", names::ROOT, DriveFormat::Qcow2, true),
            drive("site", names::SITE, DriveFormat::Raw, false),
            drive("user_config", names::USER_CONFIG, DriveFormat::Qcow2, false),
            drive("user_data", names::USER_DATA, DriveFormat::Qcow2, data_writable),
            drive("applog", names::APPLOG, DriveFormat::Qcow2, true),
        ],
        files,
    }
}

/// Twelve hex digits made of everything that a release rule names.
fn cvm_id(reference: &Reference) -> String {
    let HostData(host_data) = reference.host_data;
    let measurements = reference.launch_measurements.iter().flat_map(|entry| entry.launch_measurement.0);
    let named: Vec<u8> = measurements.chain(host_data).collect();
    Digest256::of(&named).to_string().chars().take(12).collect()
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, BuildError> {
    let bytes = serde_json::to_vec_pretty(value).map(|mut bytes| {
        bytes.push(b'\n');
        bytes
    });
    bytes.map_err(|error| BuildError::Internal { what: error.to_string() })
}

/// `NAME/cvm_ID/FILE`, as the guide unpacks it.
fn pack(
    request: &Request<'_>,
    staging: &Staging,
    manifest: &Manifest,
    path: PathBuf,
) -> Result<Unfinished, BuildError> {
    let unfinished = Unfinished::new(path)?;
    let prefix = format!("{}/cvm_{}", request.workload.image_name, manifest.cvm_id);
    let progress = |done| (request.progress)(Progress { step: Step::Archive, done, total: None });
    tgz::write(staging.folder(), &prefix, unfinished.path(), request.cancelled, &progress)?;
    Ok(unfinished)
}
