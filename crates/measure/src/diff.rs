//! Why two launches differ, in words; and which small change would explain a reported digest.
//!
//! *Takes* two launches component by component, or one launch and a digest that was reported for it.
//! *Guarantees* that an explanation of a reported digest reproduces that very digest.
//! *Does not check* that the explanation is the only one.

use crate::snp::{Context, GuestFeatures, KernelHashes, Launch, MAX_VCPUS, VcpuType, loaded, save_areas};
use claims::LaunchDigest;
use std::collections::BTreeSet;

/// One thing that a measurement depends on: what it is, its digest or value, where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// What it is.
    pub name: &'static str,
    /// Digest of a file, or the value itself.
    pub value: String,
    /// Where it came from.
    pub source: String,
    /// Whether `value` is a text whose words may be compared.
    pub is_text: bool,
}

/// Everything a measurement depends on, and the measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// What the components are measured into.
    pub measurement: String,
    /// The components, in the order they are loaded.
    pub components: Vec<Component>,
}

/// A component that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What it is.
    pub name: &'static str,
    /// Value in the first.
    pub first: String,
    /// Value in the second.
    pub second: String,
    /// The difference in words.
    pub words: String,
}

/// How two trees relate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The components that differ, in the order they are loaded.
    pub differences: Vec<Difference>,
    /// Names of the components that are equal.
    pub equal: Vec<&'static str>,
}

impl Comparison {
    /// One sentence that names what differs first.
    pub fn summary(&self) -> String {
        if self.differences.is_empty() {
            return "all components are equal".to_owned();
        }
        let words: Vec<&str> = self.differences.iter().map(|difference| difference.words.as_str()).collect();
        let rest = if self.equal.is_empty() { "nothing else is equal" } else { "all else equal" };
        format!("{}; {rest}", words.join("; "))
    }
}

/// Compares two trees of the same kind.
pub fn compare(first: &Tree, second: &Tree) -> Comparison {
    let names: Vec<&'static str> = {
        let mut seen = BTreeSet::new();
        first
            .components
            .iter()
            .chain(&second.components)
            .map(|component| component.name)
            .filter(|name| seen.insert(*name))
            .collect()
    };
    let find = |tree: &Tree, name| tree.components.iter().find(|component| component.name == name).cloned();
    let mut comparison = Comparison { differences: Vec::new(), equal: Vec::new() };
    for name in names {
        let (a, b) = (find(first, name), find(second, name));
        let value = |component: &Option<Component>| component.as_ref().map(|component| component.value.clone());
        let (a_value, b_value) = (value(&a), value(&b));
        if a_value == b_value {
            comparison.equal.push(name);
            continue;
        }
        let is_text = a.as_ref().or(b.as_ref()).is_some_and(|component| component.is_text);
        let (first, second) = (a_value.unwrap_or_else(|| "absent".into()), b_value.unwrap_or_else(|| "absent".into()));
        let words = if is_text {
            words_between(name, &first, &second)
        } else {
            format!("{name} differs: {first} became {second}")
        };
        comparison.differences.push(Difference { name, first, second, words });
    }
    comparison
}

/// Which words of a text were added and removed; falls back to blanks and order, which count too.
fn words_between(name: &str, first: &str, second: &str) -> String {
    let missing = |from: &str, other: &str| -> Vec<String> {
        let mut pool: Vec<&str> = other.split(' ').filter(|word| !word.is_empty()).collect();
        from.split(' ')
            .filter(|word| !word.is_empty())
            .filter(|word| match pool.iter().position(|candidate| candidate == word) {
                Some(index) => {
                    pool.swap_remove(index);
                    false
                }
                None => true,
            })
            .map(|word| format!("`{word}`"))
            .collect()
    };
    let (removed, added) = (missing(first, second), missing(second, first));
    let mut parts = Vec::new();
    if !added.is_empty() {
        parts.push(format!("{} added", added.join(" ")));
    }
    if !removed.is_empty() {
        parts.push(format!("{} removed", removed.join(" ")));
    }
    if parts.is_empty() {
        let same_words = first.split_whitespace().eq(second.split_whitespace());
        parts.push(if same_words { "only blanks differ".into() } else { "the same words in another order".into() });
    }
    format!("{name}: {}", parts.join(", "))
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(command_line: &str, kernel: &str) -> Tree {
        let component =
            |name, value: &str, is_text| Component { name, value: value.into(), source: "test".into(), is_text };
        Tree {
            measurement: "m".into(),
            components: vec![component("kernel", kernel, false), component("kernel command line", command_line, true)],
        }
    }

    #[test]
    fn an_added_word_is_named() {
        let comparison = compare(&tree("quiet a=1", "k"), &tree("console=ttyS0 quiet a=1", "k"));
        assert_eq!(comparison.summary(), "kernel command line: `console=ttyS0` added; all else equal");
        assert_eq!(comparison.equal, ["kernel"]);
    }

    #[test]
    fn blanks_and_order_are_told_apart() {
        assert_eq!(
            compare(&tree("a b", "k"), &tree("a  b", "k")).summary(),
            "kernel command line: only blanks differ; all else equal"
        );
        assert_eq!(
            compare(&tree("a b", "k"), &tree("b a", "k")).summary(),
            "kernel command line: the same words in another order; all else equal"
        );
    }

    #[test]
    fn equal_trees_have_no_difference() {
        assert_eq!(compare(&tree("a", "k"), &tree("a", "k")).summary(), "all components are equal");
    }
}
