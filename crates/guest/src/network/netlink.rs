//! Netlink messages (linux/netlink.h): an encoder with nested attributes, and the exchange with the kernel.
//!
//! *Takes* message types and attributes from `firewall` and `link`.
//! *Guarantees* aligned, length-correct messages, and that every message that asked for it was acknowledged.
//! *Does not check* the meaning of attributes: the kernel does.

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::os::fd::OwnedFd;

/// Asks the kernel to act.
pub const REQUEST: u16 = 1;
/// Asks for an acknowledgement.
pub const ACK: u16 = 4;
/// Create, if it is not there.
pub const CREATE: u16 = 0x400;
/// Replace what is there.
pub const REPLACE: u16 = 0x100;
/// Add at the end.
pub const APPEND: u16 = 0x800;

const NESTED: u16 = 0x8000;
const HEAD: usize = 16;
const ERROR: u16 = 2;

/// A sequence of messages that are sent at once.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    sequence: u32,
    acknowledged: Vec<u32>,
}

/// A message or an attribute that is being written.
#[derive(Debug)]
pub struct Attributes<'a>(&'a mut Vec<u8>);

impl Batch {
    /// Adds a message: type, flags, the family's fixed header, then attributes.
    pub fn message(&mut self, kind: u16, flags: u16, header: &[u8], attributes: impl FnOnce(&mut Attributes<'_>)) {
        self.sequence = self.sequence.saturating_add(1);
        if flags & ACK != 0 {
            self.acknowledged.push(self.sequence);
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(header);
        pad(&mut self.bytes);
        attributes(&mut Attributes(&mut self.bytes));
        let length = u32::try_from(self.bytes.len().saturating_sub(start)).unwrap_or(u32::MAX);
        put(&mut self.bytes, start, &length.to_ne_bytes());
    }

    /// The messages' bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Attributes<'_> {
    /// Adds an attribute.
    pub fn put(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len().saturating_add(4)).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        pad(self.0);
    }

    /// Adds a text that ends with a zero byte.
    pub fn text(&mut self, kind: u16, value: &str) {
        self.put(kind, &[value.as_bytes(), &[0]].concat());
    }

    /// Adds a big-endian number.
    pub fn number(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    /// Adds an attribute that holds attributes.
    pub fn nest(&mut self, kind: u16, inner: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        inner(&mut Attributes(self.0));
        let length = u16::try_from(self.0.len().saturating_sub(start)).unwrap_or(u16::MAX);
        put(self.0, start, &length.to_ne_bytes());
    }
}

/// Why the kernel did not do what a batch asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetlinkError {
    /// The socket does not work.
    #[error("netlink socket failed")]
    Socket(#[source] Errno),
    /// The kernel refused a message.
    #[error("the kernel refused netlink message {sequence}")]
    Refused {
        /// Which message of the batch, from 1.
        sequence: u32,
        /// Why.
        source: Errno,
    },
    /// The kernel's answer is malformed.
    #[error("the kernel's netlink answer is malformed")]
    Answer,
}

/// Sends a batch to `protocol` (none is rtnetlink, number 0) and waits for all acknowledgements it asked for.
pub fn exchange(protocol: Option<Protocol>, batch: &Batch) -> Result<(), NetlinkError> {
    let socket = open(protocol).map_err(NetlinkError::Socket)?;
    let kernel = SocketAddrNetlink::new(0, 0);
    rustix::net::sendto(&socket, batch.bytes(), SendFlags::empty(), &kernel).map_err(NetlinkError::Socket)?;
    let mut open = batch.acknowledged.clone();
    let mut buffer = vec![0; 64 * 1024];
    while !open.is_empty() {
        let (length, _) =
            rustix::net::recv(&socket, buffer.as_mut_slice(), RecvFlags::empty()).map_err(NetlinkError::Socket)?;
        for (sequence, result) in answers(buffer.get(..length).unwrap_or_default())? {
            result.map_err(|source| NetlinkError::Refused { sequence, source })?;
            open.retain(|wanted| *wanted != sequence);
        }
    }
    Ok(())
}

fn open(protocol: Option<Protocol>) -> Result<OwnedFd, Errno> {
    let family = AddressFamily::NETLINK;
    let socket = rustix::net::socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    // The kernel answers at once; this bounds a wait that should not happen.
    let limit = Some(std::time::Duration::from_secs(5));
    rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Recv, limit)?;
    Ok(socket)
}

/// Which message, and what became of it.
type Acknowledgement = (u32, Result<(), Errno>);

/// Reads acknowledgements and errors.
fn answers(mut bytes: &[u8]) -> Result<Vec<Acknowledgement>, NetlinkError> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let field = |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()).copied();
        let length = field(0).map(u32::from_ne_bytes).ok_or(NetlinkError::Answer)? as usize;
        let kind = field(4).map(|[a, b, _, _]| u16::from_ne_bytes([a, b])).ok_or(NetlinkError::Answer)?;
        let sequence = field(8).map(u32::from_ne_bytes).ok_or(NetlinkError::Answer)?;
        if length < HEAD || length > bytes.len() {
            return Err(NetlinkError::Answer);
        }
        if kind == ERROR {
            let code = field(HEAD).map(i32::from_ne_bytes).ok_or(NetlinkError::Answer)?;
            let result = if code == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(code.saturating_neg())) };
            found.push((sequence, result));
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(found)
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at.saturating_add(value.len())) {
        place.copy_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_aligned_and_measured() {
        let mut batch = Batch::default();
        batch.message(7, ACK, &[1, 2], |message| {
            message.text(1, "ab");
            message.nest(2, |inner| inner.number(3, 5));
        });
        let bytes = batch.bytes();
        assert_eq!(u32::from_ne_bytes(bytes[..4].try_into().unwrap()) as usize, bytes.len());
        assert_eq!(bytes.len(), 16 + 4 + 8 + 12);
        assert_eq!(bytes[16..20], [1, 2, 0, 0]);
        assert_eq!(bytes[20..28], [7, 0, 1, 0, b'a', b'b', 0, 0]);
        assert_eq!(bytes[28..40], [12, 0, 2, 0x80, 8, 0, 3, 0, 0, 0, 0, 5]);
    }

    #[test]
    fn answers_are_read_and_bounded() {
        let mut answer = Vec::new();
        for (sequence, code) in [(1u32, 0i32), (2, -1)] {
            answer.extend_from_slice(&36u32.to_ne_bytes());
            answer.extend_from_slice(&2u16.to_ne_bytes());
            answer.extend_from_slice(&0u16.to_ne_bytes());
            answer.extend_from_slice(&sequence.to_ne_bytes());
            answer.extend_from_slice(&0u32.to_ne_bytes());
            answer.extend_from_slice(&code.to_ne_bytes());
            answer.extend_from_slice(&[0; 16]);
        }
        assert_eq!(answers(&answer), Ok(vec![(1, Ok(())), (2, Err(Errno::PERM))]));
        for length in 1..answer.len() {
            if length != 36 {
                assert_eq!(answers(&answer[..length]), Err(NetlinkError::Answer), "{length}");
            }
        }
    }
}
