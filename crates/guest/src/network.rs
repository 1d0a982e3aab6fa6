//! The network: an address, name servers, hosts entries and the firewall, before anything else talks.
//!
//! *Takes* the network settings of `site.json`, and what a DHCP server says.
//! *Guarantees* that the firewall stands before the card comes up, and opens only what `site.json` lists, DHCP, the
//! leased name servers and the broker.
//! *Does not check* who is on the other side.

pub mod link;
pub mod netlink;

use crate::dhcp::{self, Lease, Reply, Transaction};
use crate::dns::{DnsError, Resolver};
use crate::firewall::{FirewallError, Rules};
use claims::Code;
use claims::site::{Network as Settings, Site, host_and_port, is_host_name};
use link::{Address, Card};
use netlink::NetlinkError;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Files for the container: `/etc/hosts` and `/etc/resolv.conf`.
pub const ETC: &str = "/run/etc";

/// The guest's network.
#[derive(Debug)]
pub struct Network {
    card: Card,
    address: Address,
    lease: Mutex<Option<Lease>>,
    resolver: Resolver,
    rules: Mutex<Rules>,
    broker: Option<(String, u16)>,
}

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// No network card is attached.
    #[error("no network card is attached")]
    NoCard,
    /// Nobody leased an address.
    #[error("no address by DHCP within {} s", PATIENCE.as_secs())]
    NoLease,
    /// The static address of `site.json` is malformed.
    #[error("the static address, gateway or name server in site.json is not a usable IPv4 address")]
    StaticAddress,
    /// The broker's URL in `site.json` is malformed.
    #[error("the broker's URL in site.json is not https://HOST:PORT")]
    BrokerUrl,
    /// The broker's name has no address.
    #[error("the broker's name has no address")]
    BrokerName(#[source] DnsError),
    /// A call failed.
    #[error("{doing} failed")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What happened.
        source: std::io::Error,
    },
    /// The kernel refused a setting.
    #[error("the kernel refused a network setting")]
    Netlink(#[from] NetlinkError),
    /// The firewall is not in force.
    #[error("the firewall is not in force")]
    Firewall(#[from] FirewallError),
}

impl NetworkError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::BrokerUrl | Self::BrokerName(_) => Code::Broker,
            _ => Code::Network,
        }
    }
}

impl Network {
    /// Firewall, address, name servers, hosts entries, in this order.
    pub fn bring_up(site: &Site) -> Result<Self, NetworkError> {
        Rules::closed().apply()?;
        let broker = match &site.broker {
            Some(broker) => Some(host_and_port(&broker.url).ok_or(NetworkError::BrokerUrl)?),
            None => None,
        };
        let broker = broker.map(|(host, port)| (host.to_owned(), port));
        let card = link::first_card().ok_or(NetworkError::NoCard)?;
        link::up(LOOPBACK)?;
        link::up(card.index)?;
        let (address, gateway, servers, lease) = match &site.network {
            Settings::Dhcp => {
                let lease = lease_address(&card)?;
                let servers = lease.dns.iter().copied().map(IpAddr::V4).collect();
                (lease.address, lease.gateway, servers, Some(lease))
            }
            Settings::Static { address, gateway, dns } => {
                let address = Address::parse(address).ok_or(NetworkError::StaticAddress)?;
                let IpAddr::V4(gateway) = gateway else { return Err(NetworkError::StaticAddress) };
                (address, Some(*gateway), dns.clone(), None)
            }
        };
        link::configure(card.index, address, gateway)?;
        let resolver = Resolver { hosts: site.hosts.clone(), servers: servers.clone() };
        write_etc(site, &servers)?;
        let rules = Rules { ports: site.ports.clone(), dns: servers, broker: Vec::new() };
        rules.apply()?;
        Ok(Self { card, address, lease: Mutex::new(lease), resolver, rules: Mutex::new(rules), broker })
    }

    /// For the broker's client: [`Network::broker_addresses`] for the broker itself, and nothing for anybody else.
    pub fn resolve(&self, host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        let ours =
            self.broker.as_ref().is_some_and(|(name, number)| name.eq_ignore_ascii_case(host) && *number == port);
        if !ours {
            return Err(std::io::ErrorKind::PermissionDenied.into());
        }
        self.broker_addresses().map_err(std::io::Error::other)
    }

    /// The broker's addresses now, with the firewall open for them. Looks the name up each time, because an address
    /// can change while a guest runs.
    pub fn broker_addresses(&self) -> Result<Vec<SocketAddr>, NetworkError> {
        let (host, port) = self.broker.as_ref().ok_or(NetworkError::BrokerUrl)?;
        let found = self.resolver.lookup(host).map_err(NetworkError::BrokerName)?;
        let addresses: Vec<SocketAddr> =
            found.into_iter().filter(IpAddr::is_ipv4).map(|address| SocketAddr::new(address, *port)).collect();
        if addresses.is_empty() {
            return Err(NetworkError::BrokerName(DnsError::Unknown));
        }
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        if rules.broker != addresses {
            rules.broker.clone_from(&addresses);
            rules.apply()?;
        }
        Ok(addresses)
    }

    /// The guest's address.
    pub fn address(&self) -> Ipv4Addr {
        self.address.address
    }

    /// Looks names up.
    pub fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// When the lease wants to be renewed; none for a static address.
    pub fn renewal_interval(&self) -> Option<Duration> {
        let lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        lease.as_ref().map(|lease| lease.duration / 2)
    }

    /// Asks to keep the address. False when nobody answered, or the answer is another address: the guest keeps what
    /// it has, and asks again later.
    pub fn renew(&self) -> bool {
        let current = self.lease.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(current) = current else { return true };
        let Ok((socket, transaction)) = dhcp_socket(&self.card) else { return false };
        match exchange(&socket, &transaction, &transaction.renew(&current), RETRY) {
            Ok(Some(Reply::Acknowledged(lease))) if lease.address == current.address => {
                *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = Some(lease);
                true
            }
            _ => false,
        }
    }
}

const LOOPBACK: u32 = 1;
/// How long an address is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_secs(2);

fn lease_address(card: &Card) -> Result<Lease, NetworkError> {
    let io = |source| NetworkError::Io { doing: "asking for an address", source };
    let (socket, transaction) = dhcp_socket(card)?;
    let started = crate::console::uptime();
    while crate::console::uptime().saturating_sub(started) < PATIENCE {
        let Some(Reply::Offer(offer)) = exchange(&socket, &transaction, &transaction.discover(), RETRY).map_err(io)?
        else {
            continue;
        };
        let answer = exchange(&socket, &transaction, &transaction.request(&offer), RETRY).map_err(io)?;
        if let Some(Reply::Acknowledged(lease)) = answer {
            return Ok(lease);
        }
    }
    Err(NetworkError::NoLease)
}

fn dhcp_socket(card: &Card) -> Result<(UdpSocket, Transaction), NetworkError> {
    let io = |source| NetworkError::Io { doing: "opening the DHCP port", source };
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).map_err(io)?;
    socket.set_broadcast(true).map_err(io)?;
    socket.bind_device(Some(card.name.as_bytes())).map_err(io)?;
    let port = SocketAddr::from((Ipv4Addr::UNSPECIFIED, dhcp::CLIENT_PORT));
    socket.bind(&port.into()).map_err(io)?;
    let mut id = [0; 4];
    aws_lc_rs::rand::fill(&mut id).map_err(|_| io(std::io::ErrorKind::Other.into()))?;
    Ok((socket.into(), Transaction { id: u32::from_ne_bytes(id), hardware: card.hardware }))
}

/// Sends a message, and waits for a reply to this transaction.
fn exchange(
    socket: &UdpSocket,
    transaction: &Transaction,
    message: &[u8],
    patience: Duration,
) -> std::io::Result<Option<Reply>> {
    // A card that just came up may not send yet; the next round does.
    if socket.send_to(message, (Ipv4Addr::BROADCAST, dhcp::SERVER_PORT)).is_err() {
        std::thread::sleep(Duration::from_millis(50));
        return Ok(None);
    }
    let started = crate::console::uptime();
    let mut buffer = [0; dhcp::MAX_PACKET + 1];
    loop {
        let left = patience.saturating_sub(crate::console::uptime().saturating_sub(started));
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv(&mut buffer) {
            Ok(length) => {
                if let Some(reply) = transaction.read(buffer.get(..length).unwrap_or_default()) {
                    return Ok(Some(reply));
                }
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
}

fn write_etc(site: &Site, servers: &[IpAddr]) -> Result<(), NetworkError> {
    let mut hosts = String::from("127.0.0.1 localhost\n");
    for (name, address) in &site.hosts {
        // A name with a blank or line end would be more than one entry.
        if is_host_name(name) {
            hosts.push_str(&format!("{address} {name}\n"));
        }
    }
    let resolv: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    let write = || {
        std::fs::create_dir_all(ETC)?;
        std::fs::write(format!("{ETC}/hosts"), hosts)?;
        std::fs::write(format!("{ETC}/resolv.conf"), resolv)
    };
    write().map_err(|source| NetworkError::Io { doing: "writing hosts and resolv.conf", source })
}
