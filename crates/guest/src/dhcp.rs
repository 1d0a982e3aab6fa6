//! DHCP (RFC 2131, 2132): the messages of a client that asks for one address.
//!
//! *Takes* packets from anybody on the network.
//! *Guarantees* that a lease taken from a packet belongs to our transaction and card, and holds only addresses that
//! a host can have. Options that the guest does not use are skipped, whatever they hold.
//! *Does not check* who answered: the host runs the network, and no security decision rests on an address.

use crate::network::link::{Address, usable};
use std::net::Ipv4Addr;
use std::time::Duration;

/// Port that a client listens on.
pub const CLIENT_PORT: u16 = 68;
/// Port that servers listen on.
pub const SERVER_PORT: u16 = 67;
/// Packets above this length are not read.
pub const MAX_PACKET: usize = 1500;

/// Our side of one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transaction {
    /// Random.
    pub id: u32,
    /// The card's address.
    pub hardware: [u8; 6],
}

/// What a server offers or has leased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Address and prefix.
    pub address: Address,
    /// The server, to be named when taking its offer.
    pub server: Ipv4Addr,
    /// Default gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers, at most three.
    pub dns: Vec<Ipv4Addr>,
    /// How long it holds.
    pub duration: Duration,
}

/// A server's message to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// An offer.
    Offer(Lease),
    /// The address is ours.
    Acknowledged(Lease),
    /// The address is not to be used.
    Refused,
}

impl Transaction {
    /// Asks all servers for an offer.
    pub fn discover(&self) -> Vec<u8> {
        self.message(1, Ipv4Addr::UNSPECIFIED, &[])
    }

    /// Takes an offer.
    pub fn request(&self, offer: &Lease) -> Vec<u8> {
        let [a, b, c, d] = offer.address.address.octets();
        let [e, f, g, h] = offer.server.octets();
        self.message(3, Ipv4Addr::UNSPECIFIED, &[50, 4, a, b, c, d, 54, 4, e, f, g, h])
    }

    /// Asks to keep the address (RFC 2131 4.3.2: no server id, no requested address).
    pub fn renew(&self, lease: &Lease) -> Vec<u8> {
        self.message(3, lease.address.address, &[])
    }

    /// Reads a packet; none if it is malformed or not for us.
    pub fn read(&self, packet: &[u8]) -> Option<Reply> {
        let (head, options) = packet.split_at_checked(HEAD)?;
        let ours = head.first() == Some(&2)
            && head.get(1..3) == Some(&[1, 6])
            && head.get(4..8) == Some(&self.id.to_be_bytes())
            && head.get(28..34) == Some(&self.hardware)
            && head.get(236..240) == Some(&COOKIE);
        if !ours || packet.len() > MAX_PACKET {
            return None;
        }
        let options = Options::read(options)?;
        let lease = || {
            let address: [u8; 4] = head.get(16..20)?.try_into().ok()?;
            options.lease(Ipv4Addr::from(address))
        };
        match options.kind? {
            2 => Some(Reply::Offer(lease()?)),
            5 => Some(Reply::Acknowledged(lease()?)),
            6 => Some(Reply::Refused),
            _ => None,
        }
    }

    fn message(&self, kind: u8, client: Ipv4Addr, options: &[u8]) -> Vec<u8> {
        let mut packet = vec![1, 1, 6, 0];
        packet.extend_from_slice(&self.id.to_be_bytes());
        packet.extend_from_slice(&[0, 0, 0x80, 0]); // answer by broadcast: we may have no address yet
        packet.extend_from_slice(&client.octets());
        packet.resize(28, 0);
        packet.extend_from_slice(&self.hardware);
        packet.resize(236, 0);
        packet.extend_from_slice(&COOKIE);
        packet.extend_from_slice(&[53, 1, kind]);
        packet.extend_from_slice(options);
        packet.extend_from_slice(&[55, 4, 1, 3, 6, 51, 255]);
        packet.resize(300, 0);
        packet
    }
}

const HEAD: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const MIN_LEASE: u64 = 60;
const MAX_DNS: usize = 3;

#[derive(Debug, Default)]
struct Options {
    kind: Option<u8>,
    mask: Option<u32>,
    gateway: Option<Ipv4Addr>,
    dns: Vec<Ipv4Addr>,
    seconds: Option<u32>,
    server: Option<Ipv4Addr>,
}

impl Options {
    /// None when an option runs past the packet's end.
    fn read(mut bytes: &[u8]) -> Option<Self> {
        let mut options = Self::default();
        while let Some((&code, rest)) = bytes.split_first() {
            match code {
                0 => bytes = rest,
                255 => break,
                _ => {
                    let (&length, rest) = rest.split_first()?;
                    let (value, rest) = rest.split_at_checked(usize::from(length))?;
                    options.take(code, value)?;
                    bytes = rest;
                }
            }
        }
        Some(options)
    }

    fn take(&mut self, code: u8, value: &[u8]) -> Option<()> {
        let words = || value.chunks_exact(4).filter_map(|word| <[u8; 4]>::try_from(word).ok());
        let first = || words().next();
        match code {
            1 => self.mask = Some(u32::from_be_bytes(first()?)),
            3 => self.gateway = Some(first()?.into()),
            6 => self.dns = words().map(Ipv4Addr::from).filter(|server| usable(*server)).take(MAX_DNS).collect(),
            51 => self.seconds = Some(u32::from_be_bytes(first()?)),
            53 => self.kind = value.first().copied(),
            54 => self.server = Some(first()?.into()),
            _ => {}
        }
        Some(())
    }

    fn lease(&self, address: Ipv4Addr) -> Option<Lease> {
        let mask = self.mask?;
        let prefix = u8::try_from(mask.leading_ones()).ok().filter(|prefix| (1..=32).contains(prefix))?;
        let contiguous = mask.count_ones() == mask.leading_ones();
        let gateway = self.gateway.filter(|gateway| usable(*gateway));
        let seconds = u64::from(self.seconds.unwrap_or(u32::MAX)).max(MIN_LEASE);
        (contiguous && usable(address)).then(|| Lease {
            address: Address { address, prefix },
            server: self.server.unwrap_or(Ipv4Addr::UNSPECIFIED),
            gateway,
            dns: self.dns.clone(),
            duration: Duration::from_secs(seconds),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Transaction = Transaction { id: 0x0102_0304, hardware: [2, 0, 0, 0, 0, 1] };

    fn answer(kind: u8, options: &[u8]) -> Vec<u8> {
        let mut packet = OURS.message(kind, Ipv4Addr::UNSPECIFIED, &[]);
        packet[0] = 2;
        packet[16..20].copy_from_slice(&[10, 0, 2, 15]);
        packet.truncate(HEAD);
        packet.extend_from_slice(&[53, 1, kind]);
        packet.extend_from_slice(options);
        packet.push(255);
        packet
    }

    const USUAL: &[u8] = &[
        1, 4, 255, 255, 255, 0, 3, 4, 10, 0, 2, 2, 6, 8, 10, 0, 2, 3, 127, 0, 0, 1, 51, 4, 0, 0, 14, 16, 54, 4, 10, 0,
        2, 2,
    ];

    #[test]
    fn an_offer_is_read() {
        let lease = Lease {
            address: Address { address: Ipv4Addr::new(10, 0, 2, 15), prefix: 24 },
            server: Ipv4Addr::new(10, 0, 2, 2),
            gateway: Some(Ipv4Addr::new(10, 0, 2, 2)),
            dns: vec![Ipv4Addr::new(10, 0, 2, 3)],
            duration: Duration::from_secs(3600),
        };
        assert_eq!(OURS.read(&answer(2, USUAL)), Some(Reply::Offer(lease.clone())));
        assert_eq!(OURS.read(&answer(5, USUAL)), Some(Reply::Acknowledged(lease)));
        assert_eq!(OURS.read(&answer(6, &[])), Some(Reply::Refused));
    }

    #[test]
    fn packets_of_others_and_damaged_ones_are_skipped() {
        let good = answer(2, USUAL);
        for at in [0, 1, 2, 4, 7, 28, 33, 236, 239] {
            let mut other = good.clone();
            other[at] ^= 1;
            assert_eq!(OURS.read(&other), None, "byte {at}");
        }
        for length in 0..HEAD + 3 {
            assert_eq!(OURS.read(&good[..length]), None, "length {length}");
        }
        let holes_in_mask = answer(2, &[1, 4, 255, 0, 255, 0]);
        assert_eq!(OURS.read(&holes_in_mask), None);
        assert_eq!(OURS.read(&answer(2, &[6, 200, 1])), None);
        assert_eq!(OURS.read(&[good, vec![0; 2000]].concat()), None);
    }

    proptest::proptest! {
        #[test]
        fn no_packet_panics(options in proptest::collection::vec(0u8.., 0..300)) {
            let _ = OURS.read(&answer(2, &options));
            let _ = OURS.read(&options);
        }
    }
}
