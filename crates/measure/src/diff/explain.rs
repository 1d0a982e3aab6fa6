//! Which small change to a launch would explain a reported digest.

use crate::snp::{Context, GuestFeatures, KernelHashes, Launch, MAX_VCPUS, VcpuType, loaded, save_areas};
use claims::LaunchDigest;
use std::collections::BTreeSet;

/// What a reported digest turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The changes that reproduce the digest, in words.
    pub words: Vec<String>,
    /// How many launches were tried.
    pub tried: usize,
}

/// A launch that may be varied, with its command line, whose digest alone would not do.
#[derive(Debug, Clone)]
pub struct Neighbourhood<'a> {
    /// The launch as it was meant.
    pub launch: Launch<'a>,
    /// Its command line.
    pub command_line: Option<&'a str>,
}

/// Most CPUs that are tried.
const MOST_VCPUS: u32 = 64;
const FEATURES: [(u64, &str); 5] = [
    (0x0, "SEV features 0x0 (SNP not marked active)"),
    (0x1, "SEV features 0x1"),
    (0x21, "SEV features 0x21 (debug swap, as hosts of Linux 6.6 and 6.7 set it)"),
    (0x201, "SEV features 0x201 (secure TSC)"),
    (0x5, "SEV features 0x5"),
];

/// Tries launches near the meant one. An answer is given only if it reproduces `reported`.
///
/// The firmware is hashed once, and virtual CPUs are added one by one, so that thousands of launches take milliseconds.
pub fn explain(meant: &Neighbourhood<'_>, reported: LaunchDigest) -> Option<Explanation> {
    let firmware = Context::after_firmware(meant.launch.ovmf);
    let mut tried: usize = 0;
    for (kernel, kernel_words) in kernels(meant) {
        let launch = Launch { kernel, ..meant.launch.clone() };
        let Ok(start) = loaded(&launch, firmware.clone()) else { continue };
        for (vcpu_type, type_words) in types(launch.vcpu_type) {
            for (guest_features, feature_words) in features(launch.guest_features) {
                let launch = Launch { vcpu_type, guest_features, ..launch.clone() };
                let (found, counted) = vcpus_of(reported, &launch, start.clone());
                tried = tried.saturating_add(counted);
                let Some(vcpus) = found else { continue };
                let meant = meant.launch.vcpus;
                let vcpus_words = (vcpus != meant).then(|| format!("{vcpus} virtual CPUs instead of {meant}"));
                let words = [&kernel_words, &vcpus_words, &type_words, &feature_words];
                return Some(Explanation { words: words.into_iter().flatten().cloned().collect(), tried });
            }
        }
    }
    None
}

/// The number of virtual CPUs with which the digest is the reported one, and how many were tried.
fn vcpus_of(reported: LaunchDigest, launch: &Launch<'_>, mut context: Context) -> (Option<u32>, usize) {
    let most = MOST_VCPUS.max(launch.vcpus.min(MAX_VCPUS));
    let (most, pages) = match save_areas(&Launch { vcpus: most, ..launch.clone() }) {
        Ok(pages) => (most, Ok(pages)),
        // A firmware without a reset address starts one virtual CPU only.
        Err(_) => (1, save_areas(&Launch { vcpus: 1, ..launch.clone() })),
    };
    let Ok((boot, other)) = pages else { return (None, 0) };
    let mut tried: usize = 0;
    for vcpus in 1..=most {
        context.save_area(if vcpus == 1 { &boot } else { &other });
        tried = tried.saturating_add(1);
        if context.clone().digest() == reported {
            return (Some(vcpus), tried);
        }
    }
    (None, tried)
}

type Variant<T> = (T, Option<String>);

fn kernels(meant: &Neighbourhood<'_>) -> Vec<Variant<Option<KernelHashes>>> {
    let mut variants = vec![(meant.launch.kernel, None)];
    let Some(hashes) = meant.launch.kernel else { return variants };
    let text = meant.command_line.unwrap_or_default();
    let trimmed = text.trim();
    let lines = [
        (format!("{trimmed} "), "a blank behind the command line"),
        (format!(" {trimmed}"), "a blank before the command line"),
        (trimmed.to_owned(), "the command line without the blanks around it"),
        (format!("{trimmed}\n"), "a line end behind the command line"),
        (trimmed.split_whitespace().collect::<Vec<_>>().join(" "), "single blanks between the command line's words"),
        (String::new(), "no command line"),
    ];
    for (line, words) in lines {
        if line != text {
            let changed = KernelHashes { command_line: KernelHashes::command_line(&line), ..hashes };
            variants.push((Some(changed), Some(words.to_owned())));
        }
    }
    let words: Vec<&str> = text.split(' ').collect();
    for (skipped, word) in words.iter().enumerate().take(64) {
        let rest: Vec<&str> =
            words.iter().enumerate().filter(|(index, _)| *index != skipped).map(|(_, word)| *word).collect();
        let changed = KernelHashes { command_line: KernelHashes::command_line(&rest.join(" ")), ..hashes };
        variants.push((Some(changed), Some(format!("the command line without `{word}`"))));
    }
    let empty = claims::Digest256::of(b"").0;
    if hashes.initrd != empty {
        variants.push((Some(KernelHashes { initrd: empty, ..hashes }), Some("no initrd".to_owned())));
    }
    variants.push((None, Some("no kernel (the firmware started something else)".to_owned())));
    variants
}

fn types(meant: VcpuType) -> Vec<Variant<VcpuType>> {
    let mut seen = BTreeSet::from([meant.signature()]);
    let others = VcpuType::ALL.iter().filter(|other| seen.insert(other.signature()));
    let others: Vec<_> =
        others.map(|other| (*other, Some(format!("virtual CPUs of type {other} instead of {meant}")))).collect();
    std::iter::once((meant, None)).chain(others).collect()
}

fn features(meant: GuestFeatures) -> Vec<Variant<GuestFeatures>> {
    let others = FEATURES.iter().filter(|(bits, _)| *bits != meant.0);
    std::iter::once((meant, None))
        .chain(others.map(|(bits, words)| (GuestFeatures(*bits), Some((*words).to_owned()))))
        .collect()
}
