//! The container, started for real: this very test boots itself as the first process of a QEMU guest (plain emulation,
//! the kernel of scripts/setup.sh, a root made of busybox) and looks from inside at what the workload can do.

#![expect(
    clippy::print_stdout,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test without the harness reports by itself"
)]

use claims::workload::{Limits, Settings, User, UserData, WorkloadLog};
use guest::container::{self, Access, Plan, Started};
use guest::{mounts, power};
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

const PASSED: &str = "container-boot: passed";

fn main() -> ExitCode {
    if std::env::args_os().next().as_deref() == Some(OsStr::new(container::HELPER)) {
        return container::helper();
    }
    if std::process::id() == 1 {
        inside();
    }
    match boot() {
        Ok(Some(console)) if console.contains(PASSED) => {
            println!("test container_boot ... ok");
            ExitCode::SUCCESS
        }
        Ok(Some(console)) => {
            println!("{console}\ntest container_boot ... FAILED");
            ExitCode::FAILURE
        }
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}\ntest container_boot ... FAILED");
            ExitCode::FAILURE
        }
    }
}

// On the host.

fn boot() -> std::io::Result<Option<String>> {
    let parts = std::env::var_os("CONFIDE_GUEST_PARTS").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/confide/guest-parts"),
        PathBuf::from,
    );
    let (kernel, busybox) = (parts.join("vmlinuz"), Path::new("/usr/bin/busybox"));
    for (what, there) in [
        ("qemu", found("qemu-system-x86_64")),
        ("cpio", found("cpio")),
        ("busybox", busybox.exists()),
        ("the guest's kernel", kernel.exists()),
    ] {
        if !there {
            println!("skipped: {what} is not here");
            return Ok(None);
        }
    }
    let folder = tempfile::tempdir()?;
    let root = folder.path().join("root");
    for place in ["dev", "proc", "sys", "run", "modules"] {
        fs::create_dir_all(root.join(place))?;
    }
    let program = std::env::current_exe()?;
    fs::copy(&program, root.join("init"))?;
    // Smaller, where there is a strip.
    let _ = Command::new("strip").arg(root.join("init")).status();
    fs::copy(busybox, root.join("modules/busybox"))?;
    for library in libraries(&program)? {
        for place in [root.clone(), root.join("modules")] {
            let target = place.join(library.trim_start_matches('/'));
            fs::create_dir_all(target.parent().unwrap_or(&place))?;
            fs::copy(&library, target)?;
        }
    }
    let initrd = folder.path().join("initrd");
    let pack = "find . | cpio --quiet -o -H newc > \"$1\"";
    let packed = Command::new("sh").args(["-c", pack, "sh"]).arg(&initrd).current_dir(&root).status()?;
    assert!(packed.success(), "cpio failed");
    let output = Command::new("timeout")
        .args([
            "240",
            "qemu-system-x86_64",
            "-machine",
            "q35,accel=tcg",
            "-cpu",
            "Haswell-v4,-cx16",
            "-m",
            "1024",
            "-nodefaults",
        ])
        .args(["-display", "none", "-serial", "stdio", "-no-reboot", "-append", claims::boot::KERNEL_PARAMETERS])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initrd)
        .stdin(Stdio::null())
        .output()?;
    Ok(Some(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))))
}

fn found(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).exists()))
}

/// Shared libraries of this test; the guest itself has none.
fn libraries(program: &Path) -> std::io::Result<Vec<String>> {
    let output = Command::new("ldd").arg(program).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned).collect())
}

// In the guest.

/// Only in a panic does this test's first process end otherwise.
fn inside() -> ! {
    std::panic::set_hook(Box::new(|why| {
        println!("container-boot: {why}");
        power::exit_vm()
    }));
    prepare();
    environment_is_that_of_the_settings();
    the_workload_is_confined();
    exit_status_signals_and_silence();
    what_cannot_run_is_refused();
    println!("{PASSED}");
    power::exit_vm()
}

fn prepare() {
    mounts::kernel_file_systems().unwrap();
    mounts::leave_initramfs().unwrap();
    for place in ["/lib", "/lib64", "/usr"] {
        let _ = symlink(format!("/modules{place}"), place);
    }
    let root = Path::new(mounts::CONTAINER_ROOT);
    rustix::mount::mount("root", root, "tmpfs", rustix::mount::MountFlags::empty(), c"mode=0755").unwrap();
    for place in ["bin", "etc"] {
        fs::create_dir(root.join(place)).unwrap();
    }
    fs::copy("/modules/busybox", root.join("bin/busybox")).unwrap();
    for applet in
        ["sh", "env", "id", "cat", "ls", "touch", "mount", "unshare", "hostname", "sleep", "grep", "sort", "tr"]
    {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    symlink("../run/nowhere", root.join("etc/resolv.conf")).unwrap();
    // Devices of the image: useless.
    let device = rustix::fs::makedev(1, 3);
    let kind = rustix::fs::FileType::CharacterDevice;
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(rustix::fs::CWD, root.join("null"), kind, mode, device).unwrap();
    rustix::fs::chmod(root.join("null"), mode).unwrap();

    fs::write("/run/hosts", "10.0.0.7 server1\n").unwrap();
    fs::write("/run/resolv.conf", "nameserver 10.0.2.3\n").unwrap();
    for folder in [mounts::USER_CONFIG, mounts::USER_DATA] {
        let script = Path::new(folder).join("script");
        fs::write(&script, "#!/bin/sh\necho ran in $0\n").unwrap();
        fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        symlink("script", Path::new(folder).join("link")).unwrap();
        fs::set_permissions(folder, PermissionsExt::from_mode(0o777)).unwrap();
    }
}

fn plan(command: &[&str], log: WorkloadLog) -> Plan {
    let settings = Settings {
        version: 1,
        name: "hello".into(),
        role: None,
        command: command.iter().map(|&word| word.to_owned()).collect(),
        environment: vec!["PATH=/bin".into(), "GREETING=hello".into()],
        folder: "/".into(),
        user: User { uid: 1000, gid: 1001, groups: vec![1002] },
        stop_signal: 15,
        limits: Limits { memory_bytes: Some(128 << 20), processes: 20 },
        log,
        user_data: UserData::ReadOnly,
        gpu: false,
    };
    Plan::new(mounts::CONTAINER_ROOT, settings)
        .bind(mounts::USER_CONFIG, "/user_config", Access::Trusted)
        .bind(mounts::USER_DATA, "/user_data", Access::Foreign)
        .bind("/run/hosts", "/etc/hosts", Access::File)
        .bind("/run/resolv.conf", "/etc/resolv.conf", Access::File)
}

/// Runs a container to its end: how it ended, and what it said.
fn run(command: &[&str]) -> (power::Exit, String) {
    let _ = fs::remove_dir_all("/run/confide/containers");
    let started = container::start(&plan(command, WorkloadLog::Applog)).unwrap_or_else(|error| panic!("{error}"));
    finish(started)
}

fn finish(started: Started) -> (power::Exit, String) {
    let mut said = String::new();
    started.output.unwrap().read_to_string(&mut said).unwrap();
    (ending(started.pid), said)
}

fn ending(pid: rustix::process::Pid) -> power::Exit {
    for _ in 0..600 {
        if let Some(exit) = power::reap(pid) {
            return exit;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the container does not end");
}

fn environment_is_that_of_the_settings() {
    let (exit, said) = run(&["env"]);
    assert_eq!((exit, said.as_str()), (power::Exit::Status(0), "GREETING=hello\nPATH=/bin\n"));
}

fn the_workload_is_confined() {
    let script = r#"
        echo "pid $$"; id; hostname
        grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr '\t' ' '
        cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max /etc/hosts /etc/resolv.conf
        ls /proc/self/fd | tr '\n' ' '; echo
        ls /dev | sort | tr '\n' ' '; echo
        /user_config/script
        /user_config/link
        /user_data/script 2>&1
        cat /user_data/link 2>&1
        cat /user_data/script >/dev/null && echo "data is read"
        touch /user_config/new 2>&1
        touch /user_data/new 2>&1
        echo x 2>&1 >/null
        echo x 2>&1 >/proc/sys/kernel/hostname
        cat /dev/kcore | grep -c .
        mount -t tmpfs none /tmp 2>&1
        unshare -U true 2>&1
        touch /tmp/mine /dev/shm/mine && echo "tmp is writable"
        echo "to stderr" >&2
        echo "by its name" >/dev/stdout
    "#;
    let (exit, said) = run(&["sh", "-c", script]);
    for wanted in [
        "pid 1\n",
        "uid=1000 gid=1001 groups=1002\n",
        "\nhello\n",
        "CapInh: 0000000000000000\n",
        "CapPrm: 0000000000000000\n",
        "CapEff: 0000000000000000\n",
        "CapBnd: 0000000000000000\n",
        "CapAmb: 0000000000000000\n",
        "NoNewPrivs: 1\n",
        "Seccomp: 2\n",
        "\n134217728\n20\n",
        "10.0.0.7 server1\nnameserver 10.0.2.3\n",
        "\n0 1 2 3 \n",
        "\nfd full kcore mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero \n",
        "ran in /user_config/script\n",
        "ran in /user_config/link\n",
        "/user_data/script: Permission denied\n",
        "'/user_data/link': Too many levels of symbolic links\n",
        "data is read\n",
        "/user_config/new: Read-only file system\n",
        "/user_data/new: Read-only file system\n",
        "can't create /null: Permission denied\n",
        "can't create /proc/sys/kernel/hostname: Read-only file system\n",
        "\n0\nmount: permission denied",
        "unshare(0x10000000): Operation not permitted\n",
        "tmp is writable\n",
        "to stderr\n",
        "by its name\n",
    ] {
        assert!(said.contains(wanted), "wanted {wanted:?} in what the workload said:\n{said}");
    }
    assert_eq!(exit, power::Exit::Status(0));
}

fn exit_status_signals_and_silence() {
    assert_eq!(run(&["sh", "-c", "exit 7"]).0, power::Exit::Status(7));

    let _ = fs::remove_dir_all("/run/confide/containers");
    let polite = ["sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 1; done"];
    let mut started = container::start(&plan(&polite, WorkloadLog::Applog)).unwrap();
    let mut ready = [0; 6];
    started.output.as_mut().unwrap().read_exact(&mut ready).unwrap();
    rustix::process::kill_process(started.pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(finish(started).0, power::Exit::Status(3));

    let _ = fs::remove_dir_all("/run/confide/containers");
    let loud = plan(&["sh", "-c", "echo MUST NOT BE SEEN; echo MUST NOT BE SEEN >&2; sleep 100"], WorkloadLog::None);
    let started = container::start(&loud).unwrap();
    assert!(started.output.is_none());
    std::thread::sleep(Duration::from_millis(500));
    rustix::process::kill_process(started.pid, rustix::process::Signal::KILL).unwrap();
    assert_eq!(ending(started.pid), power::Exit::Signal(9));
}

fn what_cannot_run_is_refused() {
    for (command, why) in [("/etc/hosts", "cannot be run"), ("no-such-program", "PATH"), ("/bin/none", "No such file")]
    {
        let _ = fs::remove_dir_all("/run/confide/containers");
        let error = container::start(&plan(&[command], WorkloadLog::None)).unwrap_err();
        println!("{command}: {error}");
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(error.code(), claims::Code::Workload);
    }
}
