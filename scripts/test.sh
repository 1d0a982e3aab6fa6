#!/usr/bin/env bash
# Every test of Confide: format, lints, supply chain, unit tests, vectors, the boots. Ends with
# `N passed, N failed, N skipped`, and exits 0 only if nothing failed.
set -uo pipefail
cd "$(dirname "$0")/.."
passed=0 failed=0 skipped=0
log="$(mktemp)"
trap 'rm -f "$log"' EXIT

say() { printf '\n== %s\n' "$*"; }
check() { # NAME COMMAND…: one check that passes or fails
  local name="$1"; shift
  say "$name"
  if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $name"; fi
}
skip() { skipped=$((skipped + 1)); echo "skipped: $*"; }
# Adds up what `cargo test` says of itself. A test that had to leave something out prints a line `skipped: why`.
count() {
  local sums
  sums="$(awk '/^test result:/ { p += $4; f += $6; i += $8 } END { print p + 0, f + 0, i + 0 }' "$log")"
  read -r p f i <<<"$sums"
  passed=$((passed + p)) failed=$((failed + f))
  local left_out; left_out="$(grep -c 'skipped: ' "$log" || true)"
  skipped=$((skipped + i + left_out))
}

check 'format' cargo fmt --all --check
check 'release build of confide, confide-dev and the static guest' scripts/build.sh
check 'lints' cargo clippy --release --locked --workspace --all-targets --quiet -- -D warnings
if command -v cargo-deny >/dev/null; then
  check 'licences, doubles and sources' cargo deny --offline --locked check licenses bans sources
else
  skip 'cargo-deny is not installed (cargo install --locked cargo-deny)'
fi
check 'the probe that looks around inside a booted VM' crates/guest/tests/build-probe.sh
say 'unit tests, vectors, behaviour'
cargo test --release --locked --workspace --no-fail-fast -- --nocapture --test-threads 2 2>&1 | tee "$log" |
  grep -E '^(test |test result|skipped: |error|failures:|---- )|panicked|     Running|Doc-tests' | grep -vE '\.\.\. ok$'
[ "${PIPESTATUS[0]}" = 0 ] || { failed=$((failed + 1)); grep -E '^error|FAILED|panicked' "$log" | head -n 40; }
count
check 'our text vectors' cargo run --release --locked --quiet -p testkit --bin vectors -- crates/testkit/vectors --json
if [ -d ../shared/vectors ]; then
  check 'published vectors' cargo run --release --locked --quiet -p testkit --bin vectors -- ../shared/vectors --json
else
  skip 'the vectors are not here (../shared/vectors)'
fi
check 'make demo: a boot that is believed, and three that are refused' scripts/demo.sh

printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
