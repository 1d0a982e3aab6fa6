//! The manifest's tampered variants, by id, on one vector that verifies.
//!
//! What the `expect` of a variant says in words is here the code that the refusal must have.

use super::forge::{self, Forge, Layout, Revoked};
use super::{Judge, lenient, text, verify};
use attest::dcap::{DcapError, ExpectedBody, Quote, Tolerance, UnanchoredRoot};
use claims::dcap::{DcapClaims, DcapTee};
use claims::{Code, UnixTime};
use serde_json::Value;

/// What came of one attempt.
pub(super) struct Attempt {
    /// What of the variant.
    pub(super) part: &'static str,
    /// The codes that are right; none when it must be accepted.
    pub(super) codes: &'static [Code],
    pub(super) result: Result<(), DcapError>,
}

/// A vector that verifies: its quote without padding, and its bundle.
pub(super) struct Base<'a> {
    pub(super) quote: &'a [u8],
    pub(super) bundle: &'a Value,
    pub(super) at: UnixTime,
    pub(super) claims: &'a DcapClaims,
    pub(super) donors: &'a [Donor],
}

/// Another vector, of this manifest or of the one beside it.
pub(super) struct Donor {
    pub(super) quote: Vec<u8>,
    pub(super) bundle: Option<Value>,
    pub(super) test_root: bool,
}

/// Why a variant could not be made.
pub(super) type Unmade = String;

const QUOTE: &[Code] = &[Code::DcapSignature];
const QE: &[Code] = &[Code::DcapQe];
const CHAIN: &[Code] = &[Code::DcapChain, Code::DcapCertificate, Code::DcapRoot];
const ROOT: &[Code] = &[Code::DcapRoot];
const JSON: &[Code] = &[Code::DcapCollateral];
const FORMAT: &[Code] = &[Code::DcapFormat];
const KIND: &[Code] = &[Code::DcapVersion];
const DATES: &[Code] = &[Code::DcapExpired];
const REVOKED: &[Code] = &[Code::DcapRevoked];
const DEBUG: &[Code] = &[Code::DcapDebug];

impl Base<'_> {
    /// Makes a variant and tries it.
    pub(super) fn attempts(&self, id: &str) -> Result<Vec<Attempt>, Unmade> {
        let layout = Layout::of(self.quote).ok_or("not a quote")?;
        let (report_data, identity) = match self.claims.tee {
            DcapTee::Sgx => (layout.body + 320, layout.body + 64),
            DcapTee::Tdx => (layout.body + 520, layout.body + 136),
        };
        let flip = |at: usize, codes| self.quoted("", codes, &flipped(self.quote, at));
        Ok(match id {
            "report_data_flip" => vec![flip(report_data, QUOTE), flip(report_data + 63, QUOTE)],
            "mrenclave_flip" => vec![flip(identity, QUOTE), flip(identity + 31, QUOTE)],
            "attest_key_swap" => vec![self.quoted("", QE, &made(forge::swap_attestation_key(self.quote))?)],
            "qe_auth_data_flip" if layout.authentication.is_empty() => return Err("it has none".to_owned()),
            "qe_auth_data_flip" => vec![flip(layout.authentication.start, QE)],
            "qe_report_flip" => vec![flip(layout.qe + 64, QE), flip(layout.qe + 383, QE)],
            "pck_leaf_swap" => vec![self.leaf_swap(&layout)?],
            "chain_to_other_root" => self.other_root(&layout)?,
            "tcb_info_edit" => {
                let info = text(self.bundle, "tcb_info").replacen("\"OutOfDate\"", "\"UpToDate\"", 1);
                let svn = text(self.bundle, "tcb_info").replacen("svn\":", "svn\":1", 1);
                vec![self.with("status", JSON, &[("tcb_info", info)]), self.with("svn", JSON, &[("tcb_info", svn)])]
            }
            "tcb_info_reserialize" => {
                let value: Value = made(serde_json::from_str(text(self.bundle, "tcb_info")))?;
                vec![self.with("", JSON, &[("tcb_info", made(serde_json::to_string_pretty(&value))?)])]
            }
            "other_fmspc" => vec![self.lent("tcb_info", "another platform model's", |donor| {
                donor.tee() == Some(self.claims.tee) && donor.fmspc().is_some_and(|fmspc| fmspc != self.fmspc())
            })?],
            "sgx_collateral_for_tdx" => vec![self.lent("tcb_info", "the other TEE's", |donor| self.is_other(donor))?],
            "qe_identity_wrong" => vec![self.lent("qe_identity", "the other TEE's", |donor| self.is_other(donor))?],
            "expired" => self.dated(&["TCB info", "QE identity", "root's revocation list", "PCK revocation list"]),
            "not_yet" => vec![self.judged("", DATES, self.claims.collateral.from.saturating_sub(1))],
            "revoked" => self.revoked()?,
            "debug_bit" => self.debugged()?,
            "truncate" => self.truncated(),
            "oversize_lengths" => self.oversized(&layout),
            "trailing" => {
                let with = |bytes: &[u8]| [self.quote, bytes].concat();
                vec![
                    self.quoted("a byte", FORMAT, &with(&[1])),
                    self.quoted("a second quote", FORMAT, &with(self.quote)),
                    self.quoted("zeros", &[], &with(&[0; 3000])),
                ]
            }
            "cert_type" => {
                let put = |part, at: usize, kind: u8| self.quoted(part, KIND, &replaced(self.quote, at, &[kind, 0]));
                let outer = layout.outer.map(|at| put("outer", at, 7));
                outer.into_iter().chain([put("inner", layout.inner, 4)]).collect()
            }
            "root_in_quote" => {
                let start = last_certificate(self.quote, &layout)?;
                [200, 400, 700].map(|within| flip(start + within, CHAIN)).into()
            }
            other => return Err(format!("no mutator for `{other}`")),
        })
    }

    fn quoted(&self, part: &'static str, codes: &'static [Code], quote: &[u8]) -> Attempt {
        let result = Quote::parse(quote).and_then(|quote| Judge::Lenient.of(&quote, self.bundle, None, self.at));
        Attempt { part, codes, result }
    }

    fn with(&self, part: &'static str, codes: &'static [Code], members: &[(&str, String)]) -> Attempt {
        let mut bundle = self.bundle.clone();
        for (name, value) in members {
            bundle[*name] = Value::from(value.as_str());
        }
        let result = Quote::parse(self.quote).and_then(|quote| Judge::Lenient.of(&quote, &bundle, None, self.at));
        Attempt { part, codes, result }
    }

    /// At another time, by the strict rule about dates.
    fn judged(&self, part: &'static str, codes: &'static [Code], at: u64) -> Attempt {
        let at = UnixTime(at);
        let result = Quote::parse(self.quote).and_then(|quote| Judge::Dated.of(&quote, self.bundle, None, at));
        Attempt { part, codes, result }
    }

    /// A second after the end of each of these.
    fn dated(&self, pieces: &[&str]) -> Vec<Attempt> {
        let items = self.claims.collateral.items.iter().filter(|item| pieces.contains(&item.what));
        items.map(|item| self.judged(item.what, DATES, item.until.saturating_add(1))).collect()
    }

    fn fmspc(&self) -> String {
        self.claims.platform.fmspc.clone()
    }

    fn is_other(&self, donor: &Donor) -> bool {
        donor.tee().is_some_and(|tee| tee != self.claims.tee)
    }

    /// With a signed text of another vector, and its signer's chain.
    fn lent(&self, what: &str, whose: &'static str, fits: impl Fn(&Donor) -> bool) -> Result<Attempt, Unmade> {
        let donors = self.donors.iter().filter(|donor| !donor.test_root && fits(donor));
        let bundle = donors.filter_map(|donor| donor.bundle.as_ref()).next().ok_or("no vector lends it")?;
        let members = ["", "_signature", "_issuer_chain"].map(|suffix| format!("{what}{suffix}"));
        let members: Vec<(&str, String)> =
            members.iter().map(|name| (name.as_str(), text(bundle, name).to_owned())).collect();
        Ok(self.with(whose, JSON, &members))
    }

    fn leaf_swap(&self, layout: &Layout) -> Result<Attempt, Unmade> {
        let own = certificates(self.quote, layout)?;
        let others = self.donors.iter().filter(|donor| !donor.test_root).filter_map(|donor| {
            let chain = certificates(&donor.quote, &Layout::of(&donor.quote)?).ok()?;
            (chain.len() == own.len() && chain.first() != own.first()).then_some(chain)
        });
        // Of the same authority when there is one, else with its authority.
        let mut others: Vec<Vec<String>> = others.collect();
        others.sort_by_key(|chain| chain.get(1) != own.get(1));
        let chain = others.first().ok_or("no vector lends a certificate")?.concat();
        let quote = layout.with_data(self.quote, chain.as_bytes()).ok_or("not a quote")?;
        Ok(self.quoted("", QE, &quote))
    }

    fn other_root(&self, layout: &Layout) -> Result<Vec<Attempt>, Unmade> {
        let lent = self.donors.iter().filter(|donor| donor.test_root).filter_map(|donor| donor.bundle.as_ref());
        let lent = lent.map(|bundle| text(bundle, "pck_certificate_chain").to_owned());
        // Intel's test chains may stand in another order, which alone is refused.
        let lent = lent.filter(|chain| chain.contains("BEGIN")).map(|chain| ("Intel's test root", CHAIN, chain));
        let own = ("a root of our own", ROOT, made(Forge::like(self.quote))?.chain().concat());
        let attempt = |(part, codes, chain): (_, _, String)| {
            let quote = layout.with_data(self.quote, chain.as_bytes()).ok_or("not a quote")?;
            Ok(self.quoted(part, codes, &quote))
        };
        lent.chain([own]).map(attempt).collect()
    }

    /// Signed by a PKI of our own: with every list empty it is genuine under that root, with each name it is not.
    fn revoked(&self) -> Result<Vec<Attempt>, Unmade> {
        let forge = made(Forge::like(self.quote))?;
        let quote = self.forged(&forge, |_| ())?;
        let cases = [
            ("control", Revoked::Nothing, &[][..]),
            ("PCK", Revoked::Pck, REVOKED),
            ("PCK authority", Revoked::PckCa, REVOKED),
            ("TCB signing", Revoked::Signer, REVOKED),
        ];
        let attempt = |(part, revoked, codes)| {
            let bundle = self.forged_bundle(&forge, revoked)?;
            let root = made(UnanchoredRoot::from_der(&forge.root))?;
            Ok(Attempt { part, codes, result: Judge::Lenient.of(&quote, &bundle, Some(&root), self.at) })
        };
        let production = self.forged_bundle(&forge, Revoked::Nothing)?;
        let mut attempts = cases.into_iter().map(attempt).collect::<Result<Vec<_>, Unmade>>()?;
        let result = Judge::Lenient.of(&quote, &production, None, self.at);
        attempts.push(Attempt { part: "production", codes: ROOT, result });
        Ok(attempts)
    }

    fn debugged(&self) -> Result<Vec<Attempt>, Unmade> {
        let forge = made(Forge::like(self.quote))?;
        let at = match self.claims.tee {
            DcapTee::Sgx => (48, 2),
            DcapTee::Tdx => (120, 1),
        };
        let quote = self.forged(&forge, |body| {
            if let Some(byte) = body.get_mut(at.0) {
                *byte |= at.1;
            }
        })?;
        let bundle = self.forged_bundle(&forge, Revoked::Nothing)?;
        let root = made(UnanchoredRoot::from_der(&forge.root))?;
        let claims = verify(&quote, bundle.to_string().as_bytes(), Some(&root), self.at);
        let mut rule = lenient(self.claims.tee);
        match &mut rule.body {
            ExpectedBody::Sgx(body) => body.debugging = Tolerance::Refused,
            ExpectedBody::Tdx(body) => body.debugging = Tolerance::Refused,
        }
        let judged = |rule| claims.clone().and_then(|claims| super::admit(rule, &claims));
        Ok(vec![
            Attempt { part: "forbidden", codes: DEBUG, result: judged(&rule) },
            Attempt { part: "tolerated", codes: &[], result: judged(&lenient(self.claims.tee)) },
        ])
    }

    fn forged(&self, forge: &Forge, edit: impl FnOnce(&mut [u8])) -> Result<Quote, Unmade> {
        made(Quote::parse(&made(forge.quote(self.quote, edit))?))
    }

    fn forged_bundle(&self, forge: &Forge, revoked: Revoked) -> Result<Value, Unmade> {
        made(forge.collateral(text(self.bundle, "tcb_info"), text(self.bundle, "qe_identity"), revoked))
    }

    /// At every length: refused, and at once.
    fn truncated(&self) -> Vec<Attempt> {
        let cut = |length: usize| Quote::parse(self.quote.get(..length).unwrap_or_default());
        let result = match (0..self.quote.len()).find_map(|length| cut(length).ok()) {
            Some(_) => Ok(()),
            None => cut(self.quote.len().saturating_sub(1)).map(|_| ()),
        };
        vec![Attempt { part: "at every length", codes: FORMAT, result }]
    }

    fn oversized(&self, layout: &Layout) -> Vec<Attempt> {
        let put = |part, at: usize, bytes: &[u8]| self.quoted(part, FORMAT, &replaced(self.quote, at, bytes));
        let outer = layout.outer.map(|at| put("outer data", at + 2, &[0xFF; 4]));
        let others = [
            put("signature data", layout.signed, &[0xFF; 4]),
            put("authentication data", layout.authentication.start - 2, &[0xFF; 2]),
            put("certification data", layout.inner + 2, &[0xFF; 4]),
        ];
        outer.into_iter().chain(others).collect()
    }
}

impl Donor {
    fn info(&self) -> Option<Value> {
        serde_json::from_str(text(self.bundle.as_ref()?, "tcb_info")).ok()
    }

    fn tee(&self) -> Option<DcapTee> {
        self.info().map(|info| if info["id"] == "TDX" { DcapTee::Tdx } else { DcapTee::Sgx })
    }

    fn fmspc(&self) -> Option<String> {
        self.info()?["fmspc"].as_str().map(str::to_ascii_lowercase)
    }
}

fn made<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, Unmade> {
    result.map_err(|error| error.to_string())
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let byte = bytes.get(at).map_or(0, |byte| byte ^ 1);
    replaced(bytes, at, &[byte])
}

fn replaced(bytes: &[u8], at: usize, with: &[u8]) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    for (to, from) in changed.iter_mut().skip(at).zip(with) {
        *to = *from;
    }
    changed
}

/// The certificates of a quote's chain, in PEM.
fn certificates(quote: &[u8], layout: &Layout) -> Result<Vec<String>, Unmade> {
    let data = made(std::str::from_utf8(quote.get(layout.data.clone()).unwrap_or_default()))?;
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    let blocks = data.trim_end_matches('\0').split(BEGIN).skip(1);
    let blocks: Vec<String> = blocks.map(|block| format!("{BEGIN}{}\n", block.trim_end())).collect();
    if blocks.is_empty() { Err("it carries no chain".to_owned()) } else { Ok(blocks) }
}

/// Where the last certificate of a quote's chain starts.
fn last_certificate(quote: &[u8], layout: &Layout) -> Result<usize, Unmade> {
    let data = made(std::str::from_utf8(quote.get(layout.data.clone()).unwrap_or_default()))?;
    match data.matches("-----BEGIN").count() {
        3 => Ok(layout.data.start + data.rfind("-----BEGIN").unwrap_or(0)),
        _ => Err("it carries no root".to_owned()),
    }
}
