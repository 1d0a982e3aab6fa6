//! A quote as a plan (Intel, "ECDSA Quote Library API", appendix A.3 and A.4).

use super::{ATTESTATION, PCK};
use crate::forge::Result;
use crate::forge::keys::{KeyName, Keys};
use aws_lc_rs::digest::{SHA256, digest};

/// What a quote is to be.
#[derive(Debug, Clone)]
pub(in crate::forge) struct QuotePlan {
    /// 48 bytes.
    pub(in crate::forge) header: Vec<u8>,
    /// Body type and size (version 5).
    pub(in crate::forge) descriptor: Option<(u16, u32)>,
    pub(in crate::forge) body: Vec<u8>,
    /// The quoting enclave's report, without its report data.
    pub(in crate::forge) qe: Vec<u8>,
    pub(in crate::forge) qe_signer: KeyName,
    pub(in crate::forge) signer: KeyName,
    pub(in crate::forge) outer: u16,
    pub(in crate::forge) inner: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    Sgx,
    Td10,
    Td15,
}

impl QuotePlan {
    pub(super) fn of(keys: &Keys, kind: Body) -> Result<Self> {
        let (version, tee) = match kind {
            Body::Sgx => (3u16, 0u32),
            Body::Td10 => (4, 0x81),
            Body::Td15 => (5, 0x81),
        };
        let mut header = version.to_le_bytes().to_vec();
        header.extend(2u16.to_le_bytes());
        header.extend(tee.to_le_bytes());
        header.extend([8, 0, 13, 0]);
        header.extend(INTEL);
        header.extend(keys.bytes::<20>("intel quote user data")?);
        let body = match kind {
            Body::Sgx => {
                // INIT and MODE64.
                let mut body = enclave(&keys.bytes::<32>("intel mrenclave")?, &keys.bytes::<32>("intel mrsigner")?, 5);
                put(&mut body, 320, &keys.bytes::<64>("intel sgx report data")?);
                body
            }
            Body::Td10 => domain(keys, 584)?,
            Body::Td15 => domain(keys, 648)?,
        };
        Ok(Self {
            header,
            descriptor: (kind == Body::Td15).then_some((3, 648)),
            body,
            qe: enclave(&keys.bytes::<32>("intel qe")?, &keys.bytes::<32>("intel qe signer")?, 5),
            qe_signer: PCK,
            signer: ATTESTATION,
            outer: 6,
            inner: 5,
        })
    }

    /// Overwrites bytes of the body.
    pub(super) fn body(&mut self, at: usize, bytes: &[u8]) {
        put(&mut self.body, at, bytes);
    }

    pub(super) fn make(&self, keys: &Keys, chain: &[u8]) -> Result<Vec<u8>> {
        let mut quote = self.header.clone();
        if let Some((kind, size)) = self.descriptor {
            quote.extend(kind.to_le_bytes());
            quote.extend(size.to_le_bytes());
        }
        quote.extend(&self.body);
        let signature = keys.sign_fixed(self.signer, &quote)?;
        let info = keys.info(ATTESTATION)?;
        let point = info.subject_public_key.raw_bytes().get(1..).ok_or("no point")?.to_vec();
        let authentication: Vec<u8> = (0..32).collect();
        let mut qe = self.qe.clone();
        if qe.iter().skip(320).all(|byte| *byte == 0) {
            let named = digest(&SHA256, &[point.as_slice(), &authentication].concat());
            put(&mut qe, 320, named.as_ref());
        }
        let mut certified = qe.clone();
        certified.extend(keys.sign_fixed(self.qe_signer, &qe)?);
        certified.extend(32u16.to_le_bytes());
        certified.extend(&authentication);
        certified.extend(self.inner.to_le_bytes());
        certified.extend(u32::try_from(chain.len())?.to_le_bytes());
        certified.extend(chain);
        let mut data = [signature, point].concat();
        if self.header.first().is_some_and(|version| *version > 3) {
            data.extend(self.outer.to_le_bytes());
            data.extend(u32::try_from(certified.len())?.to_le_bytes());
        }
        data.extend(certified);
        quote.extend(u32::try_from(data.len())?.to_le_bytes());
        quote.extend(data);
        Ok(quote)
    }
}

/// An enclave's report: attributes, measurement, signer, product 1, version 8.
fn enclave(measurement: &[u8], signer: &[u8], flags: u8) -> Vec<u8> {
    let mut body = vec![0; 384];
    put(&mut body, 0, &[11; 16]);
    put(&mut body, 48, &[flags, 0, 0, 0, 0, 0, 0, 0, 0xE7]);
    put(&mut body, 64, measurement);
    put(&mut body, 128, signer);
    put(&mut body, 256, &[1, 0, 8, 0]);
    body
}

fn domain(keys: &Keys, length: usize) -> Result<Vec<u8>> {
    let mut body = vec![0; length];
    // Module version 1, its patch level 5; the loader's components behind them.
    let svn = [&[5, 1], [3; 14].as_slice()].concat();
    put(&mut body, 0, &svn);
    put(&mut body, 16, &keys.bytes::<48>("intel mr seam")?);
    // SEPT_VE_DISABLE.
    put(&mut body, 120, &(1u64 << 28).to_le_bytes());
    put(&mut body, 128, &0xE7u64.to_le_bytes());
    put(&mut body, 136, &keys.bytes::<48>("intel mrtd")?);
    put(&mut body, 328, &keys.bytes::<48>("intel rtmr0")?);
    put(&mut body, 520, &keys.bytes::<64>("intel tdx report data")?);
    if length > 584 {
        put(&mut body, 584, &svn);
    }
    Ok(body)
}

pub(in crate::forge) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    for (place, byte) in bytes.iter_mut().skip(at).zip(value) {
        *place = *byte;
    }
}

const INTEL: [u8; 16] =
    [0x93, 0x9A, 0x72, 0x33, 0xF7, 0x9C, 0x4C, 0xA9, 0x94, 0x0A, 0x0D, 0xB3, 0x95, 0x7F, 0x06, 0x07];
