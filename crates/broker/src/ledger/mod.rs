//! The audit log as a thing that anybody can check: tree, signed heads, receipts, whole logs. No database, clock or network.
//!
//! *Takes* bytes: entries, heads, receipts, exports; and the pinned identity of the broker.
//! *Guarantees* that what verifies was in the log under a head that this broker signed, and that the first entry which is
//! not as it was is named.
//! *Does not check* that a broker shows everybody the same log: who keeps heads compares them ([`Kept`]).
//!
//! The formats are written down in `docs/manual/reference/audit-log.md`.

mod check;
mod export;
mod head;
pub mod merkle;
mod receipt;

pub(crate) use check::{Auditor, Stored};
pub use check::{Bad, Kept, Verdict};
pub use export::{export_header, verify_export};
pub(crate) use head::Signer;
pub use head::{Authority, Head, origin};
pub(crate) use receipt::encode as chain_text;
pub use receipt::{Receipt, ReceiptFacts};

use attest::channel::ChannelError;

/// Why a head, receipt or export is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The audit key is not an Ed25519 key.
    #[error("the audit key is not an Ed25519 private key")]
    Key,
    /// No certificates beside the head.
    #[error("there are no certificates of the audit key")]
    Certificates,
    /// The audit key is not the pinned broker's.
    #[error("the audit key is not certified by the pinned identity")]
    Identity(#[from] ChannelError),
    /// The head is of another log.
    #[error("the head is of the log {got:?}, wanted {wanted:?}")]
    Origin {
        /// First line found.
        got: String,
        /// First line wanted.
        wanted: String,
    },
    /// The head is not a checkpoint.
    #[error("the head is malformed: {what}")]
    HeadText {
        /// What is wrong.
        what: &'static str,
    },
    /// The head's signature does not verify.
    #[error("the head is not signed by the audit key")]
    HeadSignature,
    /// Not a receipt.
    #[error("this is not a receipt: {what}")]
    ReceiptText {
        /// What is wrong.
        what: String,
    },
    /// Entry and leaf of a receipt do not go together.
    #[error("the receipt's entry is not the one that its leaf stands for")]
    Entry,
    /// The proof does not lead to the head.
    #[error("the receipt's proof does not lead from its entry to its head")]
    Proof,
    /// Not an exported log.
    #[error("line {line} of the log is malformed: {what}")]
    ExportText {
        /// Line, from 1.
        line: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The file ends early or cannot be read.
    #[error("the log cannot be read: {what}")]
    Read {
        /// Why.
        what: String,
    },
}

#[cfg(test)]
mod tests {
    use super::head::tests::signer;
    use super::merkle::{Edge, consistency_proof, inclusion_proof, leaf_hash, node_hash};
    use super::*;

    /// The test vectors of the manual, made by the code. They change with the formats, and then so does the page.
    #[test]
    fn the_manual_has_the_vectors() {
        let entries = [
            r#"{"decision":"","kind":"start","sequence":1,"time":1790000000}"#,
            r#"{"decision":"0123456789abcdef","kind":"release","sequence":2,"time":1790000001}"#,
            r#"{"decision":"","kind":"admin","sequence":3,"time":1790000002}"#,
        ];
        let (signer, authority) = signer();
        let leaves = entries.map(|entry| leaf_hash(entry.as_bytes()));
        let mut edge = Edge::default();
        for leaf in leaves {
            edge.push(leaf);
        }
        let mut nodes = |level: u32, place: u64| match (level, usize::try_from(place).unwrap()) {
            (0, place) => Ok::<_, ()>(leaves[place]),
            _ => Ok(node_hash(&leaves[0], &leaves[1])),
        };
        let list =
            |proof: Vec<claims::Digest256>| proof.iter().map(|hash| format!("`{hash}`")).collect::<Vec<_>>().join(", ");
        let head = Head { size: 3, root: edge.root() };
        let text = authority.text(&head, &signer.sign(&head));
        let mut wanted = vec![entries.join("\n"), text.trim_end().to_owned()];
        for (number, leaf) in (1..).zip(leaves) {
            wanted.push(format!("| leaf of entry {number} | `{leaf}` |"));
        }
        wanted.push(format!("| root of all three | `{}` |", edge.root()));
        wanted.push(format!("| proof that entry 2 is in it | {} |", list(inclusion_proof(1, 3, &mut nodes).unwrap())));
        let proof = consistency_proof(2, 3, &mut nodes).unwrap();
        wanted.push(format!("| proof that it extends the log of two entries | {} |", list(proof)));
        let page = include_str!("../../../../docs/manual/reference/audit-log.md");
        for part in wanted {
            assert!(page.contains(&part), "the page lacks:\n{part}");
        }
    }
}
