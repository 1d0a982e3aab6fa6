//! `launch_vm.sh` as real hardware runs it, under `confide launch`: in a namespace where the host looks like one with
//! SEV-SNP, and with a QEMU that starts an empty machine instead of the VM.

use crate::building::{guest_parts, workload};
use crate::house::words;
use crate::place::{Place, wait_until};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

const HOST: &str = "mount -t tmpfs none /sys/module && mkdir -p /sys/module/kvm_amd/parameters && \
                    echo Y > /sys/module/kvm_amd/parameters/sev_snp && mount -t tmpfs none /dev && \
                    touch /dev/null /dev/kvm /dev/sev";

const QEMU: &str = r#"#!/bin/bash
[ "$1" = --version ] && { echo 'QEMU emulator version 9.2.0'; exit; }
args=()
while [ $# -gt 0 ]; do
  case "$1" in -chardev | -mon) args+=("$1" "$2"); shift ;; esac
  shift
done
exec qemu-system-x86_64 -machine q35,accel=tcg -nodefaults -display none -serial stdio \
  -qmp "unix:$TEST_QMP,server=on,wait=off" "${args[@]}"
"#;

#[test]
fn the_script_presses_the_power_button_when_it_is_asked_to_end() {
    let Some(place) = Place::open() else { return };
    let workload = workload(&place, "work");
    let bundle = place.path("work/bundle");
    place.json(&["build", &workload, "-o", bundle.to_str().unwrap(), "--guest", place.guest(), "--json"]);
    let qemu = place.write("qemu", QEMU);
    std::fs::set_permissions(&qemu, PermissionsExt::from_mode(0o755)).unwrap();

    let namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-rm", "bash", "-c", &format!("{HOST} && {script}")]);
        command.env("QEMU", &qemu).env("TEST_QMP", place.path("qmp")).env("CONFIDE_GUEST_PARTS", guest_parts());
        command
    };
    let looks = namespace("true").output().unwrap();
    if !looks.status.success() {
        println!("skipped: life: a host that looks like hardware needs a mount namespace: {}", words(&looks));
        return;
    }
    let program = env!("CARGO_BIN_EXE_confide");
    let launch = format!("exec '{program}' launch '{}'", bundle.display());
    let log = std::fs::File::create(place.path("script.log")).unwrap();
    let mut child = namespace(&launch).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let said = || std::fs::read_to_string(place.path("script.log")).unwrap();
    // QEMU serves one connection at a time: the first is kept.
    let (mut ended, mut connected) = (false, None);
    wait_until("the machine", || {
        ended = child.try_wait().unwrap().is_some();
        connected = UnixStream::connect(place.path("qmp")).ok();
        ended || connected.is_some()
    });
    assert!(!ended, "{}", said());
    let mut monitor = connected.unwrap();
    monitor.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    monitor.write_all(b"{\"execute\":\"qmp_capabilities\"}\n").unwrap();
    let mut heard = String::new();
    let mut hear = |word: &str| {
        let mut piece = [0; 4096];
        while !heard.contains(word) {
            let length = monitor.read(&mut piece).unwrap();
            assert!(length > 0, "QEMU is gone before {word}: {heard}");
            heard.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
    };
    hear("return");
    let signal = |name: &str| {
        assert!(Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap().success());
    };
    signal("TERM");
    hear("\"event\": \"POWERDOWN\"");
    wait_until("the script's word", || said().contains("asking the VM to end; once more ends it at once"));
    assert!(child_runs(&place), "the first signal must not end the machine");
    signal("INT");
    hear("\"event\": \"SHUTDOWN\"");
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{}", said());
    assert!(!child_runs(&place));
    assert_eq!(place.names("work/bundle").iter().filter(|name| name.starts_with(".monitor")).count(), 0);
}

fn child_runs(place: &Place) -> bool {
    place.processes().iter().any(|line| line.contains("qemu-system"))
}
