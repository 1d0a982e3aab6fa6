#!/usr/bin/env bash
# Builds target/release/{confide,confide-dev,confide-guest} and the example's container archive.
set -euo pipefail
cd "$(dirname "$0")/.."
say() { printf 'build: %s\n' "$*" >&2; }
command -v cargo >/dev/null || { echo 'build: error: cargo is missing; install Rust with rustup, then run this again' >&2; exit 3; }
say 'confide and confide-dev'
cargo build --release --locked -p cli
say 'the guest and the example service (static)'
scripts/build-guest.sh
say 'the example container'
examples/hello/make-image.sh target/release/hello examples/hello/hello.tar
say 'done: target/release/confide, confide-dev, confide-guest'
