//! The boot, top to bottom. Read this file first: each step is one line here and one module elsewhere.
//!
//! *Takes* the measured command line and initrd, and whatever the host attached.
//! *Guarantees* the order: nothing of the host is parsed before its digest is compared with HOST_DATA, nothing talks
//! before the firewall stands, nothing is unlocked before the broker has released the key, nothing of the host's can
//! load code after the workload has started. Any failure ends the VM with a code and the reason.
//! *Does not check* evidence: the broker does.

pub mod volumes;

mod lockdown;
mod refusals;
mod supervise;

use crate::applog::{self, Applog, Full};
use crate::broker_client::{ClientError, KbsClient, Keeper, Patience};
use crate::console::{self, Halt, Public, Step};
use crate::devices::{self, BlockDevice, DriveName};
use crate::evidence::{self, Attester};
use crate::mapper::Mapper;
use crate::modules::{self, Module, Need};
use crate::network::Network;
use crate::{mounts, nfs, public, scratch};
use attest::channel::Pinned;
use claims::boot::BootParameters;
use claims::site::{self, Site};
use claims::volume::VolumeKey;
use claims::workload::Settings;
use claims::{Code, ReportData};
use std::sync::Arc;
use std::time::Duration;

/// Boots, runs the workload to its end, and switches the VM off.
pub fn run() -> ! {
    console::halt_on_panic();
    match boot() {
        Ok(running) => supervise::to_the_end(running),
        Err(halt) => console::halt(&halt),
    }
}

fn boot() -> Result<supervise::Running, Halt> {
    mounts::kernel_file_systems()?;
    lockdown::first()?;
    let modules = load_modules()?;
    mounts::leave_initramfs()?;
    let parameters = boot_parameters()?;
    let applog = open_applog(&parameters);
    let root_drive = devices::find(DriveName::Root, DRIVE_PATIENCE)?;
    volumes::long_enough(&root_drive, &parameters.root)?;

    let attester: Arc<dyn Attester> = evidence::detect()?.into();
    let (site, site_json) = read_site(&*attester)?;
    let user_data = check_user_data()?;

    let network = Arc::new(Network::bring_up(&site)?);
    console::step(Step::Network, &public!("address ", network.address(), ", firewall up"));

    let (keeper, key) = attest_and_fetch_key(&site, &site_json, &network, attester)?;
    let mapper = Mapper::open()?;
    let settings = volumes::open_root(&mapper, &root_drive, &parameters.root, &key)?;
    console::step(Step::Volume, &public!("root volume open, root hash ", parameters.root.root_hash));

    open_user_config(&mapper, &site, &key)?;
    drop(key);
    let place = scratch::make(&mapper, &root_drive, &parameters.root)?;
    mount_user_data(user_data.as_ref(), &settings, &site, &network, &modules)?;
    mounts::container_root()?;
    console::step(Step::Drives, &public!("drives mounted, scratch area ", place));

    let has_data = user_data.is_some();
    modules::forget();
    lockdown::last()?;
    supervise::start(supervise::Prepared { site, settings, network, keeper, mapper, applog, has_data })
}

/// How long a drive may take to appear.
const DRIVE_PATIENCE: Duration = Duration::from_secs(10);

fn load_modules() -> Result<Vec<Module>, Halt> {
    let modules = modules::list()?;
    modules::load(&modules, |need| need != Need::Nfs)?;
    mounts::configfs();
    Ok(modules)
}

fn boot_parameters() -> Result<BootParameters, Halt> {
    let unreadable = |error: std::io::Error| Halt::new(Code::CommandLine, public!("/proc/cmdline: ", error));
    let line = std::fs::read_to_string("/proc/cmdline").map_err(unreadable)?;
    BootParameters::parse(&line).map_err(|error| Halt::new(Code::CommandLine, Public::reviewed(&error)))
}

/// The log is for people: without the drive the guest runs, and says so.
fn open_applog(parameters: &BootParameters) -> Option<Applog> {
    let drive = match devices::find_optional(DriveName::Applog) {
        Ok(Some(drive)) => drive,
        Ok(None) => return None,
        Err(error) => {
            console::note(&error.words());
            return None;
        }
    };
    let opened = Applog::open(&drive.node, drive.size, parameters.applog.clone());
    let applog = opened.inspect_err(|error| console::note(&public!("the applog drive does not open: ", error))).ok()?;
    if let Some(window) = applog.window(applog::BOOT_LOG, Full::Stop)
        && let Err(error) = applog::keep_boot_lines(window)
    {
        console::note(&public!("the applog drive takes nothing: ", error));
    }
    Some(applog)
}

/// The drive is read once, into memory; its digest is compared before a byte of it is parsed.
fn read_site(attester: &dyn Attester) -> Result<(Site, Vec<u8>), Halt> {
    let drive = devices::find(DriveName::Site, DRIVE_PATIENCE)?;
    let bytes = devices::read_whole(&drive, site::MAX_LENGTH)?;
    // Nobody accepts a report over zeros: it only shows this guest its own HOST_DATA.
    let wanted = attester.report(&ReportData([0; ReportData::LENGTH]))?.host_data();
    let got = site::host_data(&bytes);
    if got != wanted {
        return Err(Halt::new(
            Code::SiteMismatch,
            public!("the site drive has SHA-256 ", got, ", HOST_DATA is ", wanted),
        ));
    }
    let site = Site::parse(&bytes)?;
    console::step(Step::Site, &public!("site.json matches HOST_DATA ", wanted));
    Ok((site, bytes))
}

/// The host's file system is looked at before anything is unlocked, and before the kernel is let near it.
fn check_user_data() -> Result<Option<BlockDevice>, Halt> {
    let Some(drive) = devices::find_optional(DriveName::UserData)? else { return Ok(None) };
    let unusable = |words| Halt::new(Code::Drive, words);
    let device = std::fs::File::open(&drive.node)
        .and_then(sealed::FileDevice::new)
        .map_err(|error| unusable(public!("the user_data drive cannot be read: ", error)))?;
    mounts::plausible_ext4(&device).map_err(|why| unusable(public!("the user_data drive is not used: ", why)))?;
    Ok(Some(drive))
}

fn attest_and_fetch_key(
    site: &Site,
    site_json: &[u8],
    network: &Arc<Network>,
    attester: Arc<dyn Attester>,
) -> Result<(Arc<Keeper>, VolumeKey), Halt> {
    let broker = site.broker.as_ref().ok_or_else(|| Halt::new(Code::Broker, public!("site.json names no broker")))?;
    let lookup = Arc::clone(network);
    let resolve = Arc::new(move |host: &str, port| lookup.resolve(host, port));
    let client = KbsClient::new(&broker.url, Pinned::new(broker.identity), resolve, attester)?;
    let keeper = Keeper::new(client, site_json.into());
    let patience = Patience::of(BROKER_PATIENCE);
    let mut tell = |error: &ClientError, wait| {
        console::note(&public!(Public::reviewed(error), "; trying again in ", wait));
    };
    keeper.patiently(patience, &mut tell, Keeper::attest)?;
    console::step(Step::Evidence, &public!("the broker accepted this machine's evidence"));
    let bytes = keeper.patiently(patience, &mut tell, |keeper| keeper.resource(&site.volume_key))?;
    let key = bytes
        .expose(|bytes| VolumeKey::from_slice(bytes))
        .map_err(|error| Halt::new(Code::Key, Public::reviewed(&error)))?;
    console::step(Step::Key, &public!("volume key released"));
    Ok((Arc::new(keeper), key))
}

/// How long an unreachable broker is tried.
const BROKER_PATIENCE: Duration = Duration::from_secs(120);

fn open_user_config(mapper: &Mapper, site: &Site, key: &VolumeKey) -> Result<(), Halt> {
    let Some(geometry) = &site.user_config else { return Ok(()) };
    let drive = devices::find(DriveName::UserConfig, DRIVE_PATIENCE)?;
    Ok(volumes::open_config(mapper, &drive, geometry, key)?)
}

fn mount_user_data(
    drive: Option<&BlockDevice>,
    settings: &Settings,
    site: &Site,
    network: &Network,
    modules: &[Module],
) -> Result<(), Halt> {
    let Some(drive) = drive else {
        console::note(&public!("no user_data drive is attached"));
        return Ok(());
    };
    mounts::user_data(&drive.node, settings.user_data)?;
    if let Some(export) = nfs::wanted(&site.ports)? {
        console::note(&public!("mounting remote data"));
        nfs::mount(&export, network.resolver(), modules, settings.user_data)?;
        console::note(&public!("remote data mounted"));
    }
    Ok(())
}
