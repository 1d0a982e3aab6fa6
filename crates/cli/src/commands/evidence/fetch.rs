//! `confide evidence fetch-collateral`: everything that verifying some evidence needs, fetched, verified, kept.

use crate::Context;
use crate::appraise::{self, Question, Wanted};
use crate::args::{EvidenceFetchArgs, EvidenceKind};
use crate::collateral::bundle::{self, SignKey};
use crate::collateral::fetch::Fetcher;
use crate::collateral::sources::{self, Addresses, Item};
use crate::collateral::store::{Entry, Store, Stored};
use crate::collateral::{Piece, Pieces};
use crate::outcome::{self, Failure, Outcome, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use claims::{Digest256, UnixTime};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Runs the command.
pub(crate) fn run(args: &EvidenceFetchArgs, context: &Context) -> Result {
    let now = crate::now();
    let store = Store::open(args.store.as_deref())?;
    let key = args.sign_key.as_deref().map(SignKey::read).transpose()?;
    let fetcher = Fetcher::new(args.ca.as_deref())?;
    let mut all: BTreeMap<String, (Stored, bool)> = BTreeMap::new();
    let mut planned = Vec::new();
    let addresses = Addresses {
        kds: &args.kds,
        rim: &args.rim,
        ocsp: &args.ocsp,
        pcs: &args.pcs,
        intel_root_crl: &args.intel_root_crl,
    };
    for file in &args.files {
        let bytes = outcome::read(file)?;
        let kind = super::verify::kind(args.kind, &bytes, file)?;
        appraise::claimed(kind, &bytes).map_err(|refused| refused.failure())?;
        let items = sources::plan(kind, &bytes, &addresses);
        if args.dry_run {
            planned.extend(items);
            continue;
        }
        let take = |items: &[Item]| kept_or_fetched(items, &store, &fetcher, now, context);
        let mut have = take(&items)?;
        // Only a manifest that was fetched says who signed it.
        let manifests: Vec<Vec<u8>> = have.iter().map(|(stored, _)| stored.bytes.clone()).collect();
        have.extend(take(&sources::of_manifests(kind, &manifests, &addresses))?);
        // Nothing is kept that the evidence does not verify with.
        verify(kind, file, &bytes, &have, now)?;
        for (stored, was_kept) in have {
            if !was_kept {
                store.keep(&stored)?;
            }
            all.entry(stored.entry.name.clone()).or_insert((stored, was_kept));
        }
    }
    if args.dry_run {
        return Ok(show_plan(&planned, context));
    }
    if let (Some(path), Some(key)) = (&args.bundle, &key) {
        let items: Vec<Stored> = all.values().map(|(stored, _)| stored.clone()).collect();
        outcome::write(path, &bundle::write(&items, key, now)?)?;
    }
    show(&all, args.bundle.as_deref(), now, context);
    Ok(Outcome::Done)
}

/// Each item with whether it was in the store already.
fn kept_or_fetched(
    items: &[Item],
    store: &Store,
    fetcher: &Fetcher,
    now: UnixTime,
    context: &Context,
) -> Result<Vec<(Stored, bool)>> {
    let mut have = Vec::new();
    for item in items {
        match item.stored(store, now) {
            Some(known) => have.extend(known.into_iter().map(|stored| (stored, true))),
            None => have.extend(get(fetcher, item, now, context)?.into_iter().map(|stored| (stored, false))),
        }
    }
    Ok(have)
}

fn get(fetcher: &Fetcher, item: &Item, now: UnixTime, context: &Context) -> Result<Vec<Stored>> {
    context.printer.step("fetching", &item.name);
    let Some(answer) = fetcher.ask(&item.url, item.request.as_deref())? else {
        if item.optional {
            context.printer.warn(format!("{} has no {}", item.url, item.name));
            return Ok(Vec::new());
        }
        return Err(Failure::environment(format!("{} has no {}", item.url, item.name))
            .code(claims::Code::CollateralFetch)
            .hint("the evidence may name a chip or a patch level that its vendor never certified"));
    };
    let stored = |name: String, bytes: Vec<u8>| {
        let (sha256, source, expires) = (Digest256::of(&bytes), item.url.clone(), attest::expiry::of(&bytes));
        Stored { entry: Entry { name, sha256, source, fetched_at: now, expires }, bytes }
    };
    let mut all = Vec::new();
    if let (Some(header), Some(name)) = (item.chain, item.chain_name()) {
        let chain = answer.headers.get(header).and_then(|value| value.to_str().ok()).map(unescape);
        let chain = chain.ok_or_else(|| {
            Failure::environment(format!("{} answers without the header {header}", item.url))
                .code(claims::Code::CollateralFetch)
        })?;
        all.push(stored(name, chain));
    }
    all.push(stored(item.name.clone(), plain(item, answer.body)?));
    if all.iter().any(|stored| stored.entry.expires.is_some_and(|expires| expires <= now)) {
        context.printer.warn(format!("{} is out of date already: the service is behind", item.name));
    }
    Ok(all)
}

/// NVIDIA's service wraps a RIM into JSON; others send the thing itself.
fn plain(item: &Item, body: Vec<u8>) -> Result<Vec<u8>> {
    if !item.name.starts_with("nvidia/rim/") {
        return Ok(body);
    }
    let rim = serde_json::from_slice::<Value>(&body).ok();
    let rim = rim.as_ref().and_then(|value| value.get("rim")?.as_str());
    rim.and_then(|text| STANDARD.decode(text).ok()).ok_or_else(|| {
        Failure::environment(format!("{} answers without a RIM", item.url)).code(claims::Code::CollateralFetch)
    })
}

/// Percent-encoding undone; a `%` that starts no escape stands for itself.
fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escaped = bytes.get(at + 1..at + 3).filter(|_| *byte == b'%').and_then(|digits| hex::decode(digits).ok());
        match escaped.as_deref() {
            Some([value]) => {
                out.push(*value);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

/// Verifies the evidence with what was fetched, and nothing else; what is wanted of it is not asked.
fn verify(kind: EvidenceKind, file: &Path, bytes: &[u8], have: &[(Stored, bool)], now: UnixTime) -> Result<()> {
    let mut pieces = Pieces::default();
    for (stored, _) in have {
        pieces.push(Piece { name: stored.entry.name.clone(), bytes: stored.bytes.clone(), beside: true });
    }
    let question = Question {
        bytes,
        file,
        pieces: &pieces,
        at: now,
        wanted: Wanted::Any { reason: "collateral is fetched for evidence of any content".to_owned() },
        report_data: None,
        nonce: None,
        enrolled: Vec::new(),
        allow_debug: None,
        require_crl: false,
        floors: None,
    };
    match appraise::verify(kind, &question)? {
        Ok(_) => Ok(()),
        // The certificates hold when only the guest is not as anybody would want it.
        Err(refused) if refused.genuine => Ok(()),
        Err(refused) => {
            Err(refused.failure().hint(format!("nothing was kept for {}: it does not verify", file.display())))
        }
    }
}

fn show_plan(items: &[Item], context: &Context) -> Outcome {
    let list: Vec<Value> = items.iter().map(|item| json!({ "name": item.name, "url": item.url })).collect();
    context.printer.data(&json!({ "would_fetch": list }), || {
        items.iter().map(|item| item.url.as_str()).collect::<Vec<_>>().join("\n")
    });
    Outcome::Done
}

fn show(all: &BTreeMap<String, (Stored, bool)>, bundle: Option<&Path>, now: UnixTime, context: &Context) {
    let expires_in = |stored: &Stored| stored.entry.expires.map(|UnixTime(at)| at.saturating_sub(now.0));
    let list: Vec<Value> = all
        .values()
        .map(|(stored, was_kept)| {
            json!({
                "name": stored.entry.name, "bytes": stored.bytes.len(), "sha256": stored.entry.sha256,
                "source": stored.entry.source, "fetched": !was_kept, "expires_in_seconds": expires_in(stored),
            })
        })
        .collect();
    let answer = json!({ "collateral": list, "bundle": bundle.map(|path| path.display().to_string()) });
    context.printer.data(&answer, || {
        let lines = all.values().map(|(stored, was_kept)| {
            let until = match expires_in(stored) {
                Some(seconds) => format!("expires in {} days", seconds / 86_400),
                None => "does not expire".to_owned(),
            };
            let how = if *was_kept { "kept" } else { "fetched" };
            format!("{:<8} {:>7} bytes  {until:<22} {}", how, stored.bytes.len(), stored.entry.name)
        });
        let mut page = lines.collect::<Vec<_>>().join("\n");
        if let Some(path) = bundle {
            page.push_str(&format!("\nsigned bundle: {}", path.display()));
        }
        page
    });
}
