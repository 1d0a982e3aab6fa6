//! PID 1 of a test VM: what the guest does with drives and the firewall, under a key that the test knows, without a
//! broker. `tests/boot/volumes.rs` boots it and reads what it says. It is in no bundle.

use claims::boot::BootParameters;
use claims::site::{Attestation, Network as Settings, Ports, Site};
use claims::volume::VolumeKey;
use claims::workload::UserData;
use guest::boot::volumes::{VERIFIED_ROOT, open_root};
use guest::console::{self, Halt};
use guest::devices::{self, DriveName};
use guest::mapper::Mapper;
use guest::modules::{self, Need};
use guest::network::Network;
use guest::{mounts, power, public, scratch};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

const KEY: [u8; 32] = [9; 32];
const PATIENCE: Duration = Duration::from_secs(10);

fn main() {
    console::halt_on_panic();
    if let Err(halt) = probe() {
        console::halt(&halt);
    }
    power::exit_vm()
}

fn probe() -> Result<(), Halt> {
    mounts::kernel_file_systems()?;
    modules::load(&modules::list()?, |need| need != Need::Nfs)?;
    mounts::leave_initramfs()?;
    let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let parameters = BootParameters::parse(&line)
        .map_err(|error| Halt::new(claims::Code::CommandLine, console::Public::reviewed(&error)))?;
    let drive = devices::find(DriveName::Root, PATIENCE)?;
    if let Ok(key) = VolumeKey::from_slice(&KEY) {
        volumes(&drive, &parameters, &key)?;
    }
    firewall()
}

fn volumes(drive: &devices::BlockDevice, parameters: &BootParameters, key: &VolumeKey) -> Result<(), Halt> {
    let mapper = Mapper::open()?;
    open_root(&mapper, drive, &parameters.root, key)?;
    tell("settings read", true);
    let place = scratch::make(&mapper, drive, &parameters.root)?;
    console::note(&public!("scratch ", place));
    if let Some(data) = devices::find_optional(DriveName::UserData)? {
        mounts::user_data(&data.node, UserData::ReadOnly)?;
        tell("link followed", std::fs::read(format!("{}/link", mounts::USER_DATA)).is_ok());
        tell("data read", std::fs::read(format!("{}/data", mounts::USER_DATA)).is_ok_and(|bytes| bytes == b"data"));
        tell("data written", std::fs::write(format!("{}/new", mounts::USER_DATA), "x").is_ok());
    }
    mounts::container_root()?;
    let inside = |name: &str| format!("{}/{name}", mounts::CONTAINER_ROOT);
    tell("settings seen in the container", std::fs::metadata(inside(".confide")).is_ok());
    tell("greeting read", std::fs::read(inside("greeting")).is_ok_and(|bytes| bytes == b"hello"));
    tell("root volume written", std::fs::write(format!("{}/new", mounts::ROOT_VOLUME), "x").is_ok());
    let written = vec![7; 4 << 20];
    let kept = std::fs::write(inside("greeting"), "changed").is_ok()
        && std::fs::write(inside("large"), &written).is_ok()
        && drop_caches()
        && std::fs::read(inside("large")).is_ok_and(|bytes| bytes == written);
    tell("scratch area kept what was written", kept);
    tell("damage seen before", mapper.is_corrupted(VERIFIED_ROOT).unwrap_or(true));
    tell("large file read", std::fs::read(format!("{}/model", mounts::ROOT_VOLUME)).is_ok());
    tell("damage seen after", mapper.is_corrupted(VERIFIED_ROOT).unwrap_or(true));
    Ok(())
}

fn firewall() -> Result<(), Halt> {
    let site = Site {
        version: 1,
        site: "probe".into(),
        project: "test".into(),
        broker: None,
        network: Settings::Dhcp,
        ports: Ports { inbound: vec![8080], outbound: vec![1, 2] },
        hosts: BTreeMap::from([("peer".into(), Ipv4Addr::new(10, 0, 2, 2).into())]),
        volume_key: "test/volume-key/probe".into(),
        user_config: None,
        resources: vec![],
        attestation: Attestation { check_frequency: 120, grace: 300 },
        issuers: vec![],
    };
    let network = Network::bring_up(&site)?;
    console::note(&public!("address ", network.address()));
    let connect = |port| {
        let started = console::uptime();
        let peer = SocketAddr::from((Ipv4Addr::new(10, 0, 2, 2), port));
        let kind = TcpStream::connect_timeout(&peer, Duration::from_secs(20)).map(drop).map_err(|error| error.kind());
        (kind, console::uptime().saturating_sub(started))
    };
    // Nobody listens on port 1 of the emulator's host: a refusal shows that the packet went out.
    let (open, _) = connect(1);
    tell("open port answers", open == Err(ErrorKind::ConnectionRefused));
    let (closed, time) = connect(3);
    tell("closed port is unreachable", closed == Err(ErrorKind::HostUnreachable));
    tell("at once", time < Duration::from_secs(5));
    let send = |port: u16| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        socket.send_to(b"x", (Ipv4Addr::new(10, 0, 2, 2), port)).ok()
    };
    tell("open UDP port is sent to", send(2).is_some());
    tell("closed UDP port is sent to", send(3).is_some());
    tell("hosts entry found", network.resolver().lookup("peer").is_ok());
    tell("lease renewed", network.renew());
    // The test connects from outside, then the VM ends.
    let listening = [8080, 8081].map(|port| std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)));
    for listener in listening.into_iter().flatten() {
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = std::io::Write::write_all(&mut stream, b"here\n");
            }
        });
    }
    tell("listening", true);
    std::thread::sleep(Duration::from_secs(12));
    Ok(())
}

fn drop_caches() -> bool {
    rustix::fs::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

fn tell(what: &'static str, so: bool) {
    console::note(&public!("probe: ", what, ": ", if so { "yes" } else { "no" }));
}
