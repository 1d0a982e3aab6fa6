//! Signed heads: a checkpoint (C2SP tlog-checkpoint) in a signed note (C2SP signed-note), by the broker's audit key.
//!
//! *Takes* size and root of a log; or a head's text, the certificates that came with it, and the pinned identity.
//! *Guarantees* that a head that verifies was signed by a key that the pinned identity certified for signing documents.
//! *Does not check* that the log still extends the head: consistency proofs do.

use super::LedgerError;
use attest::channel::Pinned;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use claims::{Digest256, Secret};
use rustls::pki_types::CertificateDer;

/// Algorithm byte of Ed25519 in a signed note's key id.
const ED25519_NOTE: u8 = 1;
/// Longest head, and most lines in it; witnesses may have added signatures.
const MAX_TEXT: usize = 16 << 10;
const MAX_LINES: usize = 64;

/// Size and root of a log: what is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Entries in the log.
    pub size: u64,
    /// Root of their tree.
    pub root: Digest256,
}

/// Name of the log of the broker with this identity: first line of its heads, and name of the key that signs them.
pub fn origin(identity: &Digest256) -> String {
    format!("confide-broker/{identity}")
}

/// Signs heads.
pub(crate) struct Signer {
    key: Ed25519KeyPair,
    origin: String,
}

impl Signer {
    pub(crate) fn new(key: &Secret<Vec<u8>>, identity: &Digest256) -> Result<Self, LedgerError> {
        let key = key.expose(|der| Ed25519KeyPair::from_pkcs8(der)).map_err(|_| LedgerError::Key)?;
        Ok(Self { key, origin: origin(identity) })
    }

    /// The signature over a head: 64 bytes.
    pub(crate) fn sign(&self, head: &Head) -> Vec<u8> {
        self.key.sign(body(&self.origin, head).as_bytes()).as_ref().to_vec()
    }

    pub(crate) fn authority(&self, identity: Digest256) -> Authority {
        Authority { origin: self.origin.clone(), identity, key: self.key.public_key().as_ref().to_vec() }
    }
}

/// The key that may sign the heads of one broker's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    origin: String,
    identity: Digest256,
    key: Vec<u8>,
}

impl Authority {
    /// The key of `certificates` (leaf first, then the identity's), once it is shown to be certified by `pinned`.
    pub fn attested(pinned: Digest256, certificates: &[CertificateDer<'_>]) -> Result<Self, LedgerError> {
        let (leaf, others) = certificates.split_first().ok_or(LedgerError::Certificates)?;
        let key = Pinned::new(pinned).signer_of_documents(leaf, others)?;
        Ok(Self { origin: origin(&pinned), identity: pinned, key })
    }

    /// The identity that certified the key.
    pub fn identity(&self) -> Digest256 {
        self.identity
    }

    /// Reads a head and checks its signature.
    pub fn verify(&self, text: &str) -> Result<Head, LedgerError> {
        let (head, signatures) = parse(text, &self.origin)?;
        let signed = body(&self.origin, &head);
        let wanted = self.key_id();
        let own = signatures.iter().find(|(name, blob)| *name == self.origin && blob.starts_with(&wanted));
        let (_, blob) = own.ok_or(LedgerError::HeadSignature)?;
        self.check(&signed, blob.get(wanted.len()..).unwrap_or(&[]))?;
        Ok(head)
    }

    /// Checks the bare signature of a head.
    pub(crate) fn verify_bare(&self, head: &Head, signature: &[u8]) -> Result<(), LedgerError> {
        self.check(&body(&self.origin, head), signature)
    }

    /// The text of a head with its signature.
    pub(crate) fn text(&self, head: &Head, signature: &[u8]) -> String {
        let blob = [self.key_id().as_slice(), signature].concat();
        format!("{}\n\u{2014} {} {}\n", body(&self.origin, head), self.origin, STANDARD.encode(blob))
    }

    fn check(&self, signed: &str, signature: &[u8]) -> Result<(), LedgerError> {
        let key = UnparsedPublicKey::new(&ED25519, &self.key);
        key.verify(signed.as_bytes(), signature).map_err(|_| LedgerError::HeadSignature)
    }

    /// SHA-256 of name, line feed, algorithm byte and key; the first four bytes (signed-note, "Signatures").
    fn key_id(&self) -> [u8; 4] {
        let digest = Digest256::of(&[self.origin.as_bytes(), &[b'\n', ED25519_NOTE], &self.key].concat());
        let [first, second, third, fourth, ..] = digest.0;
        [first, second, third, fourth]
    }
}

/// The signed part: origin, size, root in base64, each with a line feed (tlog-checkpoint, "Note text").
fn body(origin: &str, head: &Head) -> String {
    format!("{origin}\n{}\n{}\n", head.size, STANDARD.encode(head.root.0))
}

type Signatures<'a> = Vec<(&'a str, Vec<u8>)>;

fn parse<'a>(text: &'a str, origin: &str) -> Result<(Head, Signatures<'a>), LedgerError> {
    let malformed = |what| LedgerError::HeadText { what };
    if text.len() > MAX_TEXT || text.lines().count() > MAX_LINES {
        return Err(malformed("it is too long"));
    }
    let (body, rest) = text.split_once("\n\n").ok_or(malformed("it has no signatures"))?;
    let mut lines = body.split('\n');
    let got = lines.next().unwrap_or_default();
    if got != origin {
        return Err(LedgerError::Origin { got: got.chars().take(100).collect(), wanted: origin.to_owned() });
    }
    let size = lines.next().unwrap_or_default();
    let number = size.parse::<u64>().map_err(|_| malformed("its size is not a number"))?;
    // One spelling: no sign, no zeros in front.
    if number.to_string() != size {
        return Err(malformed("its size is not a number"));
    }
    let root = lines.next().and_then(|root| STANDARD.decode(root).ok()).and_then(|root| root.try_into().ok());
    let root = Digest256(root.ok_or(malformed("its root is not 32 bytes in base64"))?);
    if lines.next().is_some() {
        return Err(malformed("it has lines behind the root"));
    }
    let lines = rest.strip_suffix('\n').ok_or(malformed("its last line has no end"))?;
    let signature = |line: &'a str| {
        let (name, blob) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
        Some((name, STANDARD.decode(blob).ok()?))
    };
    let signatures: Option<Signatures<'a>> = lines.split('\n').map(signature).collect();
    Ok((Head { size: number, root }, signatures.ok_or(malformed("a signature line is malformed"))?))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The key of the manual's test vectors: 32 bytes 0x07 as seed. Nobody else uses it.
    pub(crate) fn signer() -> (Signer, Authority) {
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let identity = Digest256([0x11; 32]);
        let signer = Signer { key, origin: origin(&identity) };
        let authority = signer.authority(identity);
        (signer, authority)
    }

    #[test]
    fn a_head_verifies_as_it_was_signed_and_not_otherwise() {
        let (signer, authority) = signer();
        let head = Head { size: 3, root: Digest256([5; 32]) };
        let text = authority.text(&head, &signer.sign(&head));
        assert_eq!(authority.verify(&text), Ok(head));
        let witnessed = format!("{text}\u{2014} witness.example AAAAAAAAAAAA\n");
        assert_eq!(authority.verify(&witnessed), Ok(head));
        for (from, to, error) in [
            ("\n3\n", "\n4\n", LedgerError::HeadSignature),
            ("\n3\n", "\n03\n", LedgerError::HeadText { what: "its size is not a number" }),
            ("\n3\n", "\n+3\n", LedgerError::HeadText { what: "its size is not a number" }),
            ("BQUF", "BQUG", LedgerError::HeadSignature),
            ("BQUF", "BQU", LedgerError::HeadText { what: "its root is not 32 bytes in base64" }),
            ("\n\n", "\nextension\n\n", LedgerError::HeadText { what: "it has lines behind the root" }),
            ("\u{2014} ", "- ", LedgerError::HeadText { what: "a signature line is malformed" }),
            ("\u{2014} confide", "\u{2014} another", LedgerError::HeadSignature),
            ("\n\n", "\n", LedgerError::HeadText { what: "it has no signatures" }),
        ] {
            assert_eq!(authority.verify(&text.replacen(from, to, 1)), Err(error), "{from:?} {to:?}");
        }
        let got = format!("confide-broker/{}", "2".repeat(64));
        let other = text.replace(&"1".repeat(64), &"2".repeat(64));
        assert_eq!(authority.verify(&other), Err(LedgerError::Origin { got, wanted: authority.origin.clone() }));
    }
}
