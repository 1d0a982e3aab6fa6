//! A bundle and its broker: the three common issues of NVFlare's deployment guide, one check each.

use super::{Finding, host};
use crate::qemu::Bundle;
use claims::site::Site;
use image::bundle::names;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

const BUNDLE: &str = "bundle";
const NFS_PORTS: [u16; 2] = [111, 2049];

/// Checks the bundle in `folder`.
pub(super) fn check(folder: &Path) -> Vec<Finding> {
    let bundle = match Bundle::open(folder) {
        Ok(bundle) => bundle,
        Err(failure) => {
            return vec![Finding::missing(BUNDLE, "manifest", failure.to_string(), "build it again: confide build")];
        }
    };
    let mut findings: Vec<Finding> = bundle
        .manifest
        .files
        .iter()
        .filter_map(|file| match std::fs::read(bundle.file(&file.name)) {
            Err(error) => {
                Some(Finding::missing(BUNDLE, "file", format!("{}: {error}", file.name), "copy the bundle again"))
            }
            Ok(bytes) if claims::Digest256::of(&bytes) == file.sha256 => None,
            Ok(_) => Some(Finding::missing(
                BUNDLE,
                "file",
                format!("{} is not what was built", file.name),
                "copy the bundle again",
            )),
        })
        .collect();
    if findings.is_empty() {
        findings.push(Finding::ok(BUNDLE, "files", format!("all {} as built", bundle.manifest.files.len())));
    }
    findings.push(host::firmware(BUNDLE, &bundle.file(names::FIRMWARE)));
    findings.push(last_boot(&bundle));
    findings.extend(site(&bundle));
    findings
}

/// Issue 1, "CVM fails to boot": what the last boot said.
fn last_boot(bundle: &Bundle) -> Finding {
    let log = image::inspect::Volume::open(&bundle.file(names::APPLOG), None)
        .and_then(|volume| volume.read("/boot.log"))
        .map(|bytes| String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned());
    match log {
        Err(error) => Finding::note(
            BUNDLE,
            "last boot",
            format!("the log drive cannot be read: {error}"),
            "copy applog.qcow2 from the bundle again",
        ),
        Ok(log) => match log.lines().rev().find(|line| line.contains("halt code=")) {
            Some(line) => {
                let code = line.split("code=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
                Finding::missing(BUNDLE, "last boot", line.trim(), format!("confide explain {code}"))
            }
            None if log.trim().is_empty() => Finding::ok(BUNDLE, "last boot", "never started, or the log is empty"),
            None => Finding::ok(BUNDLE, "last boot", "no halt in the log"),
        },
    }
}

/// Issues 2 and 3: the broker, its port, the names, the ports of what is mounted.
fn site(bundle: &Bundle) -> Vec<Finding> {
    let bytes = match std::fs::read(bundle.file(names::SITE)) {
        Ok(bytes) => bytes,
        Err(error) => {
            return vec![Finding::missing(BUNDLE, "site", format!("site.json: {error}"), "copy the bundle again")];
        }
    };
    let mut findings = vec![if claims::site::host_data(&bytes) == bundle.manifest.host_data {
        Finding::ok(BUNDLE, "site", "site.json matches the HOST_DATA it is started with")
    } else {
        Finding::missing(
            BUNDLE,
            "site",
            "site.json differs from the one that was built: the guest will halt with E-SITE",
            "build again after a change, or copy site.json again",
        )
    }];
    let site = match Site::parse(&bytes) {
        Ok(site) => site,
        Err(error) => {
            findings.push(Finding::missing(BUNDLE, "site", error.to_string(), "build it again"));
            return findings;
        }
    };
    findings.push(match &site.broker {
        None => Finding::missing(
            BUNDLE,
            "broker",
            "site.json names no broker: the guest will halt with E-BROKER",
            "add `broker:` to the workload file and build again",
        ),
        Some(broker) => reach(BUNDLE, &broker.url),
    });
    for (name, address) in &site.hosts {
        let resolved: Vec<_> =
            (name.as_str(), 0).to_socket_addrs().into_iter().flatten().map(|found| found.ip()).collect();
        findings.push(if resolved.is_empty() || resolved.contains(address) {
            Finding::ok(BUNDLE, "hosts", format!("{name} is {address} inside"))
        } else {
            Finding::note(
                BUNDLE,
                "hosts",
                format!("{name} is {address} inside, but {resolved:?} on this host"),
                "check hosts_entries in the workload file",
            )
        });
    }
    let mount = image::inspect::Volume::open(&bundle.file(names::USER_DATA), None)
        .and_then(|volume| volume.read("/ext_mount.conf"))
        .is_ok();
    let closed: Vec<u16> = NFS_PORTS.into_iter().filter(|port| !site.ports.outbound.contains(port)).collect();
    if mount && !closed.is_empty() {
        findings.push(Finding::missing(
            BUNDLE,
            "nfs",
            format!("user_data has an ext_mount.conf, but outgoing ports {closed:?} are closed"),
            "add allowed_out_ports: [111, 2049] to the workload file and build again",
        ));
    }
    findings
}

/// Whether something listens at `url`. The host alias of QEMU's user network is this machine.
pub(super) fn reach(area: &'static str, url: &str) -> Finding {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default();
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "443"));
    let host = if host == "10.0.2.2" { "127.0.0.1" } else { host.trim_matches(['[', ']']) };
    let connected = port
        .parse::<u16>()
        .map_err(|error| error.to_string())
        .and_then(|port| (host, port).to_socket_addrs().map_err(|error| error.to_string()))
        .and_then(|mut addresses| addresses.next().ok_or_else(|| "the name has no address".to_owned()))
        .and_then(|address| {
            TcpStream::connect_timeout(&address, Duration::from_secs(3)).map_err(|error| error.to_string())
        });
    match connected {
        Ok(_) => Finding::ok(area, "broker", format!("{url} answers")),
        Err(why) => Finding::missing(
            area,
            "broker",
            format!("{url} does not answer: {why}"),
            "start it (confide broker serve), open its port in the host's firewall, or correct `broker:`",
        ),
    }
}
