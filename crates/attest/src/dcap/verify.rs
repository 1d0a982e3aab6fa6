//! Verification: from a quote as it came to one that Intel's keys vouch for.
//!
//! *Takes* a parsed quote, verified collateral, and the time. *Guarantees* of a [`VerifiedQuote`]: Intel's pinned root
//! certified the platform's key, no list names it, that key vouches for Intel's quoting enclave, and the attestation key
//! made there signed these bytes. Patch level and dates are results of their own, on further axes: old or outdated is
//! not the same as forged. *Does not check* whether level, dates and identity are the wanted ones:
//! [`VerifiedQuote::appraise`] does.

use super::cache::PckCache;
use super::certificate::ROOT_NAME;
use super::error::{DcapError, Role};
use super::expected::Expected;
use super::pck::{self, PckChain};
use super::quote::Quote;
use super::roots::{Anchor, UnanchoredRoot};
use super::tcb;
use super::verified::{Checked, UnanchoredCollateral, VerifiedCollateral, item, list_name, window};
use crate::snp::Waiver;
use claims::UnixTime;
use claims::dcap::{CollateralItem, CollateralState, DcapBody, DcapClaims, DcapCollateral, DcapPlatform, DcapRoot};

/// A quote that a platform of Intel's signed. The only way here is verification against Intel's pinned root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedQuote {
    claims: DcapClaims,
}

/// A quote that holds against a root which the caller brought: a test vector, or a forged chain in a test. It says
/// nothing about hardware, and there is no way from it to a [`VerifiedQuote`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnanchoredQuote {
    claims: DcapClaims,
}

/// A verified quote whose claims are the wanted ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppraisedQuote {
    claims: DcapClaims,
    waivers: Vec<Waiver>,
}

/// A quote whose signatures chain to Intel's root, without a word about patch level, revocation and the quoting enclave:
/// there was no collateral. Good for showing what it is and which collateral to get, not for a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedQuote {
    body: DcapBody,
    platform: DcapPlatform,
    root: DcapRoot,
}

impl Quote {
    /// Verifies the whole quote, against Intel's pinned root.
    pub fn verify(&self, with: &VerifiedCollateral, now: UnixTime) -> Result<VerifiedQuote, DcapError> {
        let chain = pck::of_quote_or_collateral(self, &with.checked)?;
        attested(self, &chain, &with.checked, now).map(|claims| VerifiedQuote { claims })
    }

    /// The same with a cache of verified PCK chains: a known platform costs two signature checks. Dates and revocation
    /// are checked at every call.
    pub fn verify_cached(
        &self,
        with: &VerifiedCollateral,
        now: UnixTime,
        cache: &PckCache,
    ) -> Result<VerifiedQuote, DcapError> {
        let Some(pem) = self.pck_chain() else { return self.verify(with, now) };
        let chain = cache.look_up(pem, &with.checked)?;
        attested(self, &chain, &with.checked, now).map(|claims| VerifiedQuote { claims })
    }

    /// Verifies against a root that the caller brings. The result is of another type, and its claims say
    /// `root: unanchored`.
    pub fn check_unanchored(&self, with: &UnanchoredCollateral, now: UnixTime) -> Result<UnanchoredQuote, DcapError> {
        let chain = pck::of_quote_or_collateral(self, &with.checked)?;
        attested(self, &chain, &with.checked, now).map(|claims| UnanchoredQuote { claims })
    }

    /// Checks the chain that the quote carries and its signatures, without collateral.
    pub fn check_signatures(&self) -> Result<SignedQuote, DcapError> {
        signed(self, &Anchor::Production)
    }

    /// The same against a root that the caller brings; the result says so.
    pub fn check_unanchored_signatures(&self, root: &UnanchoredRoot) -> Result<SignedQuote, DcapError> {
        signed(self, &Anchor::Unanchored(root))
    }
}

impl VerifiedQuote {
    /// What the quote states, and what Intel says of its platform.
    pub fn claims(&self) -> &DcapClaims {
        &self.claims
    }

    /// The time that was given as now.
    pub fn checked_at(&self) -> UnixTime {
        UnixTime(self.claims.collateral.checked_at)
    }

    /// Appraises the claims: the quote is the wanted one, or the reason why not.
    pub fn appraise(self, expected: &Expected) -> Result<AppraisedQuote, DcapError> {
        let waivers = expected.admit(&self.claims)?;
        Ok(AppraisedQuote { claims: self.claims, waivers })
    }
}

impl UnanchoredQuote {
    /// What the quote states.
    pub fn claims(&self) -> &DcapClaims {
        &self.claims
    }
}

impl AppraisedQuote {
    /// What the quote states; all of it was wanted or waived.
    pub fn claims(&self) -> &DcapClaims {
        &self.claims
    }

    /// What was not compared, or let pass, and why.
    pub fn waivers(&self) -> &[Waiver] {
        &self.waivers
    }

    /// The time that was given as now.
    pub fn checked_at(&self) -> UnixTime {
        UnixTime(self.claims.collateral.checked_at)
    }
}

impl SignedQuote {
    /// What the quote states.
    pub fn body(&self) -> &DcapBody {
        &self.body
    }

    /// The platform, by its PCK certificate: FMSPC and authority say which collateral to get.
    pub fn platform(&self) -> &DcapPlatform {
        &self.platform
    }

    /// Where the chain ends.
    pub fn root(&self) -> DcapRoot {
        self.root
    }
}

fn signed(quote: &Quote, anchor: &Anchor<'_>) -> Result<SignedQuote, DcapError> {
    let chain = pck::of_quote_or_collateral(quote, &Checked::bare(anchor))?;
    chain.check_signatures(quote)?;
    Ok(SignedQuote { body: quote.claimed().clone(), platform: chain.platform(), root: anchor.root() })
}

/// The whole verification, behind the chain. `grep attested` finds every place where trust begins.
fn attested(quote: &Quote, chain: &PckChain, checked: &Checked, now: UnixTime) -> Result<DcapClaims, DcapError> {
    chain.check_signatures(quote)?;
    let issuer = &chain.authority.name;
    checked.check_revocation(Role::PckCa, ROOT_NAME, &chain.authority.serial)?;
    checked.check_revocation(Role::Pck, issuer, &chain.serial)?;

    let extension = &chain.extension;
    let info = checked.info(quote.tee(), &extension.fmspc, &extension.pce_id, now)?;
    let identity = checked.identity(quote.tee(), now)?;
    if let DcapBody::Tdx(claims) = quote.claimed() {
        tcb::check_module(&info.value, claims, quote.measured)?;
    }
    let verdict = tcb::appraise(&info.value, &identity.value, extension, quote.measured, &quote.qe_report)?;

    let mut items: Vec<CollateralItem> =
        chain.root_valid.map(|valid| item("root certificate", valid)).into_iter().collect();
    items.extend([
        item("PCK authority's certificate", chain.authority.valid),
        item("PCK certificate", chain.valid),
        item("TCB info", info.value.valid),
        item("TCB info's signer", info.signer),
        item("QE identity", identity.value.valid),
        item("QE identity's signer", identity.signer),
    ]);
    let lists = [ROOT_NAME, issuer].into_iter();
    items.extend(lists.filter_map(|name| checked.list_valid(name, now).map(|valid| item(list_name(name), valid))));
    Ok(DcapClaims {
        tee: quote.tee(),
        root: checked.root,
        quote_version: quote.version(),
        body: quote.claimed().clone(),
        platform: chain.platform(),
        tcb: verdict,
        collateral: dated(items, now),
    })
}

fn dated(items: Vec<CollateralItem>, UnixTime(now): UnixTime) -> DcapCollateral {
    let (from, until) = window(&items);
    let state = match (now < from, now > until) {
        (true, _) => CollateralState::NotYetValid,
        (_, true) => CollateralState::Expired,
        _ => CollateralState::Current,
    };
    DcapCollateral { state, checked_at: now, from, until, items }
}
