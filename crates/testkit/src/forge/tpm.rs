//! A TPM's shape: a quote over PCRs of the SHA-256 bank, by an attestation key that was enrolled.

use super::Change::{Made as After, Plan as Before};
use super::keys::{KeyName, Kind};
use super::{Forge, Mutator, Result, Sent, accepted, refused, shorten};
use crate::text::TextVector;
use aws_lc_rs::digest::{SHA256, digest};
use claims::Code;

/// A quote before it is signed (TPM 2.0 Library part 2, 10.12.12 `TPMS_ATTEST` with `TPMS_QUOTE_INFO`).
#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) magic: u32,
    pub(super) kind: u16,
    pub(super) nonce: Vec<u8>,
    pub(super) safe: u8,
    pub(super) banks: u32,
    pub(super) bank: u16,
    pub(super) selection: Vec<u8>,
    pub(super) pcrs: Vec<Vec<u8>>,
    pub(super) signer: KeyName,
    pub(super) key: KeyName,
    pub(super) sent: Sent,
}

/// The attestation key.
pub(super) const KEY: KeyName = KeyName("tpm", Kind::Pkcs1);

/// Every mutator of a quote.
pub const MUTATORS: &[Mutator<Plan, Sent>] = &[
    accepted("ok", ATTEST, "nothing changed", Before(|_| ())),
    refused(
        "length",
        ATTEST,
        "more bytes than are read",
        (Code::TpmFormat, "Length"),
        After(|sent| sent.edit("quote", |quote| quote.resize(513, 0))),
    ),
    refused(
        "truncated",
        ATTEST,
        "a byte is missing at the end",
        (Code::TpmFormat, "Truncated"),
        After(|sent| sent.edit("quote", shorten)),
    ),
    refused(
        "trailing",
        ATTEST,
        "a byte follows",
        (Code::TpmFormat, "Trailing"),
        After(|sent| sent.edit("quote", |quote| quote.push(0))),
    ),
    refused("magic", ATTEST, "not made by a TPM", (Code::TpmFormat, "Magic"), Before(|plan| plan.magic = 0xff54_4348)),
    refused(
        "kind",
        ATTEST,
        "a certification instead of a quote",
        (Code::TpmFormat, "Kind"),
        Before(|plan| plan.kind = 0x8017),
    ),
    refused("field", ATTEST, "`safe` is neither yes nor no", (Code::TpmFormat, "Field"), Before(|plan| plan.safe = 2)),
    refused("banks", SELECT, "two banks", (Code::TpmSelection, "Banks"), Before(|plan| plan.banks = 2)),
    refused("bank", SELECT, "the SHA-1 bank", (Code::TpmSelection, "Bank"), Before(|plan| plan.bank = 4)),
    refused(
        "selection-size",
        SELECT,
        "a selection of four bytes",
        (Code::TpmSelection, "SelectionSize"),
        Before(|plan| plan.selection.push(0)),
    ),
    refused(
        "selection",
        SELECT,
        "fewer PCRs than wanted, signed",
        (Code::TpmSelection, "Selection"),
        Before(|plan| plan.selection = vec![0x0F, 0, 0]),
    ),
    refused(
        "key-form",
        KEYS,
        "the enrolled key is on P-384",
        (Code::TpmKey, "KeyForm"),
        Before(|plan| plan.key = KeyName("tpm large", Kind::P384)),
    ),
    refused(
        "signature-kind",
        KEYS,
        "an RSA signature, the enrolled key is on P-256",
        (Code::TpmSignature, "SignatureKind"),
        Before(|plan| plan.key = KeyName("tpm small", Kind::P256)),
    ),
    refused(
        "signature-form",
        KEYS,
        "a signature of 255 bytes",
        (Code::TpmSignature, "SignatureForm"),
        After(|sent| sent.edit("signature", shorten)),
    ),
    refused(
        "signature",
        KEYS,
        "another key signed",
        (Code::TpmSignature, "Signature"),
        Before(|plan| plan.signer = KeyName("signer", Kind::Pkcs1)),
    ),
    refused(
        "nonce",
        ATTEST,
        "the nonce of another session",
        (Code::TpmNonce, "Nonce"),
        Before(|plan| plan.nonce = b"another".to_vec()),
    ),
    refused(
        "pcr-index",
        SELECT,
        "values of 25 PCRs",
        (Code::TpmPcr, "PcrIndex"),
        After(|sent| sent.add("pcr", [1; 32])),
    ),
    refused(
        "pcr-missing",
        SELECT,
        "the value of PCR 23 is missing",
        (Code::TpmPcr, "PcrMissing"),
        After(|sent| drop(sent.fields.pop_if(|(name, _)| *name == "pcr"))),
    ),
    refused(
        "pcr-not-quoted",
        SELECT,
        "values beside the quoted PCRs",
        (Code::TpmPcr, "PcrNotQuoted"),
        Before(|plan| {
            plan.selection = vec![0x1F, 0, 0];
            plan.sent.set("want.selection", [0x1F, 0, 0]);
        }),
    ),
    refused(
        "pcr-digest",
        SELECT,
        "another value of PCR 7 than was quoted",
        (Code::TpmPcr, "PcrDigest"),
        After(|sent| {
            sent.fields
                .iter_mut()
                .filter(|(name, _)| *name == "pcr")
                .skip(7)
                .take(1)
                .for_each(|(_, value)| *value = vec![9; 32]);
        }),
    ),
    refused(
        "pcr",
        SELECT,
        "PCR 4 is not the reference value",
        (Code::TpmPcr, "Pcr"),
        Before(|plan| plan.sent.set("want.pcr4", [1; 32])),
    ),
];

impl Forge {
    /// A quote over all PCRs, for a nonce.
    pub(super) fn tpm_plan(&self) -> Result<Plan> {
        let nonce = self.keys.bytes::<32>("tpm nonce")?;
        let mut pcrs = Vec::new();
        for index in 0..24 {
            pcrs.push(self.keys.bytes::<32>(&format!("pcr {index}"))?.to_vec());
        }
        let mut sent = Sent::new("tpm");
        sent.set("want.nonce", nonce);
        sent.set("want.pcr4", pcrs.get(4).ok_or("no PCR")?);
        Ok(Plan {
            magic: 0xff54_4347,
            kind: 0x8018,
            nonce: nonce.to_vec(),
            safe: 1,
            banks: 1,
            bank: 0x000b,
            selection: vec![0xFF; 3],
            pcrs,
            signer: KEY,
            key: KEY,
            sent,
        })
    }

    /// Message and signature.
    pub(super) fn tpm_quote(&self, plan: &Plan) -> Result<(Vec<u8>, Vec<u8>)> {
        let bit = |index: usize| plan.selection.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1);
        let quoted = plan.pcrs.iter().enumerate().filter(|(index, _)| bit(*index));
        let joined: Vec<u8> = quoted.flat_map(|(_, value)| value.clone()).collect();
        let mut message = plan.magic.to_be_bytes().to_vec();
        message.extend(plan.kind.to_be_bytes());
        message.extend([0, 0x22, 0, 0x0b]);
        message.extend(self.keys.bytes::<32>("tpm qualified signer")?);
        message.extend(u16::try_from(plan.nonce.len())?.to_be_bytes());
        message.extend(&plan.nonce);
        message.extend(1_000_000u64.to_be_bytes());
        message.extend(3u32.to_be_bytes());
        message.extend(1u32.to_be_bytes());
        message.push(plan.safe);
        message.extend(0x2020_0312_0012_0003u64.to_be_bytes());
        message.extend(plan.banks.to_be_bytes());
        message.extend(plan.bank.to_be_bytes());
        message.push(u8::try_from(plan.selection.len())?);
        message.extend(&plan.selection);
        message.extend([0, 32]);
        message.extend(digest(&SHA256, &joined).as_ref());
        let signature = self.keys.sign_fixed(plan.signer, &message)?;
        Ok((message, signature))
    }

    fn tpm_make(&self, plan: &Plan) -> Result<Sent> {
        let (message, signature) = self.tpm_quote(plan)?;
        let mut sent = plan.sent.clone();
        sent.add("key", self.keys.spki(plan.key)?);
        sent.add("quote", message);
        sent.add("signature", signature);
        plan.pcrs.iter().for_each(|value| sent.add("pcr", value));
        Ok(sent)
    }

    /// Every vector of TPM quotes.
    pub fn tpm_vectors(&self) -> Result<Vec<TextVector>> {
        self.spoil(MUTATORS, Self::tpm_plan, Self::tpm_make)
    }
}

const ATTEST: &str = "TPM 2.0 Library part 2, 10.12.12 TPMS_ATTEST";
const SELECT: &str = "TPM 2.0 Library part 2, 10.6.2 TPMS_PCR_SELECTION and 10.12.1 TPMS_QUOTE_INFO";
const KEYS: &str = "TPM 2.0 Library part 2, 11.3 signatures";
