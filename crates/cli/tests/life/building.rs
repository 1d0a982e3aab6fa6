//! A build that cannot come to its end leaves nothing and says why; so does `up`.

use crate::house::words;
use crate::place::{Place, wait_until};
use std::process::{Command, Output};

/// Random bytes in the image: what a build has to seal, and what needs room.
const FILLING: usize = 24 << 20;

pub(crate) fn workload(place: &Place, folder: &str) -> String {
    std::fs::create_dir_all(place.path(folder)).unwrap();
    let mut filling = vec![0; FILLING];
    aws_lc_rs::rand::fill(&mut filling).unwrap();
    place.image("image.tar", "#!/bin/sh\nsleep 100\n", &[("filling", &filling)]);
    let name = format!("{folder}/workload.yml");
    let path = place.write(
        &name,
        &format!(
            "compute_env: onprem_cvm\ncc_cpu_mechanism: amd_sev_snp\nroot_drive_size: 1\ndocker_archive: {}\n\
             name: filled\nmemory: 512 MB\n",
            place.path("image.tar").display()
        ),
    );
    path.to_str().unwrap().to_owned()
}

/// Runs a shell script in a mount namespace of its own, with a small disk on `room`; none where that is not allowed.
fn with_small_disk(place: &Place, megabytes: u32, script: &str) -> Option<Output> {
    let mount = format!("mount -t tmpfs -o size={megabytes}m small '{}'", place.path("room").display());
    let namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-rm", "bash", "-c", script]).env("XDG_CACHE_HOME", place.path("cache"));
        command.env("CONFIDE_GUEST_PARTS", guest_parts()).output().unwrap()
    };
    if !namespace(&mount).status.success() {
        println!("skipped: life: a disk that fills needs a mount namespace");
        return None;
    }
    Some(namespace(&format!("{mount} && {script}")))
}

pub(crate) fn guest_parts() -> std::path::PathBuf {
    let home = || std::path::PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
    let cache = || std::env::var_os("XDG_CACHE_HOME").map_or_else(home, std::path::PathBuf::from);
    std::env::var_os("CONFIDE_GUEST_PARTS").map_or_else(|| cache().join("confide/guest-parts"), Into::into)
}

fn build(place: &Place, workload: &str, output: &str) -> String {
    let program = env!("CARGO_BIN_EXE_confide-dev");
    format!("'{program}' build '{workload}' -o '{output}' --guest '{}'", place.guest())
}

#[test]
fn a_full_disk_is_named_and_no_half_bundle_is_left() {
    let Some(place) = Place::open() else { return };
    let workload = workload(&place, "work");
    std::fs::create_dir(place.path("room")).unwrap();
    let room = place.path("room").display().to_string();
    let hint = "hint: free some space on the disk of that file, then run the same command again";
    let list = "; echo \"status $?\"; ls -A";

    // In the middle of the root volume, of the one-file form, and with not even a block for the key.
    let root = format!("{}{list} '{room}'", build(&place, &workload, &format!("{room}/bundle")));
    let Some(output) = with_small_disk(&place, 16, &root) else { return };
    let said = words(&output);
    assert!(said.contains(&format!("cannot write {room}/.bundle.partial-")), "{said}");
    assert!(said.contains("crypt_root.qcow2\n  cause: No space left on device"), "{said}");
    assert!(said.contains(hint), "{said}");
    assert!(said.contains("status 3\nbundle.key\n") && !said.contains("\n.bundle"), "{said}");

    let packed = format!("{} --tgz{list} '{room}'", build(&place, &workload, &format!("{room}/bundle")));
    let said = words(&with_small_disk(&place, 66, &packed).unwrap());
    assert!(said.contains(&format!("cannot write {room}/.filled.tgz.partial-")) && said.contains(hint), "{said}");
    assert!(said.contains("status 3\nbundle.key\n"), "{said}");

    let fill = format!("cat /dev/zero > '{room}/zeros' 2>/dev/null");
    let key = format!("{{ {fill}; {}{list} '{room}'; }}", build(&place, &workload, &format!("{room}/bundle")));
    let said = words(&with_small_disk(&place, 1, &key).unwrap());
    assert!(said.contains(&format!("cannot write {room}/bundle.key")) && said.contains(hint), "{said}");
    assert!(said.contains("status 3\nzeros\n"), "half a key is left: {said}");

    // A full cache is as good as none.
    let archive = place.path("image.tar");
    assert!(Command::new("gzip").arg("-1").arg(&archive).status().unwrap().success());
    let text = std::fs::read_to_string(&workload).unwrap().replace("image.tar", "image.tar.gz");
    std::fs::write(&workload, text).unwrap();
    let output = place.path("whole").display().to_string();
    let cached = format!("XDG_CACHE_HOME='{room}' {}{list} '{room}/../whole'", build(&place, &workload, &output));
    let said = words(&with_small_disk(&place, 8, &cached).unwrap());
    assert!(said.contains("status 0\n") && said.contains("\nmanifest.json\n"), "{said}");
}

#[test]
fn what_force_replaces_comes_back_when_the_build_fails() {
    let Some(place) = Place::open() else { return };
    let workload = workload(&place, "work");
    std::fs::create_dir_all(place.path("work/bundle")).unwrap();
    place.write("work/bundle/mine", "kept");
    // `ulimit -f` in blocks of 1024 bytes: the limit of a shell is an error too, not the end of the program.
    let script = format!(
        "ulimit -f 8192; {} --force",
        build(&place, &workload, &place.path("work/bundle").display().to_string())
    );
    let output = Command::new("bash")
        .args(["-c", &script])
        .env("XDG_CACHE_HOME", place.path("cache"))
        .env("CONFIDE_GUEST_PARTS", guest_parts())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    assert!(words(&output).contains("cause: File too large"), "{}", words(&output));
    assert_eq!(place.names("work"), ["bundle", "bundle.key", "workload.yml"]);
    assert_eq!(std::fs::read_to_string(place.path("work/bundle/mine")).unwrap(), "kept");
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    let Some(place) = Place::open() else { return };
    let workload = workload(&place, "work");
    let output = place.path("work/bundle");
    let build = ["build", &workload, "-o", output.to_str().unwrap(), "--guest", place.guest()];
    let building = place.start(&build, "build.log");
    wait_until("the build's folder", || place.names("work").iter().any(|name| name.starts_with(".bundle.partial-")));
    building.signal("INT");
    let (status, said) = building.end();
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains("the build was cancelled; nothing was left behind"), "{said}");
    assert_eq!(place.names("work"), ["bundle.key", "workload.yml"]);

    // `up`, with a broker and a VM that starts: both end with it.
    let mut up = place.start(&["up", &workload, "--guest", place.guest()], "up.log");
    up.wait_for(&["vm                     starting", "error: "]);
    wait_until("QEMU", || place.processes().iter().any(|line| line.contains("-kernel")));
    assert!(place.processes().iter().any(|line| line.contains("broker serve")));
    up.signal("INT");
    let (status, said) = up.end();
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains("error: interrupted; everything that was started is ended"), "{said}");
    assert_eq!(place.processes(), Vec::<String>::new());
    assert!(!place.path("workspace/running.json").exists());
}
