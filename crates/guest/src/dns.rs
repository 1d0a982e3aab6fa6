//! Names: hosts entries of `site.json` first, then the name servers. A static program has no other resolver.
//!
//! *Takes* answers from the network, in packets of bounded length.
//! *Guarantees* that an answer has our random id, comes from the server asked, and repeats our question.
//! *Does not check* whether an answer is true: peers are recognised by their keys, not by their names.

use crate::network::link::usable;
use claims::Code;
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// Where names are looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolver {
    /// Names of `site.json`.
    pub hosts: BTreeMap<String, IpAddr>,
    /// Name servers, in order.
    pub servers: Vec<IpAddr>,
}

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// Not a name.
    #[error("not a host name of letters, digits, dashes and dots")]
    Name,
    /// Nobody answered.
    #[error("no name server answered")]
    NoAnswer,
    /// The servers know no address.
    #[error("no name server knows an IPv4 address of this name")]
    Unknown,
    /// No random number.
    #[error("no randomness")]
    Random,
}

impl DnsError {
    /// The stable code.
    pub fn code(&self) -> Code {
        Code::Network
    }
}

/// A question that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Random.
    pub id: u16,
    /// The name asked for, without a final dot.
    pub name: String,
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Addresses.
    Addresses(Vec<Ipv4Addr>),
    /// The answer is too long for a packet: ask by TCP.
    Truncated,
    /// No such name, or no address.
    None,
}

impl Resolver {
    /// Addresses of `name`: a literal address, a hosts entry, or what the name servers say.
    pub fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, DnsError> {
        if let Ok(address) = name.trim_start_matches('[').trim_end_matches(']').parse() {
            return Ok(vec![address]);
        }
        if !claims::site::is_host_name(name) {
            return Err(DnsError::Name);
        }
        let entry = self.hosts.iter().find(|(host, _)| host.eq_ignore_ascii_case(name));
        if let Some((_, address)) = entry {
            return Ok(vec![*address]);
        }
        let mut result = Err(DnsError::NoAnswer);
        for _ in 0..ROUNDS {
            for server in &self.servers {
                match ask(*server, name) {
                    Ok(Answer::Addresses(addresses)) if !addresses.is_empty() => {
                        return Ok(addresses.into_iter().map(IpAddr::V4).collect());
                    }
                    Ok(_) => result = Err(DnsError::Unknown),
                    Err(_) => {}
                }
            }
            if matches!(result, Err(DnsError::Unknown)) {
                break;
            }
        }
        result
    }
}

impl Query {
    /// The packet that asks.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut packet = Packet::new_query(self.id);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let name = Name::new(&self.name).ok()?;
        packet.questions.push(Question::new(name, QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::IN), false));
        packet.build_bytes_vec().ok()
    }

    /// Reads an answer; none if it is malformed or not the answer to this question.
    pub fn read(&self, bytes: &[u8]) -> Option<Answer> {
        let packet = Packet::parse(bytes).ok()?;
        let [question] = packet.questions.as_slice() else { return None };
        let ours = packet.id() == self.id
            && packet.has_flags(PacketFlag::RESPONSE)
            && question.qtype == QTYPE::TYPE(TYPE::A)
            && question.qname.to_string().eq_ignore_ascii_case(self.name.trim_end_matches('.'));
        if !ours {
            return None;
        }
        if packet.has_flags(PacketFlag::TRUNCATION) {
            return Some(Answer::Truncated);
        }
        if packet.rcode() != RCODE::NoError {
            return Some(Answer::None);
        }
        // The server resolves aliases: its answer holds the addresses behind them.
        let addresses: Vec<Ipv4Addr> = packet
            .answers
            .iter()
            .filter_map(|record| match &record.rdata {
                RData::A(record) => Some(Ipv4Addr::from(record.address)),
                _ => None,
            })
            .filter(|address| usable(*address))
            .take(MAX_ADDRESSES)
            .collect();
        if addresses.is_empty() { Some(Answer::None) } else { Some(Answer::Addresses(addresses)) }
    }
}

const ROUNDS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(2);
const MAX_ADDRESSES: usize = 8;
const MAX_UDP: usize = 1232;
const MAX_TCP: usize = 16 * 1024;
/// Answers to others that are skipped before giving up on a server.
const MAX_STRANGERS: usize = 16;

fn ask(server: IpAddr, name: &str) -> Result<Answer, DnsError> {
    let mut id = [0; 2];
    aws_lc_rs::rand::fill(&mut id).map_err(|_| DnsError::Random)?;
    let query = Query { id: u16::from_ne_bytes(id), name: name.trim_end_matches('.').to_owned() };
    let packet = query.encode().ok_or(DnsError::Name)?;
    let server = SocketAddr::new(server, 53);
    let answer = by_udp(server, &query, &packet).map_err(|_| DnsError::NoAnswer)?;
    if answer == Answer::Truncated {
        by_tcp(server, &query, &packet).map_err(|_| DnsError::NoAnswer)
    } else {
        Ok(answer)
    }
}

fn by_udp(server: SocketAddr, query: &Query, packet: &[u8]) -> io::Result<Answer> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // A connected socket takes packets of this server only.
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(packet)?;
    let mut buffer = [0; MAX_UDP];
    for _ in 0..MAX_STRANGERS {
        let length = socket.recv(&mut buffer)?;
        if let Some(answer) = query.read(buffer.get(..length).unwrap_or_default()) {
            return Ok(answer);
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

fn by_tcp(server: SocketAddr, query: &Query, packet: &[u8]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = u16::try_from(packet.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes(), packet].concat())?;
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    let mut body = vec![0; usize::from(u16::from_be_bytes(head)).min(MAX_TCP)];
    stream.read_exact(&mut body)?;
    query.read(&body).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use simple_dns::ResourceRecord;
    use simple_dns::rdata::A;

    fn query() -> Query {
        Query { id: 77, name: "broker.example".into() }
    }

    fn answer(id: u16, name: &'static str, addresses: &[Ipv4Addr]) -> Vec<u8> {
        let mut packet = Packet::new_reply(id);
        let name = Name::new(name).unwrap();
        packet.questions.push(Question::new(name.clone(), QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::IN), false));
        for address in addresses {
            let record = RData::A(A { address: u32::from(*address) });
            packet.answers.push(ResourceRecord::new(name.clone(), CLASS::IN, 60, record));
        }
        packet.build_bytes_vec_compressed().unwrap()
    }

    #[test]
    fn an_answer_to_our_question_is_read() {
        let address = Ipv4Addr::new(192, 0, 2, 7);
        let read = query().read(&answer(77, "Broker.Example", &[address, Ipv4Addr::LOCALHOST]));
        assert_eq!(read, Some(Answer::Addresses(vec![address])));
        assert_eq!(query().read(&answer(77, "broker.example", &[])), Some(Answer::None));
    }

    #[test]
    fn answers_to_other_questions_are_skipped() {
        let address = [Ipv4Addr::new(192, 0, 2, 7)];
        assert_eq!(query().read(&answer(78, "broker.example", &address)), None);
        assert_eq!(query().read(&answer(77, "other.example", &address)), None);
        assert_eq!(query().read(&query().encode().unwrap()), None);
    }

    #[test]
    fn hosts_entries_and_literals_need_no_server() {
        let hosts = BTreeMap::from([("Server1".to_owned(), IpAddr::from([10, 0, 0, 7]))]);
        let resolver = Resolver { hosts, servers: Vec::new() };
        assert_eq!(resolver.lookup("server1").unwrap(), [IpAddr::from([10, 0, 0, 7])]);
        assert_eq!(resolver.lookup("10.1.2.3").unwrap(), [IpAddr::from([10, 1, 2, 3])]);
        assert!(matches!(resolver.lookup("no good"), Err(DnsError::Name)));
        assert!(matches!(resolver.lookup("other.example"), Err(DnsError::NoAnswer)));
    }

    proptest::proptest! {
        #[test]
        fn no_packet_panics(bytes in proptest::collection::vec(0u8.., 0..600)) {
            let _ = query().read(&bytes);
        }

        #[test]
        fn no_damaged_answer_panics(at in 0usize..50, value in 0u8..) {
            let mut bytes = answer(77, "broker.example", &[Ipv4Addr::new(192, 0, 2, 7)]);
            if let Some(place) = bytes.get_mut(at) {
                *place = value;
            }
            let _ = query().read(&bytes);
        }
    }
}
