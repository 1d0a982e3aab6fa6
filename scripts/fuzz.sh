#!/usr/bin/env bash
# Runs every fuzz target for SECONDS seconds (60). Needs the nightly toolchain and cargo-fuzz.
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { printf 'fuzz: error: %s\n' "$*" >&2; exit 3; }
seconds="${FUZZ_SECONDS:-60}"
rustup toolchain list 2>/dev/null | grep -q nightly || fail 'the nightly toolchain is missing: rustup toolchain install nightly'
command -v cargo-fuzz >/dev/null || { echo 'fuzz: installing cargo-fuzz' >&2; cargo install --locked cargo-fuzz || fail 'cargo-fuzz cannot be installed'; }
vectors="${CONFIDE_VECTORS:-../shared/vectors}"
if [ -d "$vectors" ]; then cargo run --locked --quiet -p testkit --bin seeds -- "$vectors" fuzz/corpus
else echo 'fuzz: skipped: vectors are not here, so there are no seeds' >&2; fi
for target in $(cargo +nightly fuzz list); do
  echo "fuzz: $target for $seconds s" >&2
  cargo +nightly fuzz run "$target" -- -max_total_time="$seconds" -rss_limit_mb=2048 -verbosity=0
done
echo 'fuzz: every target ran without a finding' >&2
