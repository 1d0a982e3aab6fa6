//! Development only: the forge of evidence and its text vectors, the runner of published vectors, and the pages that are
//! generated from tables.
//!
//! *Takes* a seed, or folders of vectors. *Guarantees* that a case counts only as what the verifiers said about it.
//! *Does not check* anything itself: the verifiers do.
#![forbid(unsafe_code)]

pub mod errors;
pub mod forge;
pub mod judge;
pub mod parsers;
pub mod text;
pub mod vectors;
