//! Interfaces, addresses and the default route, over rtnetlink (linux/rtnetlink.h).

use super::netlink::{ACK, Batch, CREATE, NetlinkError, REPLACE, exchange};
use std::net::Ipv4Addr;
use std::path::Path;

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Its name, as `eth0`.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Its hardware address.
    pub hardware: [u8; 6],
}

/// An IPv4 address with its network's prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub address: Ipv4Addr,
    /// Leading bits of the network, 1 to 32.
    pub prefix: u8,
}

impl Address {
    /// Parses `10.0.0.5/24`.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let address: Ipv4Addr = address.parse().ok()?;
        let prefix: u8 = prefix.parse().ok().filter(|prefix| (1..=32).contains(prefix))?;
        usable(address).then_some(Self { address, prefix })
    }
}

/// Whether a host can have this address.
pub fn usable(address: Ipv4Addr) -> bool {
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || address.is_broadcast())
}

/// The first Ethernet card, by index.
pub fn first_card() -> Option<Card> {
    first_card_in(Path::new("/sys/class/net"))
}

fn first_card_in(folder: &Path) -> Option<Card> {
    let mut cards: Vec<Card> = std::fs::read_dir(folder)
        .ok()?
        .flatten()
        .filter_map(|entry| {
            let read = |file: &str| std::fs::read_to_string(entry.path().join(file)).ok();
            let ethernet = read("type")?.trim() == "1" && entry.path().join("device").exists();
            let index = read("ifindex")?.trim().parse().ok()?;
            let hardware = hardware_address(read("address")?.trim())?;
            let name = entry.file_name().into_string().ok()?;
            ethernet.then_some(Card { name, index, hardware })
        })
        .collect();
    cards.sort_by_key(|card| card.index);
    cards.into_iter().next()
}

fn hardware_address(text: &str) -> Option<[u8; 6]> {
    let bytes: Vec<u8> = text.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect::<Option<_>>()?;
    bytes.try_into().ok()
}

/// Brings an interface up.
pub fn up(index: u32) -> Result<(), NetlinkError> {
    let mut batch = Batch::default();
    let mut header = vec![0, 0, 0, 0];
    header.extend_from_slice(&index.to_ne_bytes());
    header.extend_from_slice(&IFF_UP.to_ne_bytes());
    header.extend_from_slice(&IFF_UP.to_ne_bytes());
    batch.message(RTM_NEWLINK, ACK, &header, |_| {});
    exchange(None, &batch)
}

/// Gives an interface an address, and routes everything else through `gateway`.
pub fn configure(index: u32, address: Address, gateway: Option<Ipv4Addr>) -> Result<(), NetlinkError> {
    exchange(None, &configuration(index, address, gateway))
}

fn configuration(index: u32, address: Address, gateway: Option<Ipv4Addr>) -> Batch {
    let mut batch = Batch::default();
    let [a, b, c, d] = index.to_ne_bytes();
    let octets = address.address.octets();
    let mask = u32::MAX.checked_shl(32u32.saturating_sub(u32::from(address.prefix))).unwrap_or(0);
    let broadcast = (u32::from(address.address) | !mask).to_be_bytes();
    batch.message(RTM_NEWADDR, CREATE | REPLACE | ACK, &[AF_INET, address.prefix, 0, 0, a, b, c, d], |message| {
        message.put(IFA_LOCAL, &octets);
        message.put(IFA_ADDRESS, &octets);
        message.put(IFA_BROADCAST, &broadcast);
    });
    if let Some(gateway) = gateway {
        let header = [AF_INET, 0, 0, 0, TABLE_MAIN, PROTOCOL_STATIC, SCOPE_UNIVERSE, UNICAST, ON_LINK, 0, 0, 0];
        batch.message(RTM_NEWROUTE, CREATE | REPLACE | ACK, &header, |message| {
            message.put(RTA_GATEWAY, &gateway.octets());
            message.put(RTA_OIF, &index.to_ne_bytes());
        });
    }
    batch
}

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const IFF_UP: u32 = 1;
const AF_INET: u8 = 2;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const TABLE_MAIN: u8 = 254;
const PROTOCOL_STATIC: u8 = 4;
const SCOPE_UNIVERSE: u8 = 0;
const UNICAST: u8 = 1;
const ON_LINK: u8 = 4; // RTNH_F_ONLINK: the gateway may lie outside of the prefix

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_strictly() {
        let address = Address { address: Ipv4Addr::new(10, 0, 0, 5), prefix: 24 };
        assert_eq!(Address::parse("10.0.0.5/24"), Some(address));
        for text in ["10.0.0.5", "10.0.0.5/0", "10.0.0.5/33", "127.0.0.1/8", "10.0.0.5/24/1", "::1/64", ""] {
            assert_eq!(Address::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_broadcast_address_follows_from_the_prefix() {
        let batch = configuration(2, Address { address: Ipv4Addr::new(10, 0, 2, 15), prefix: 24 }, None);
        assert!(batch.bytes().windows(8).any(|bytes| bytes == [8, 0, 4, 0, 10, 0, 2, 255]));
        let host = configuration(2, Address { address: Ipv4Addr::new(10, 0, 2, 15), prefix: 32 }, None);
        assert!(host.bytes().windows(8).any(|bytes| bytes == [8, 0, 4, 0, 10, 0, 2, 15]));
    }

    #[test]
    fn hardware_addresses_have_six_parts() {
        assert_eq!(hardware_address("52:54:00:12:34:56"), Some([0x52, 0x54, 0, 0x12, 0x34, 0x56]));
        assert_eq!(hardware_address("52:54:00:12:34"), None);
    }
}
