//! `site.json`: where a workload runs and for whom. Its SHA-256 is HOST_DATA, so the guest compares before it parses.
//!
//! The file's length is a multiple of 512 bytes (padded with line ends), because it travels as a raw drive and the
//! digest is over the drive's bytes. It holds no secret.

use crate::volume::Geometry;
use crate::{Digest256, HostData};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// Largest `site.json`.
pub const MAX_LENGTH: usize = 1 << 20;
/// The file is padded to a multiple of this.
pub const SECTOR: usize = 512;

/// A `site.json` that the guest or the broker cannot use.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// Not the JSON wanted.
    #[error("site.json is not valid")]
    Json(#[from] serde_json::Error),
    /// Too long.
    #[error("site.json has {got} bytes, at most {MAX_LENGTH} are read")]
    Length {
        /// Length found.
        got: usize,
    },
    /// A version that this program does not know.
    #[error("site.json is version {got}, this program reads version 1")]
    Version {
        /// Version found.
        got: u32,
    },
}

/// What a guest needs to know about its site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Always 1.
    pub version: u32,
    /// Name of the site.
    pub site: String,
    /// Name of the project; first segment of its resources.
    pub project: String,
    /// The broker that holds the keys. Without one the bundle can be inspected and measured, but not started.
    pub broker: Option<Broker>,
    /// How the guest gets its address.
    pub network: Network,
    /// What the firewall lets through.
    pub ports: Ports,
    /// Names for `/etc/hosts`.
    pub hosts: BTreeMap<String, IpAddr>,
    /// Resource path of the site's volume key.
    pub volume_key: String,
    /// How to open the `user_config` drive, where there is one.
    pub user_config: Option<Geometry>,
    /// Resources that the workload may read through the agent API.
    pub resources: Vec<String>,
    /// When to attest again.
    pub attestation: Attestation,
    /// Issuers named in the workload file, handed on to the workload; the guest does not act on them.
    pub issuers: Vec<Issuer>,
}

/// A broker and the one identity the guest accepts there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// `https://HOST:PORT`.
    pub url: String,
    /// SHA-256 of the SubjectPublicKeyInfo (DER) of the broker's offline identity, which issues its TLS leaves.
    pub identity: Digest256,
}

/// How the guest gets its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "lowercase", deny_unknown_fields)]
pub enum Network {
    /// DHCP on the first network card.
    Dhcp,
    /// Fixed.
    Static {
        /// Address and prefix length, as `10.0.0.5/24`.
        address: String,
        /// Default gateway.
        gateway: IpAddr,
        /// Name servers.
        dns: Vec<IpAddr>,
    },
}

/// Ports the firewall lets through. DHCP, the leased name servers and the broker are always open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    /// TCP, from outside.
    pub inbound: Vec<u16>,
    /// TCP and UDP, to outside.
    pub outbound: Vec<u16>,
}

/// When to attest again, and how long the broker may be out of reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// Seconds between two attestations.
    pub check_frequency: u64,
    /// Seconds without an answer from the broker after which the workload is stopped.
    pub grace: u64,
}

/// A token issuer of the workload file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// Its id.
    pub id: String,
    /// Class path.
    pub path: String,
    /// Seconds a token is valid.
    pub token_expiration: Option<u64>,
}

impl Site {
    /// Parses the bytes of a `site.json`. The guest has compared their digest with HOST_DATA before it calls this.
    pub fn parse(bytes: &[u8]) -> Result<Self, SiteError> {
        if bytes.len() > MAX_LENGTH {
            return Err(SiteError::Length { got: bytes.len() });
        }
        let site: Self = serde_json::from_slice(bytes)?;
        if site.version != 1 {
            return Err(SiteError::Version { got: site.version });
        }
        Ok(site)
    }

    /// Writes the file: readable, and padded to whole sectors.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SiteError> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        let padded = bytes.len().saturating_add(1).checked_next_multiple_of(SECTOR).unwrap_or(bytes.len());
        bytes.resize(padded, b'\n');
        Ok(bytes)
    }
}

/// Whether a text is a host name (RFC 1123): labels of 1 to 63 letters, digits and inner dashes.
pub fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.strip_suffix('.').unwrap_or(name).split('.').all(label)
}

/// Host and port of `https://HOST:PORT`, with or without a final slash. The host is a name or an IPv4 address: the guest's
/// firewall lets no IPv6 through.
pub fn host_and_port(url: &str) -> Option<(&str, u16)> {
    let rest = url.strip_prefix("https://")?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = rest.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let sound = host.parse::<Ipv4Addr>().is_ok() || is_host_name(host);
    sound.then_some((host, port))
}

/// HOST_DATA of a guest that is given these bytes as its `site.json`.
pub fn host_data(site_json: &[u8]) -> HostData {
    HostData(Digest256::of(site_json).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_round_trips_and_fills_whole_sectors() {
        let site = Site {
            version: 1,
            site: "site-1".into(),
            project: "example".into(),
            broker: Some(Broker { url: "https://10.0.2.2:8999".into(), identity: Digest256([1; 32]) }),
            network: Network::Dhcp,
            ports: Ports { inbound: vec![8080], outbound: vec![443] },
            hosts: BTreeMap::from([("server1".into(), "10.0.0.7".parse().unwrap())]),
            volume_key: "example/volume-key/site-1".into(),
            user_config: None,
            resources: vec![],
            attestation: Attestation { check_frequency: 120, grace: 300 },
            issuers: vec![],
        };
        let bytes = site.to_bytes().unwrap();
        assert_eq!(bytes.len() % SECTOR, 0);
        assert_eq!(Site::parse(&bytes).unwrap(), site);
        let later = String::from_utf8(bytes).unwrap().replacen("\"version\": 1", "\"version\": 2", 1);
        assert!(matches!(Site::parse(later.as_bytes()), Err(SiteError::Version { got: 2 })));
    }

    #[test]
    fn broker_urls_have_one_form() {
        assert_eq!(host_and_port("https://10.0.2.2:8999"), Some(("10.0.2.2", 8999)));
        assert_eq!(host_and_port("https://broker.example:443/"), Some(("broker.example", 443)));
        for url in [
            "http://a:1",
            "https://a",
            "https://a:0",
            "https://a:70000",
            "https://u@a:1",
            "https://a/b:1",
            "https://[::1]:1",
            "",
        ] {
            assert_eq!(host_and_port(url), None, "{url}");
        }
    }

    #[test]
    fn host_names_are_told_from_other_texts() {
        for name in ["a", "a-b.example", "nfs-server.example.com", "a.example."] {
            assert!(is_host_name(name), "{name}");
        }
        for name in ["", ".", "-a", "a-", "a..b", "a b", "a/b", "a\0", &"a".repeat(64)] {
            assert!(!is_host_name(name), "{name}");
        }
    }
}
