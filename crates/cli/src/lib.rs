//! The command line: confide and confide-dev.
