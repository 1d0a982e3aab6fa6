//! Known answers of RFC 6962's reference implementation (certificate-transparency, `merkletree` tests), and every proof of
//! every small tree against a recomputation straight from the definition.

use super::*;
use std::convert::Infallible;

/// Largest tree tried in full.
const SIZES: u64 = 70;

/// The eight leaves of the reference implementation's test.
const INPUTS: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];

const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn digest(text: &str) -> Digest256 {
    text.parse().unwrap()
}

fn leaves(count: u64) -> Vec<Digest256> {
    (0..count).map(|index| leaf_hash(format!("entry {index}").as_bytes())).collect()
}

/// MTH of RFC 9162 section 2.1.1, as it is defined there.
fn defined(leaves: &[Digest256]) -> Digest256 {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let mut half = 1;
            while half * 2 < leaves.len() {
                half *= 2;
            }
            node_hash(&defined(&leaves[..half]), &defined(&leaves[half..]))
        }
    }
}

fn nodes(leaves: &[Digest256]) -> impl FnMut(u32, u64) -> Result<Digest256, Infallible> + '_ {
    |level, place| {
        let width = 1_usize << level;
        let start = usize::try_from(place).unwrap() * width;
        Ok(defined(&leaves[start..start + width]))
    }
}

fn flips(proof: &[Digest256]) -> impl Iterator<Item = Vec<Digest256>> + '_ {
    (0..proof.len() * 256).map(|bit| {
        let mut other = proof.to_vec();
        other[bit / 256].0[bit % 256 / 8] ^= 1 << (bit % 8);
        other
    })
}

#[test]
fn roots_are_those_of_the_reference_implementation() {
    let leaves: Vec<_> = INPUTS.iter().map(|input| leaf_hash(&hex::decode(input).unwrap())).collect();
    let mut edge = Edge::default();
    assert_eq!(edge.root(), digest(ROOTS[0]));
    for (count, leaf) in leaves.iter().enumerate() {
        edge.push(*leaf);
        assert_eq!(edge.root(), digest(ROOTS[count + 1]), "{}", count + 1);
        let Ok(made) = root(edge.size(), &mut nodes(&leaves));
        assert_eq!(made, edge.root());
    }
}

#[test]
fn proofs_are_those_of_the_reference_implementation() {
    let leaves: Vec<_> = INPUTS.iter().map(|input| leaf_hash(&hex::decode(input).unwrap())).collect();
    let Ok(proof) = inclusion_proof(5, 8, &mut nodes(&leaves));
    let wanted = [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ];
    assert_eq!(proof, wanted.map(digest));
    let Ok(proof) = consistency_proof(6, 8, &mut nodes(&leaves));
    let wanted = [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ];
    assert_eq!(proof, wanted.map(digest));
}

#[test]
fn every_leaf_of_every_tree_has_a_proof_and_nothing_else_passes() {
    let leaves = leaves(SIZES);
    for size in 1..=SIZES {
        let Ok(root) = root(size, &mut nodes(&leaves));
        assert_eq!(root, defined(&leaves[..usize::try_from(size).unwrap()]));
        for (index, leaf) in (0..size).zip(&leaves) {
            let Ok(proof) = inclusion_proof(index, size, &mut nodes(&leaves));
            assert!(includes(leaf, index, size, &proof, &root), "{index} of {size}");
            let other = leaf_hash(b"another");
            assert!(!includes(&other, index, size, &proof, &root), "{index} of {size}");
            for wrong in (0..=size).filter(|wrong| *wrong != index) {
                assert!(!includes(leaf, wrong, size, &proof, &root), "{index} as {wrong} of {size}");
            }
            assert!(!includes(leaf, index, size, &[proof.as_slice(), &[other]].concat(), &root));
            if let Some((_, shorter)) = proof.split_last() {
                assert!(!includes(leaf, index, size, shorter, &root));
            }
        }
    }
}

#[test]
fn every_tree_extends_its_beginnings_and_nothing_else() {
    let leaves = leaves(SIZES);
    let roots: Vec<_> = (0..=SIZES).map(|size| root(size, &mut nodes(&leaves)).unwrap()).collect();
    for (new, new_root) in (0..=SIZES).zip(&roots) {
        for (old, old_root) in (0..=new).zip(&roots) {
            let Ok(proof) = consistency_proof(old, new, &mut nodes(&leaves));
            assert!(extends((old, old_root), (new, new_root), &proof), "{old} in {new}");
            let other = leaf_hash(b"another");
            assert!(!extends((old, &other), (new, new_root), &proof), "{old} in {new}");
            assert!(old == 0 || !extends((old, old_root), (new, &other), &proof), "{old} in {new}");
            assert!(!extends((old, old_root), (new, new_root), &[proof.as_slice(), &[other]].concat()));
            if let Some((_, shorter)) = proof.split_last() {
                assert!(!extends((old, old_root), (new, new_root), shorter), "{old} in {new}");
            }
            assert!(old == new || !extends((new, new_root), (old, old_root), &proof), "{new} in {old}");
        }
    }
}

#[test]
fn a_flipped_bit_breaks_a_proof() {
    let leaves = leaves(SIZES);
    for size in [2, 3, 7, 8, 11, 64, SIZES] {
        let Ok(whole) = root(size, &mut nodes(&leaves));
        for (index, leaf) in (0..size).zip(&leaves).step_by(3) {
            let Ok(proof) = inclusion_proof(index, size, &mut nodes(&leaves));
            for bad in flips(&proof) {
                assert!(!includes(leaf, index, size, &bad, &whole), "{index} of {size}");
            }
        }
        for old in (1..size).step_by(5) {
            let Ok(before) = root(old, &mut nodes(&leaves));
            let Ok(proof) = consistency_proof(old, size, &mut nodes(&leaves));
            for bad in flips(&proof) {
                assert!(!extends((old, &before), (size, &whole), &bad), "{old} in {size}");
            }
        }
    }
}

#[test]
fn an_edge_makes_every_node_that_proofs_ask_for() {
    let leaves = leaves(SIZES);
    let mut table = std::collections::HashMap::new();
    let mut edge = Edge::default();
    for leaf in &leaves {
        for (level, place, hash) in edge.push(*leaf) {
            assert_eq!(table.insert((level, place), hash), None);
        }
        assert_eq!(Edge::from_bytes(&edge.to_bytes()).as_ref(), Some(&edge));
        let size = edge.size();
        let mut from_table = |level, place| table.get(&(level, place)).copied().ok_or((level, place));
        assert_eq!(root(size, &mut from_table), Ok(edge.root()));
        assert_eq!(edge.root(), defined(&leaves[..usize::try_from(size).unwrap()]));
        for index in 0..size {
            assert!(inclusion_proof(index, size, &mut from_table).is_ok());
            assert!(consistency_proof(index, size, &mut from_table).is_ok());
        }
    }
    let bytes = edge.to_bytes();
    assert_eq!(Edge::from_bytes(&bytes[..bytes.len() - 32]), None);
    assert_eq!(Edge::from_bytes(&bytes[1..]), None);
    assert_eq!(Edge::from_bytes(&[0; 7]), None);
}
