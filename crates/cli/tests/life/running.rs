//! One workload, booted for real: what it reaches, what reaches it, remote data, and how it ends.

use crate::house::words;
use crate::nfs;
use crate::place::{Place, free_port, wait_until};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Looks around, then serves what it found on a port that is open and on one that is not.
const SCRIPT: &str = r#"#!/bin/sh
trap 'sleep 2; echo "ended in peace"; echo bye > /applog/bye; exit 0' TERM
mkdir /tmp/www
{
echo "user_config: $(cat /user_config/note)"
echo "open out: $(echo x | nc -w 20 server1 $OPEN 2>&1)"
echo "shut out: $(echo x | nc -w 20 server1 $SHUT 2>&1)"
grep ' /user_data' /proc/mounts
if [ -e /user_data/ext_mount.conf ]; then
  echo "file: $(cat /user_data/mnt/greeting)"
  echo "link: $(cat /user_data/mnt/link 2>&1)"
  echo "program: $(/user_data/mnt/program 2>&1)"
  echo "write: $(touch /user_data/mnt/new 2>&1)"
fi
} > /tmp/www/report 2>&1
httpd -p 8080 -h /tmp/www
httpd -p 8081 -h /tmp/www
echo "serves both: $(wget -q -O - http://127.0.0.1:8081/report | grep user_config)" >> /tmp/www/report
echo "end of report" >> /tmp/www/report
while :; do sleep 1; done
"#;

#[test]
fn a_workload_is_reached_where_it_may_be_and_ends_when_it_is_asked_to() {
    let Some(mut place) = Place::open() else { return };
    let (open, shut) = (Peer::listen(), Peer::listen());
    let shut_in = free_port();
    let server = nfs::Server::start(&place);
    place.image("image.tar", SCRIPT, &[]);
    place.write("note.txt", "of this site");
    let workload = place.write(
        "workload.yml",
        &format!(
            "compute_env: onprem_cvm\ncc_cpu_mechanism: amd_sev_snp\nroot_drive_size: 1\ndocker_archive: image.tar\n\
             user_config: {{ note: note.txt }}\nallowed_ports: [8080]\nallowed_out_ports: [111, 2049, {0}]\n\
             hosts_entries: {{ server1: 10.0.2.2, nfs-server: 10.0.2.100 }}\nname: life\nmemory: 512 MB\n\
             environment: {{ OPEN: {0}, SHUT: {1} }}\nworkload_log: applog\n",
            open.port, shut.port
        ),
    );
    place.set_network(format!(",hostfwd=tcp:127.0.0.1:{shut_in}-:8081"));

    println!("boot: ports in both directions, and the power button");
    let answer = place.json(&["up", workload.to_str().unwrap(), "--json", "--guest", place.guest()]);
    let report = report(answer["url"].as_str().unwrap());
    assert_eq!(line(&report, "user_config: "), "of this site");
    assert_eq!(line(&report, "open out: "), "a friend");
    assert_eq!(open.met(), 1);
    let refused = line(&report, "shut out: ");
    assert!(refused.ends_with("No route to host"), "{report}");
    assert_eq!(shut.met(), 0, "a packet went to a port that is not in allowed_out_ports");
    assert_eq!(line(&report, "serves both: "), "user_config: of this site");
    assert_eq!(ask(shut_in), None, "a port that is not in allowed_ports answers");
    assert!(report.contains(" /user_data ext4 ro,nosuid,nodev,noexec,relatime,nosymfollow"), "{report}");

    power_button(&place);
    wait_until("the VM's end", || !place.processes().iter().any(|line| line.contains("qemu-system")));
    wait_until("the launcher's end", || !place.processes().iter().any(|line| line.contains(" launch ")));
    let boot_log = applog(&place, "applog.qcow2", "/boot.log");
    let end = boot_log.split_once("asked to stop").expect("no word of the button").1;
    assert!(end.contains("workload ended with status 0"), "{boot_log}");
    assert!(!boot_log.contains("halt code="), "{boot_log}");
    assert!(applog(&place, "applog.qcow2", "/workload.log").contains("ended in peace"));
    assert!(applog(&place, "applog.qcow2", "/applog.tar").contains("bye\n"));

    match server {
        Ok(server) => remote_data(&mut place, &server),
        Err(why) => println!("skipped: life: remote data: {why}"),
    }
    let down = place.json(&["down", "--json"]);
    assert_eq!(down["ended"], serde_json::json!(["broker"]), "the VM had ended before");
    assert_eq!(place.processes(), Vec::<String>::new());
}

/// The guide's step 4.3, as it is written there, on a drive as it was built.
fn remote_data(place: &mut Place, server: &nfs::Server) {
    println!("boot: remote data from an NFS server, and a launcher that is asked to end");
    place.set_network(format!(",guestfwd=tcp:10.0.2.100:2049-cmd:busybox nc 127.0.0.1 {}", server.port));
    let drive = place.path("workspace/bundle/user_data.qcow2");
    let bundle = place.path("workspace/bundle");
    let (drive, bundle) = (drive.to_str().unwrap(), bundle.to_str().unwrap());
    let conf = place.write("ext_mount.conf", "nfs-server:/training_data\n");
    place.json(&["data", "add", drive, conf.to_str().unwrap(), "--json"]);
    let port = free_port();
    let publish = format!("8080:{port}");
    let launch = ["launch", bundle, "--publish", publish.as_str()];
    let mut launched = place.start(&launch, "launch.log");
    launched.wait_for(&["step=ready", "error: "]);
    assert!(launched.said().contains("remote data mounted"), "{}", launched.said());
    let report = report(&format!("http://127.0.0.1:{port}/"));
    assert_eq!(line(&report, "file: "), "from the server");
    assert!(line(&report, "link: ").ends_with("Too many levels of symbolic links"), "{report}");
    assert!(line(&report, "program: ").ends_with("Permission denied"), "{report}");
    assert!(line(&report, "write: ").ends_with("Read-only file system"), "{report}");
    let mounted = report.lines().find(|line| line.contains(" /user_data/mnt ")).unwrap();
    assert!(mounted.contains(" nfs4 ro,nosuid,nodev,noexec,relatime,nosymfollow,"), "{mounted}");
    assert!(!mounted.contains("vers=4.2"), "{mounted}");

    launched.signal("TERM");
    let (status, said) = launched.end();
    assert_eq!(status, Some(0), "{said}");
    let end = said.split_once("ending the VM").unwrap().1;
    assert!(end.contains("asked to stop") && end.contains("workload ended with status 0"), "{said}");
    assert!(!end.contains("killed"), "{said}");

    println!("boot: an ext_mount.conf that climbs out of its export");
    let conf = place.write("ext_mount.conf", "nfs-server:/training_data/../..\n");
    place.json(&["data", "add", drive, conf.to_str().unwrap(), "--json"]);
    let (status, said) = place.start(&launch, "refused.log").end();
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("confide: halt code=E-DRIVE ext_mount.conf is not one line HOST:/PATH"), "{said}");
    assert!(!said.contains("step=drives") && !said.contains("step=container"), "{said}");
    // What the boot before said is kept, and `doctor` finds what this one said.
    assert!(applog(place, "applog.1.qcow2", "/boot.log").contains("remote data mounted"));
    let doctor = words(&place.run(&["doctor", "--bundle", bundle]));
    assert!(doctor.contains("confide explain E-DRIVE"), "{doctor}");
}

/// A server of the host that says a word to whoever comes.
struct Peer {
    port: u16,
    met: Arc<AtomicU32>,
}

impl Peer {
    fn listen() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let peer = Self { port: listener.local_addr().unwrap().port(), met: Arc::default() };
        let met = Arc::clone(&peer.met);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                met.fetch_add(1, Ordering::Relaxed);
                let _ = stream.write_all(b"a friend\n");
            }
        });
        peer
    }

    fn met(&self) -> u32 {
        self.met.load(Ordering::Relaxed)
    }
}

/// The workload's whole report, which it needs a moment for.
fn report(url: &str) -> String {
    let port: u16 = url.trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
    let mut report = String::new();
    wait_until("the workload's report", || {
        report = ask(port).unwrap_or_default();
        report.contains("end of report")
    });
    report
}

/// What an HTTP server at this port says; none if nothing comes back.
fn ask(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
    stream.write_all(b"GET /report HTTP/1.0\r\n\r\n").ok()?;
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    (!said.is_empty()).then(|| String::from_utf8_lossy(&said).into_owned())
}

/// The rest of the report's line that starts with `start`.
fn line<'a>(report: &'a str, start: &str) -> &'a str {
    report.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_else(|| panic!("no {start}in\n{report}"))
}

fn applog(place: &Place, drive: &str, file: &str) -> String {
    let drive = place.path("workspace/bundle").join(drive);
    let output = place.run(&["inspect", drive.to_str().unwrap(), file]);
    assert!(output.status.success(), "{}", words(&output));
    String::from_utf8_lossy(&output.stdout).replace('\0', "")
}

/// What `virsh shutdown` and a data centre's console do (QMP, "system_powerdown").
fn power_button(place: &Place) {
    let mut stream = std::os::unix::net::UnixStream::connect(place.path("monitor")).unwrap();
    stream.write_all(b"{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"system_powerdown\"}\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut said = String::new();
    let mut piece = [0; 4096];
    while !said.contains("POWERDOWN") {
        let length = stream.read(&mut piece).unwrap();
        assert!(length > 0, "QEMU is gone: {said}");
        said.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
}
