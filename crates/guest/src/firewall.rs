//! The firewall: nftables rules for both directions, put in place atomically.
//!
//! *Takes* what `site.json` opens, the leased name servers and the broker's addresses.
//! *Guarantees* policy drop for incoming, outgoing and forwarded packets; IPv6 is dropped whole; refused outgoing
//! traffic is rejected, so that a program sees it at once; replacing the rules leaves no moment without rules.
//! *Does not check* who is behind an address: the broker's identity is checked by TLS.

use crate::network::netlink::{ACK, APPEND, Attributes, Batch, CREATE, NetlinkError, exchange};
use claims::Code;
use claims::site::Ports;
use rustix::io::Errno;
use rustix::net::netlink;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// What is let through, besides loopback, established connections and DHCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Ports of `site.json`.
    pub ports: Ports,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// The broker.
    pub broker: Vec<SocketAddr>,
}

/// Why the rules could not be put in place.
#[derive(Debug, thiserror::Error)]
#[error("the kernel does not take the firewall's rules")]
pub struct FirewallError(#[from] NetlinkError);

impl FirewallError {
    /// The stable code.
    pub fn code(&self) -> Code {
        Code::Network
    }
}

impl Rules {
    /// Rules for the time before the guest has an address: DHCP only.
    pub fn closed() -> Self {
        Self { ports: Ports { inbound: Vec::new(), outbound: Vec::new() }, dns: Vec::new(), broker: Vec::new() }
    }

    /// Replaces the rules in force by these. A kernel without the reject module drops what it should reject.
    pub fn apply(&self) -> Result<(), FirewallError> {
        let result = match exchange(Some(netlink::NETFILTER), &self.batch(Verdict::Reject)) {
            Err(NetlinkError::Refused { source: Errno::NOENT | Errno::OPNOTSUPP, .. }) => {
                exchange(Some(netlink::NETFILTER), &self.batch(Verdict::Drop))
            }
            result => result,
        };
        Ok(result?)
    }

    /// The netlink messages of these rules; `refused` is what becomes of outgoing traffic that no rule lets through.
    fn batch(&self, refused: Verdict) -> Batch {
        let mut batch = Batch::default();
        batch.message(BATCH_BEGIN, 0, &generic(0, NFTABLES), |_| {});
        // New, delete, new: the delete must find a table.
        for (kind, flags) in [(NEW_TABLE, CREATE), (DELETE_TABLE, 0), (NEW_TABLE, CREATE)] {
            batch.message(kind, flags | ACK, &generic(INET, 0), |table| table.text(1, TABLE));
        }
        for chain in [Chain::Input, Chain::Output, Chain::Forward] {
            batch.message(NEW_CHAIN, CREATE | ACK, &generic(INET, 0), |message| chain.declare(message));
        }
        for rule in self.input() {
            rule.append(&mut batch, Chain::Input);
        }
        for rule in self.output(refused) {
            rule.append(&mut batch, Chain::Output);
        }
        batch.message(BATCH_END, 0, &generic(0, NFTABLES), |_| {});
        batch
    }

    fn input(&self) -> Vec<Rule> {
        let mut rules = vec![
            Rule::new(Verdict::Drop).family(IPV6),
            Rule::new(Verdict::Accept).loopback(META_IIF),
            Rule::new(Verdict::Accept).established(),
            Rule::new(Verdict::Accept).protocol(UDP).ports(SOURCE, 67..=67).ports(DESTINATION, 68..=68),
        ];
        for range in ranges(&self.ports.inbound) {
            rules.push(Rule::new(Verdict::Accept).protocol(TCP).ports(DESTINATION, range));
        }
        rules
    }

    fn output(&self, refused: Verdict) -> Vec<Rule> {
        let mut rules = vec![
            Rule::new(Verdict::Drop).family(IPV6),
            Rule::new(Verdict::Accept).loopback(META_OIF),
            Rule::new(Verdict::Accept).established(),
            Rule::new(Verdict::Accept).protocol(UDP).ports(SOURCE, 68..=68).ports(DESTINATION, 67..=67),
        ];
        for server in self.dns.iter().filter_map(v4) {
            for protocol in [UDP, TCP] {
                rules.push(Rule::new(Verdict::Accept).to(server).protocol(protocol).ports(DESTINATION, 53..=53));
            }
        }
        for broker in &self.broker {
            if let Some(address) = v4(&broker.ip()) {
                let port = broker.port();
                rules.push(Rule::new(Verdict::Accept).to(address).protocol(TCP).ports(DESTINATION, port..=port));
            }
        }
        for range in ranges(&self.ports.outbound) {
            for protocol in [TCP, UDP] {
                rules.push(Rule::new(Verdict::Accept).protocol(protocol).ports(DESTINATION, range.clone()));
            }
        }
        rules.push(Rule::new(refused));
        rules
    }
}

/// Sorted, merged ranges of a list of ports.
fn ranges(ports: &[u16]) -> Vec<std::ops::RangeInclusive<u16>> {
    let mut sorted = ports.to_vec();
    sorted.sort_unstable();
    let mut ranges: Vec<std::ops::RangeInclusive<u16>> = Vec::new();
    for port in sorted {
        match ranges.last_mut() {
            Some(last) if port.saturating_sub(*last.end()) <= 1 => *last = *last.start()..=port,
            _ => ranges.push(port..=port),
        }
    }
    ranges
}

fn v4(address: &IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    }
}

#[derive(Debug, Clone, Copy)]
enum Chain {
    Input,
    Output,
    Forward,
}

impl Chain {
    fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::Forward => "forward",
        }
    }

    fn declare(self, message: &mut Attributes<'_>) {
        let hook = match self {
            Self::Input => 1,
            Self::Forward => 2,
            Self::Output => 3,
        };
        message.text(1, TABLE);
        message.text(3, self.name());
        message.nest(4, |place| {
            place.number(1, hook);
            place.number(2, 0);
        });
        message.number(5, DROP);
        message.text(7, "filter");
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Accept,
    Drop,
    Reject,
}

#[derive(Debug, Clone, Copy)]
enum Compare {
    Equal = 0,
    NotEqual = 1,
    AtMost = 3,
    AtLeast = 5,
}

/// A rule: expressions that must all match, then the verdict.
#[derive(Debug)]
struct Rule {
    verdict: Verdict,
    expressions: Vec<Expression>,
}

#[derive(Debug, Clone)]
enum Expression {
    Meta(u32),
    Payload { base: u32, offset: u32, length: u32 },
    ConnectionState,
    Mask(u32),
    Compare(Compare, Vec<u8>),
}

impl Rule {
    fn new(verdict: Verdict) -> Self {
        Self { verdict, expressions: Vec::new() }
    }

    fn matches(mut self, load: Expression, value: &[u8]) -> Self {
        self.expressions.push(load);
        self.expressions.push(Expression::Compare(Compare::Equal, value.to_vec()));
        self
    }

    fn family(self, family: u8) -> Self {
        self.matches(Expression::Meta(META_NFPROTO), &[family])
    }

    /// The loopback interface: its index is 1 in every kernel.
    fn loopback(self, key: u32) -> Self {
        self.matches(Expression::Meta(key), &1u32.to_ne_bytes())
    }

    fn established(mut self) -> Self {
        self.expressions.push(Expression::ConnectionState);
        self.expressions.push(Expression::Mask(ESTABLISHED | RELATED));
        self.expressions.push(Expression::Compare(Compare::NotEqual, 0u32.to_ne_bytes().to_vec()));
        self
    }

    fn protocol(self, protocol: u8) -> Self {
        self.matches(Expression::Meta(META_L4PROTO), &[protocol])
    }

    fn to(self, address: Ipv4Addr) -> Self {
        self.family(IPV4).matches(Expression::Payload { base: NETWORK, offset: 16, length: 4 }, &address.octets())
    }

    fn ports(mut self, offset: u32, range: std::ops::RangeInclusive<u16>) -> Self {
        let load = Expression::Payload { base: TRANSPORT, offset, length: 2 };
        if range.start() == range.end() {
            return self.matches(load, &range.start().to_be_bytes());
        }
        self.expressions.push(load);
        self.expressions.push(Expression::Compare(Compare::AtLeast, range.start().to_be_bytes().to_vec()));
        self.expressions.push(Expression::Compare(Compare::AtMost, range.end().to_be_bytes().to_vec()));
        self
    }

    fn append(&self, batch: &mut Batch, chain: Chain) {
        batch.message(NEW_RULE, CREATE | APPEND | ACK, &generic(INET, 0), |message| {
            message.text(1, TABLE);
            message.text(2, chain.name());
            message.nest(4, |list| {
                for expression in &self.expressions {
                    list.nest(1, |element| expression.write(element));
                }
                list.nest(1, |element| self.verdict.write(element));
            });
        });
    }
}

impl Expression {
    fn write(&self, element: &mut Attributes<'_>) {
        match self {
            Self::Meta(key) => named(element, "meta", |meta| {
                meta.number(1, REGISTER);
                meta.number(2, *key);
            }),
            Self::Payload { base, offset, length } => named(element, "payload", |payload| {
                payload.number(1, REGISTER);
                payload.number(2, *base);
                payload.number(3, *offset);
                payload.number(4, *length);
            }),
            Self::ConnectionState => named(element, "ct", |ct| {
                ct.number(1, REGISTER);
                ct.number(2, 0);
            }),
            Self::Mask(mask) => named(element, "bitwise", |bitwise| {
                bitwise.number(1, REGISTER);
                bitwise.number(2, REGISTER);
                bitwise.number(3, 4);
                bitwise.nest(4, |value| value.put(1, &mask.to_ne_bytes()));
                bitwise.nest(5, |value| value.put(1, &0u32.to_ne_bytes()));
            }),
            Self::Compare(how, value) => named(element, "cmp", |compare| {
                compare.number(1, REGISTER);
                compare.number(2, *how as u32);
                compare.nest(3, |data| data.put(1, value));
            }),
        }
    }
}

impl Verdict {
    fn write(self, element: &mut Attributes<'_>) {
        let code = match self {
            Self::Drop => DROP,
            Self::Accept => ACCEPT,
            Self::Reject => {
                return named(element, "reject", |reject| {
                    reject.number(1, 2); // NFT_REJECT_ICMPX_UNREACH
                    reject.put(2, &[3]); // NFT_REJECT_ICMPX_ADMIN_PROHIBITED
                });
            }
        };
        named(element, "immediate", |immediate| {
            immediate.number(1, 0); // NFT_REG_VERDICT
            immediate.nest(2, |data| data.nest(2, |verdict| verdict.number(1, code)));
        });
    }
}

fn named(element: &mut Attributes<'_>, name: &str, inner: impl FnOnce(&mut Attributes<'_>)) {
    element.text(1, name);
    element.nest(2, inner);
}

/// `struct nfgenmsg`.
fn generic(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

const TABLE: &str = "confide";

// include/uapi/linux/netfilter/nfnetlink.h and nf_tables.h
const NFTABLES: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = NFTABLES << 8;
const DELETE_TABLE: u16 = (NFTABLES << 8) | 2;
const NEW_CHAIN: u16 = (NFTABLES << 8) | 3;
const NEW_RULE: u16 = (NFTABLES << 8) | 6;
const INET: u8 = 1;
const IPV4: u8 = 2;
const IPV6: u8 = 10;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
const REGISTER: u32 = 1;
const META_IIF: u32 = 4;
const META_OIF: u32 = 5;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
const SOURCE: u32 = 0;
const DESTINATION: u32 = 2;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ESTABLISHED: u32 = 2;
const RELATED: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_become_ranges() {
        assert_eq!(ranges(&[443, 80, 81, 82, 443, 65535]), [80..=82, 443..=443, 65535..=65535]);
        assert!(ranges(&[]).is_empty());
    }

    #[test]
    fn one_rule_has_the_kernels_bytes() {
        let mut batch = Batch::default();
        Rule::new(Verdict::Accept).protocol(TCP).append(&mut batch, Chain::Input);
        let wanted = concat!(
            "b0000000",
            "060a",
            "050c",
            "01000000",
            "00000000",
            "01000000", // header and nfgenmsg
            "0c000100",
            "636f6e6669646500", // table
            "0a000200",
            "696e707574000000", // chain
            "84000480",         // list
            "24000180",
            "09000100",
            "6d65746100000000",
            "14000280",
            "0800010000000001",
            "0800020000000010",
            "2c000180",
            "08000100",
            "636d7000",
            "20000280",
            "0800010000000001",
            "0800020000000000",
            "0c000380",
            "0500010006000000",
            "30000180",
            "0e000100",
            "696d6d6564696174650000",
            "00",
            "1c000280",
            "0800010000000000",
            "10000280",
            "0c000280",
            "0800010000000001",
        );
        assert_eq!(hex::encode(batch.bytes()), wanted);
    }

    #[test]
    fn closed_rules_open_no_port() {
        let closed = Rules::closed();
        assert_eq!(closed.input().len(), 4);
        assert_eq!(closed.output(Verdict::Reject).last().map(|rule| rule.verdict), Some(Verdict::Reject));
        let v6_broker = Rules { broker: vec!["[::1]:8999".parse().unwrap()], ..Rules::closed() };
        assert_eq!(v6_broker.output(Verdict::Drop).len(), closed.output(Verdict::Drop).len());
    }
}
