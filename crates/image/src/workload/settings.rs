//! From a workload file and an image to what the guest is told: the settings (same for every site) and the site file.

use super::Workload;
use crate::archive::ImageConfig;
use claims::site::{Attestation, Broker, Issuer, Site};
use claims::volume::Geometry;
use claims::workload::{Settings, User};

/// Why an image and a workload file together cannot be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsProblem {
    /// Neither says what to run.
    #[error("the image has neither entrypoint nor command; add `command:` to the workload file")]
    NoCommand,
    /// A signal that Linux does not have.
    #[error("the image asks for the stop signal `{name}`, which is none of Linux's")]
    Signal {
        /// Its name.
        name: String,
    },
    /// An environment entry without `=`, or with NUL.
    #[error("the image's environment holds `{entry}`, which is not NAME=value")]
    Environment {
        /// The entry.
        entry: String,
    },
    /// A working folder that is not absolute.
    #[error("the image's working folder `{folder}` is not an absolute path")]
    Folder {
        /// The folder.
        folder: String,
    },
}

impl Workload {
    /// What to start, as whom: the same for every site, and measured with the root volume.
    pub fn settings(&self, image: &ImageConfig, user: User) -> Result<Settings, SettingsProblem> {
        let command = match &self.command {
            Some(command) => command.clone(),
            None => image.entrypoint.iter().chain(&image.command).cloned().collect(),
        };
        if command.first().is_none_or(String::is_empty) {
            return Err(SettingsProblem::NoCommand);
        }
        let folder = if image.folder.is_empty() { "/".to_owned() } else { image.folder.clone() };
        if !folder.starts_with('/') || folder.contains('\0') {
            return Err(SettingsProblem::Folder { folder });
        }
        Ok(Settings {
            version: 1,
            name: self.name.clone(),
            role: self.role.clone(),
            command,
            environment: self.merged_environment(image)?,
            folder,
            user,
            stop_signal: stop_signal(&image.stop_signal)?,
            limits: self.limits.clone(),
            log: self.workload_log,
            user_data: self.user_data,
            gpu: self.gpu,
        })
    }

    /// Where it runs and for whom: its digest is HOST_DATA.
    pub fn site(&self, broker: Option<Broker>, user_config: Option<Geometry>) -> Site {
        let issuer = |entry: &super::IssuerEntry| Issuer {
            id: entry.id.clone(),
            path: entry.path.clone(),
            token_expiration: entry.token_expiration,
        };
        Site {
            version: 1,
            site: self.site.clone(),
            project: self.project.clone(),
            broker: broker.or_else(|| self.broker.clone()),
            network: self.network.clone(),
            ports: self.ports.clone(),
            hosts: self.hosts.clone(),
            volume_key: self.volume_key_path(),
            user_config,
            resources: self.resources.clone(),
            attestation: Attestation { check_frequency: self.check_frequency, grace: self.grace },
            issuers: self.issuers.iter().map(issuer).collect(),
        }
    }

    /// Resource path of the site's volume key.
    pub fn volume_key_path(&self) -> String {
        format!("{}/volume-key/{}", self.project, self.site)
    }

    /// The image's environment with the workload file's over it, in the image's order, then by name.
    fn merged_environment(&self, image: &ImageConfig) -> Result<Vec<String>, SettingsProblem> {
        let mut merged: Vec<(String, String)> = Vec::new();
        let mut set = |name: &str, value: &str| match merged.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => merged.push((name.to_owned(), value.to_owned())),
        };
        for entry in &image.environment {
            let pair = entry.split_once('=').filter(|(name, _)| !name.is_empty() && !entry.contains('\0'));
            let Some((name, value)) = pair else {
                return Err(SettingsProblem::Environment { entry: entry.clone() });
            };
            set(name, value);
        }
        self.environment.iter().for_each(|(name, value)| set(name, value));
        if merged.iter().all(|(name, _)| name != "PATH") {
            merged.push(("PATH".to_owned(), DEFAULT_PATH.to_owned()));
        }
        Ok(merged.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
    }
}

fn stop_signal(name: &str) -> Result<u8, SettingsProblem> {
    if name.is_empty() {
        return Ok(SIGTERM);
    }
    let bare = name.strip_prefix("SIG").unwrap_or(name);
    let known = SIGNALS.iter().find(|(signal, _)| *signal == bare).map(|(_, number)| *number);
    let number = known.or_else(|| bare.parse().ok().filter(|number| (1..=64).contains(number)));
    number.or_else(|| realtime(bare)).ok_or(SettingsProblem::Signal { name: name.to_owned() })
}

/// `RTMIN+3`, `RTMAX-2`.
fn realtime(name: &str) -> Option<u8> {
    let number = match name.strip_prefix("RTMIN") {
        Some("") => 34,
        Some(rest) => 34_u8.checked_add(rest.strip_prefix('+')?.parse().ok()?)?,
        None => match name.strip_prefix("RTMAX")? {
            "" => 64,
            rest => 64_u8.checked_sub(rest.strip_prefix('-')?.parse().ok()?)?,
        },
    };
    (34..=64).contains(&number).then_some(number)
}

const SIGTERM: u8 = 15;
/// What Docker gives a container whose image says nothing.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Linux's signals on x86-64.
const SIGNALS: &[(&str, u8)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];
