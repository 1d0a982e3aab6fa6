//! Receipts: proof that one decision is in the log, which needs nothing but the broker's pinned identity to be checked.

use super::merkle::{MAX_PROOF, includes, leaf_hash};
use super::{Authority, Head, LedgerError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use claims::Digest256;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

const KIND: &str = "confide-audit-receipt";
const VERSION: u32 = 1;
/// Largest receipt that is read, bytes.
const MAX_RECEIPT: usize = 1 << 20;

/// A receipt, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    kind: String,
    version: u32,
    decision: String,
    index: u64,
    /// The entry's bytes; none for a guest, whom the rules behind a decision do not concern.
    entry: Option<String>,
    leaf: Digest256,
    proof: Vec<Digest256>,
    head: String,
    /// DER in base64: the audit key's certificate, then the identity's.
    certificates: Vec<String>,
}

/// What a receipt that verifies says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptFacts {
    /// Name of the decision, where the receipt has the entry that says so.
    pub decision: Option<String>,
    /// Place of the entry in the log, from 0.
    pub index: u64,
    /// Digest of the entry.
    pub leaf: Digest256,
    /// The entry, where the receipt has it.
    pub entry: Option<String>,
    /// The head that it is in.
    pub head: Head,
}

impl Receipt {
    pub(crate) fn new(decision: &str, index: u64, leaf: Digest256, proof: Vec<Digest256>, head: String) -> Self {
        Self {
            kind: KIND.into(),
            version: VERSION,
            decision: decision.to_owned(),
            index,
            entry: None,
            leaf,
            proof,
            head,
            certificates: Vec::new(),
        }
    }

    pub(crate) fn with_entry(mut self, entry: String) -> Self {
        self.entry = Some(entry);
        self
    }

    pub(crate) fn with_certificates(mut self, chain: &[CertificateDer<'_>]) -> Self {
        self.certificates = encode(chain);
        self
    }

    /// Reads a receipt. Nothing in it is true before [`Self::verify`].
    pub fn parse(bytes: &[u8]) -> Result<Self, LedgerError> {
        let wrong = |what: String| LedgerError::ReceiptText { what };
        if bytes.len() > MAX_RECEIPT {
            return Err(wrong(format!("it has more than {MAX_RECEIPT} bytes")));
        }
        let receipt: Self = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        if receipt.kind != KIND || receipt.version != VERSION {
            return Err(wrong(format!("kind and version are not {KIND:?} and {VERSION}")));
        }
        if receipt.proof.len() > MAX_PROOF {
            return Err(wrong(format!("its proof has more than {MAX_PROOF} hashes")));
        }
        Ok(receipt)
    }

    /// The text of the signed head.
    pub fn head(&self) -> &str {
        &self.head
    }

    /// Checks certificates, head, proof and entry against the pinned identity.
    pub fn verify(&self, pinned: Digest256) -> Result<ReceiptFacts, LedgerError> {
        self.verify_by(&Authority::attested(pinned, &decode(&self.certificates)?)?)
    }

    fn verify_by(&self, authority: &Authority) -> Result<ReceiptFacts, LedgerError> {
        let head = authority.verify(&self.head)?;
        if !includes(&self.leaf, self.index, head.size, &self.proof, &head.root) {
            return Err(LedgerError::Proof);
        }
        let decision = match &self.entry {
            None => None,
            Some(entry) => {
                let says: Said = serde_json::from_str(entry).map_err(|_| LedgerError::Entry)?;
                let fits = leaf_hash(entry.as_bytes()) == self.leaf
                    && says.decision == self.decision
                    && says.sequence.checked_sub(1) == Some(self.index);
                if !fits {
                    return Err(LedgerError::Entry);
                }
                Some(says.decision)
            }
        };
        Ok(ReceiptFacts { decision, index: self.index, leaf: self.leaf, entry: self.entry.clone(), head })
    }
}

#[derive(Deserialize)]
struct Said {
    decision: String,
    sequence: u64,
}

/// Certificates as text.
pub(crate) fn encode(chain: &[CertificateDer<'_>]) -> Vec<String> {
    chain.iter().map(|der| STANDARD.encode(der)).collect()
}

pub(super) fn decode(texts: &[String]) -> Result<Vec<CertificateDer<'static>>, LedgerError> {
    let decoded = texts.iter().map(|text| STANDARD.decode(text).map(CertificateDer::from));
    decoded.collect::<Result<_, _>>().map_err(|_| LedgerError::Certificates)
}

#[cfg(test)]
mod tests {
    use super::super::head::tests::signer;
    use super::super::merkle::{Edge, inclusion_proof, node_hash};
    use super::*;

    fn receipt() -> (Receipt, Authority) {
        let (signer, authority) = signer();
        let entry = r#"{"decision":"0123456789abcdef","kind":"release","sequence":2,"time":1790000000}"#;
        let leaves = [leaf_hash(b"first"), leaf_hash(entry.as_bytes()), leaf_hash(b"third")];
        let mut edge = Edge::default();
        for leaf in leaves {
            edge.push(leaf);
        }
        let mut nodes = |level: u32, place: u64| match (level, usize::try_from(place).unwrap()) {
            (0, place) => Ok::<_, ()>(leaves[place]),
            _ => Ok(node_hash(&leaves[0], &leaves[1])),
        };
        let proof = inclusion_proof(1, 3, &mut nodes).unwrap();
        let head = Head { size: edge.size(), root: edge.root() };
        let text = authority.text(&head, &signer.sign(&head));
        (Receipt::new("0123456789abcdef", 1, leaves[1], proof, text).with_entry(entry.into()), authority)
    }

    #[test]
    fn every_part_of_a_receipt_counts() {
        let (good, authority) = receipt();
        let facts = good.verify_by(&authority).unwrap();
        assert_eq!((facts.decision.as_deref(), facts.index, facts.head.size), (Some("0123456789abcdef"), 1, 3));
        let bare = Receipt { entry: None, ..good.clone() };
        assert_eq!(bare.verify_by(&authority).unwrap().decision, None);
        let entry = good.entry.clone().unwrap();
        let changed = |change: &dyn Fn(&mut Receipt)| {
            let mut other = good.clone();
            change(&mut other);
            other.verify_by(&authority).unwrap_err()
        };
        assert_eq!(changed(&|other| other.index = 0), LedgerError::Proof);
        assert_eq!(changed(&|other| other.leaf = Digest256([0; 32])), LedgerError::Proof);
        assert_eq!(changed(&|other| other.proof.swap(0, 1)), LedgerError::Proof);
        assert_eq!(changed(&|other| other.proof[0].0[7] ^= 1), LedgerError::Proof);
        assert_eq!(changed(&|other| other.decision = "0".into()), LedgerError::Entry);
        assert_eq!(changed(&|other| other.entry = Some(entry.replace("release", "refused"))), LedgerError::Entry);
        assert_eq!(changed(&|other| other.head = other.head.replace("\n3\n", "\n4\n")), LedgerError::HeadSignature);
        assert_eq!(good.verify(authority.identity()), Err(LedgerError::Certificates));
    }

    #[test]
    fn a_receipt_is_read_strictly() {
        let (good, _) = receipt();
        let text = serde_json::to_string(&good).unwrap();
        assert_eq!(Receipt::parse(text.as_bytes()), Ok(good));
        for (from, to) in [
            ("\"version\":1", "\"version\":2"),
            ("confide-audit-receipt", "confide-audit-log"),
            ("{\"kind\"", "{\"surplus\":1,\"kind\""),
            ("{\"kind\"", "{\"index\":1,\"kind\""),
        ] {
            let read = Receipt::parse(text.replacen(from, to, 1).as_bytes());
            assert!(matches!(read, Err(LedgerError::ReceiptText { .. })), "{to}: {read:?}");
        }
        let long = Receipt::parse(&vec![b' '; MAX_RECEIPT + 1]);
        assert!(matches!(long, Err(LedgerError::ReceiptText { .. })), "{long:?}");
    }
}
