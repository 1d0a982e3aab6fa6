//! The helper: one thread, the runtime library, and the last steps before the workload's own code.

use super::{Access, Outcome, Plan};
use crate::{oci, seccomp};
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::MountFlags;
use std::collections::HashMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const NAME: &str = "workload";
const MAX_PLAN: u64 = 4 << 20;

/// What `main` does under the name [`super::HELPER`]: reads a plan, starts the container, says how that went.
pub fn helper() -> ExitCode {
    let outcome = match run() {
        Ok(pid) => Outcome::Started { pid },
        Err(error) => Outcome::Failed { reason: line(&*error) },
    };
    let told = serde_json::to_vec(&outcome).map_err(io::Error::from).and_then(|text| io::stdout().write_all(&text));
    let started = matches!(outcome, Outcome::Started { .. });
    if told.is_ok() && started { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn run() -> Result<i32, AnyError> {
    let mut message = Vec::new();
    io::stdin().take(MAX_PLAN).read_to_end(&mut message)?;
    let plan: Plan = serde_json::from_slice(&message)?;
    let (output, errors) = (rustix::io::dup(rustix::stdio::stderr())?, rustix::io::dup(rustix::stdio::stderr())?);
    own_pipe(&output, &plan)?;
    let nowhere = null()?;
    // From here on, nothing that this process says can reach the workload's log.
    rustix::stdio::dup2_stderr(&nowhere)?;

    prepare(&plan)?;
    let gpus = if plan.settings.gpu { oci::gpus(Path::new("/dev")) } else { Vec::new() };
    let memory = oci::total_memory(&fs::read_to_string("/proc/meminfo")?);
    let bundle = plan.state.join("bundle");
    fs::create_dir_all(&bundle)?;
    fs::write(bundle.join("config.json"), serde_json::to_vec(&oci::configuration(&plan, memory, &gpus))?)?;

    let mut container = ContainerBuilder::new(NAME.into(), SyscallType::Linux)
        .with_root_path(plan.state.join("containers"))?
        .with_executor(Guarded::of(&plan)?)
        .with_stdin(nowhere)
        .with_stdout(output)
        .with_stderr(errors)
        .as_init(&bundle)
        .with_systemd(false)
        .with_detach(true)
        .build()?;
    container.start()?;
    Ok(container.pid().ok_or("the runtime names no process")?.as_raw())
}

/// Gives the output's pipe to the workload's user, so that it can open `/dev/stdout`.
fn own_pipe(output: &OwnedFd, plan: &Plan) -> io::Result<()> {
    if FileType::from_raw_mode(rustix::fs::fstat(output)?.st_mode) == FileType::Fifo {
        let user = &plan.settings.user;
        let (uid, gid) = (rustix::fs::Uid::from_raw(user.uid), rustix::fs::Gid::from_raw(user.gid));
        rustix::fs::fchown(output, Some(uid), Some(gid))?;
    }
    Ok(())
}

fn null() -> io::Result<OwnedFd> {
    Ok(fs::File::options().read(true).write(true).open("/dev/null")?.into())
}

/// Makes the root what the configuration presumes.
fn prepare(plan: &Plan) -> Result<(), AnyError> {
    // A device file or a set-user-id program in the image must be of no use: with one the workload could ask the
    // secure processor for raw reports.
    let flags = MountFlags::BIND | MountFlags::NODEV | MountFlags::NOSUID;
    rustix::mount::mount_remount(&plan.rootfs, flags, c"").map_err(|error| format!("the root is no mount: {error}"))?;
    // Without capabilities no port below 1024 could be bound; the firewall decides about ports.
    fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0").or_else(absent)?;
    for bind in plan.binds.iter().filter(|bind| bind.access == Access::File) {
        plain_file(&plan.rootfs, &bind.target)?;
    }
    Ok(())
}

fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Makes sure that a plain file stands at `target` in the root, whatever the image has there: often a link into
/// nowhere.
fn plain_file(root: &Path, target: &Path) -> Result<(), AnyError> {
    let wrong = || format!("{} is no place for a file", target.display());
    let (Some(folder), Some(name)) = (target.parent(), target.file_name()) else { return Err(wrong().into()) };
    let root = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let inside = folder.strip_prefix("/").map_err(|_| wrong())?;
    let inside = if inside.as_os_str().is_empty() { Path::new(".") } else { inside };
    let open = || {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat2(&root, inside, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
    };
    let folder = match open() {
        Err(Errno::NOENT) => {
            rustix::fs::mkdirat(&root, inside, Mode::from_raw_mode(0o755))?;
            open()?
        }
        other => other?,
    };
    match rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::RegularFile => return Ok(()),
        Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => return Err(wrong().into()),
        Ok(_) => rustix::fs::unlinkat(&folder, name, AtFlags::empty())?,
        Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(&folder, name, flags, Mode::from_raw_mode(0o644))?;
    Ok(())
}

/// Runs the workload under the system call filters, with the environment of the settings and nothing else.
#[derive(Clone)]
struct Guarded {
    filters: seccomp::Filters,
    command: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Guarded {
    fn of(plan: &Plan) -> Result<Self, AnyError> {
        let split = |entry: &String| {
            let (name, value) = entry.split_once('=').filter(|(name, _)| !name.is_empty())?;
            Some((name.to_owned(), value.to_owned()))
        };
        let environment = plan.settings.environment.iter().map(split).collect::<Option<_>>();
        Ok(Self {
            filters: seccomp::filters()?,
            command: plan.settings.command.clone(),
            environment: environment.ok_or("an entry of the environment has no name")?,
        })
    }

    /// The program as the kernel will look for it, from inside the container.
    fn program(&self) -> Result<PathBuf, String> {
        let name = self.command.first().ok_or("no command")?;
        if name.contains('/') {
            return runnable(Path::new(name)).map(|()| name.into());
        }
        let path = self.environment.iter().find(|(name, _)| name == "PATH").map_or("/bin:/usr/bin", |(_, path)| path);
        let candidates = path.split(':').filter(|folder| !folder.is_empty()).map(|folder| Path::new(folder).join(name));
        let found = candidates.into_iter().find(|candidate| runnable(candidate).is_ok());
        found.ok_or_else(|| format!("`{name}` is in no folder of PATH"))
    }
}

/// Whether this user may run the file.
fn runnable(path: &Path) -> Result<(), String> {
    let refused = |why: String| format!("`{}` cannot be run: {why}", path.display());
    let meta = fs::metadata(path).map_err(|error| refused(error.to_string()))?;
    if !meta.is_file() {
        return Err(refused("it is no file".into()));
    }
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).map_err(|error| refused(error.to_string()))
}

impl Executor for Guarded {
    fn exec(&self, _: &Spec) -> Result<(), ExecutorError> {
        let program = self.program().map_err(ExecutorError::Other)?;
        let mut command = Command::new(program);
        if let Some((name, rest)) = self.command.split_first() {
            command.arg0(name).args(rest);
        }
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.filters.apply().map_err(|error| ExecutorError::Other(error.to_string()))?;
        Err(ExecutorError::Execution(Box::new(command.exec())))
    }

    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        self.program().map(drop).map_err(ExecutorValidationError::ArgValidationError)
    }

    /// The environment is given with `exec`; this process' own is empty and stays so.
    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }
}

/// An error and its causes, without the doubles that the runtime's transparent errors make.
fn line(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text.chars().take(400).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_in_the_place_of_a_file_is_replaced_and_never_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(&outside, "untouched").unwrap();
        symlink(&outside, root.join("etc/resolv.conf")).unwrap();
        symlink("/nowhere/at/all", root.join("etc/hosts")).unwrap();
        for target in ["/etc/resolv.conf", "/etc/hosts", "/new/file"] {
            plain_file(&root, Path::new(target)).unwrap();
            let meta = fs::symlink_metadata(root.join(target.trim_start_matches('/'))).unwrap();
            assert!(meta.is_file() && meta.len() == 0, "{target}");
        }
        assert_eq!(fs::read_to_string(&outside).unwrap(), "untouched");
        // A folder that is a link stays below the root.
        symlink("/etc", root.join("linked")).unwrap();
        plain_file(&root, Path::new("/linked/third")).unwrap();
        assert!(root.join("etc/third").is_file());
        fs::create_dir(root.join("etc/folder")).unwrap();
        assert!(plain_file(&root, Path::new("/etc/folder")).is_err());
    }

    #[test]
    fn a_command_is_looked_for_in_the_settings_path() {
        let guarded = |command: &str| Guarded {
            filters: seccomp::filters().unwrap(),
            command: vec![command.into()],
            environment: vec![("PATH".into(), "/nonexistent:/bin".into())],
        };
        assert_eq!(guarded("sh").program().unwrap(), Path::new("/bin/sh"));
        assert_eq!(guarded("/bin/sh").program().unwrap(), Path::new("/bin/sh"));
        assert!(guarded("no-such-program").program().unwrap_err().contains("PATH"));
        assert!(guarded("/etc/passwd").program().unwrap_err().contains("cannot be run"));
    }
}
