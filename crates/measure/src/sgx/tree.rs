//! Enclaves and SIGSTRUCTs as trees, to tell what differs between two.

use super::sgxs::{Enclave, Page};
use crate::diff::Node;
use claims::Digest256;
use claims::enclave::{EnclaveAttributes, SigstructClaims};

/// An enclave measured with its pages ([`super::sgxs::outline`]): runs of pages with the same access, page by page.
pub fn enclave_tree(enclave: &Enclave, source: &str) -> Node {
    let mut parts = vec![
        Node::leaf("size", format!("{:#x}", enclave.size), source),
        Node::leaf("pages of an SSA frame", enclave.ssa_frame_pages, source),
        Node::leaf("threads", enclave.threads, source),
    ];
    let mut rest = enclave.pages.as_slice();
    while let Some(first) = rest.first() {
        let length = rest.iter().zip(0_u64..).take_while(|(page, index)| follows(first, page, *index)).count();
        let (run, behind) = rest.split_at_checked(length.max(1)).unwrap_or((rest, &[]));
        parts.push(run_of(first, run, source));
        rest = behind;
    }
    Node::leaf("MRENCLAVE", enclave.mrenclave, source).with(parts)
}

/// Whether a page continues the run that begins with `first`.
fn follows(first: &Page, page: &Page, index: u64) -> bool {
    first.offset.checked_add(index.saturating_mul(4096)) == Some(page.offset)
        && first.flags == page.flags
        && (first.measured == 0) == (page.measured == 0)
}

fn run_of(first: &Page, run: &[Page], source: &str) -> Node {
    let name = format!("{} pages from {:#x}", first.flags, first.offset);
    if first.measured == 0 {
        return Node::leaf(name, format!("{} pages, contents not measured", run.len()), source);
    }
    let digests: Vec<u8> =
        run.iter().flat_map(|page| page.measured.to_le_bytes().into_iter().chain(page.digest.0)).collect();
    let page = |page: &Page| {
        let chunks = match page.measured {
            u16::MAX => String::new(),
            some => format!(" (chunks {some:#06x} measured)"),
        };
        Node::leaf(format!("page {:#x}", page.offset), format!("{}{chunks}", page.digest), source)
    };
    Node::leaf(name, Digest256::of(&digests), source).with(run.iter().map(page).collect())
}

/// A SIGSTRUCT, field by field.
pub fn sigstruct_tree(claims: &SigstructClaims, source: &str) -> Node {
    let exact = |name: &str, value: String| Node::leaf(name, value, source);
    let attributes = |value: &EnclaveAttributes| format!("flags {:#x}, XFRM {:#x}", value.flags, value.xfrm);
    let parts = vec![
        exact("mrenclave", claims.mrenclave.to_string()),
        exact("mrsigner", claims.mrsigner.to_string()),
        exact("isvprodid", claims.isvprodid.to_string()),
        exact("isvsvn", claims.isvsvn.to_string()),
        exact("isvextprodid", claims.isvextprodid.clone()),
        exact("isvfamilyid", claims.isvfamilyid.clone()),
        exact("date", claims.date.clone()),
        exact("vendor", format!("{:#x}", claims.vendor)),
        exact("swdefined", claims.swdefined.to_string()),
        exact("attributes", attributes(&claims.attributes)),
        exact("attribute mask", attributes(&claims.attribute_mask)),
        exact("miscselect", format!("{:#x}", claims.miscselect)),
        exact("miscmask", format!("{:#x}", claims.miscmask)),
        exact("CET", format!("{:#x}, mask {:#x}", claims.cet.0, claims.cet.1)),
    ];
    let all: Vec<String> = parts.iter().map(|part| part.digest.to_string()).collect();
    Node::leaf("SIGSTRUCT", Digest256::of(all.join("\n").as_bytes()), source).with(parts)
}
