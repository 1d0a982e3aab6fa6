//! Development only: vectors runner and evidence forge.
