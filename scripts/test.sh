#!/usr/bin/env bash
# Every test of Confide: format, lints, supply chain, unit tests, vectors, the boots. Ends with
# `N passed, N failed, N skipped`, and exits 0 only if nothing failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
passed=0 failed=0 skipped=0
log="$(mktemp)"
trap 'rm -f "$log"' EXIT

say() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }
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
vectors() { # FOLDER: says how many agree, and each case that does not
  local status=0
  target/release/vectors "$1" --json >"$log" || status=$?
  [ "$status" = 0 ] || grep -vE '"expected":("[^"]*"),"got":\1' "$log" | head -n 50
  tail -n 1 "$log"
  return "$status"
}

check 'format' cargo fmt --all --check
check 'shell scripts' shellcheck scripts/*.sh .ci/run examples/hello/*.sh
check 'the guest and the example service (static)' scripts/build-guest.sh
check 'the probe that looks around inside a booted VM (static)' scripts/build-guest.sh --probe
check 'the example container' examples/hello/make-image.sh target/release/hello examples/hello/hello.tar
# One selection of packages for tests, programs and lints: each other one has other features, and would build every
# dependency once more. The tests' build makes confide, confide-dev and the vectors program, too.
check 'release build of the programs and the tests' cargo test --release --locked --workspace --no-run --quiet
check 'lints' cargo clippy --release --locked --workspace --all-targets --quiet -- -D warnings
if command -v cargo-deny >/dev/null; then
  check 'licences, doubles and sources' cargo deny --offline --locked check licenses bans sources
else
  skip 'cargo-deny is not installed (cargo install --locked cargo-deny)'
fi
say 'unit tests, vectors, behaviour'
cargo test --release --locked --workspace --no-fail-fast -- --nocapture --test-threads 2 2>&1 | tee "$log" |
  grep -E '^(test |test result|skipped: |error|failures:|---- )|panicked|     Running|Doc-tests' | grep -vE '\.\.\. ok$'
[ "${PIPESTATUS[0]}" = 0 ] || {
  failed=$((failed + 1))
  say 'what the failed tests said'
  grep -E -A 80 'panicked at' "$log" | head -n 400
}
count
say 'the broker answers as its OpenAPI document says'
scripts/api-test.sh
case $? in
  0) passed=$((passed + 1)) ;;
  77) skipped=$((skipped + 1)) ;; # It said why.
  *) failed=$((failed + 1)); echo 'FAILED: the broker does not answer as its OpenAPI document says' ;;
esac
check 'our text vectors' vectors crates/testkit/vectors
if [ -d ../shared/vectors ]; then
  check 'published vectors' vectors ../shared/vectors
else
  skip 'the vectors are not here (../shared/vectors)'
fi
check 'make demo: a boot that is believed, and three that are refused' scripts/demo.sh
check 'launch_vm.sh of the bundle that the demo made' shellcheck demo-work/workspace/bundle/launch_vm.sh

printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
