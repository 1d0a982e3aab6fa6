//! A log in a file: a line that says what it is, then one line per entry, whose bytes are what the leaves are of.

use super::receipt::decode;
use super::{Auditor, Authority, Kept, LedgerError, Verdict};
use claims::Digest256;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Read};

const KIND: &str = "confide-audit-log";
const VERSION: u32 = 1;
/// Longest line that is read, bytes.
const MAX_LINE: u64 = 4 << 20;

/// First line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    kind: String,
    version: u32,
    head: String,
    certificates: Vec<String>,
}

/// First line of an exported log, without its end; each entry follows as it is, on a line of its own. `certificates` are
/// DER in base64, the audit key's first.
pub fn export_header(head: &str, certificates: &[impl AsRef<str>]) -> Result<String, LedgerError> {
    let certificates = certificates.iter().map(|text| text.as_ref().to_owned()).collect();
    let header = Header { kind: KIND.into(), version: VERSION, head: head.to_owned(), certificates };
    serde_json::to_string(&header).map_err(|error| LedgerError::Read { what: error.to_string() })
}

/// Checks an exported log against the pinned identity, and against heads that were kept (texts of heads).
pub fn verify_export(mut file: impl BufRead, pinned: Digest256, kept: &[String]) -> Result<Verdict, LedgerError> {
    let malformed = |line, what| LedgerError::ExportText { line, what };
    let mut line = Vec::new();
    read_line(&mut file, 1, &mut line)?;
    let header: Header =
        serde_json::from_slice(&line).map_err(|_| malformed(1, "it is not the first line of an exported audit log"))?;
    if header.kind != KIND || header.version != VERSION {
        return Err(malformed(1, "kind and version are not those that are read here"));
    }
    let authority = Authority::attested(pinned, &decode(&header.certificates)?)?;
    let head = authority.verify(&header.head)?;
    let mut heads = Kept::default();
    kept.iter().try_for_each(|text| heads.add(text, &authority))?;
    let mut auditor = Auditor::new(&heads);
    let mut so_far = Ok(());
    let mut number = 2;
    while so_far.is_ok() && read_line(&mut file, number, &mut line)? {
        so_far = auditor.line(&line);
        number += 1;
    }
    if so_far.is_ok() && auditor.entries() == head.size {
        so_far = auditor.head(&head);
    }
    Ok(auditor.finish(Some(&head), so_far))
}

/// Reads a line without its end; whether there was one.
fn read_line(file: &mut impl BufRead, number: u64, line: &mut Vec<u8>) -> Result<bool, LedgerError> {
    line.clear();
    let read = file.take(MAX_LINE).read_until(b'\n', line);
    let read = read.map_err(|error| LedgerError::Read { what: error.to_string() })?;
    if read == 0 {
        return Ok(false);
    }
    if line.pop() != Some(b'\n') {
        return Err(LedgerError::ExportText { line: number, what: "it has no end, or is longer than 4 MiB" });
    }
    Ok(true)
}
