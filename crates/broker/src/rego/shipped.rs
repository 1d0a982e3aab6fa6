//! The appraisal policies that come with the broker: one for each kind of evidence. Each says what it wants as reference
//! values; without those nothing is affirmed.

use super::Program;
use std::sync::LazyLock;

macro_rules! shipped {
    ($($name:literal)*) => {
        /// Name and text of each.
        pub(crate) const TEXTS: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../policies/", $name, ".rego"))),)*];
    };
}

shipped! {
    "snp"
    "tdx"
    "sgx"
    "az-snp-vtpm"
    "az-tdx-vtpm"
    "tpm"
    "aci"
    "nvidia"
    "sample"
    "none"
}

/// The policy of a kind; `none`, which affirms nothing, for a kind without.
pub(crate) fn of(name: &str) -> &'static Program {
    static PROGRAMS: LazyLock<Vec<(&str, Program)>> =
        LazyLock::new(|| TEXTS.iter().filter_map(|(name, text)| Some((*name, Program::compile(text).ok()?))).collect());
    let find = |name: &str| PROGRAMS.iter().find(|(known, _)| *known == name).map(|(_, program)| program);
    #[expect(clippy::expect_used, reason = "the text is part of the program, and a test compiles every one")]
    find(name).or_else(|| find("none")).expect("the shipped policies compile")
}
