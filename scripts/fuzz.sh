#!/usr/bin/env bash
# Runs every fuzz target for FUZZ_SECONDS seconds (60), or the targets that are named. Needs the nightly toolchain and
# cargo-fuzz. Every target runs, whatever another one finds; inputs that were found lie in fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { printf 'fuzz: error: %s\n' "$*" >&2; exit 3; }
seconds="${FUZZ_SECONDS:-60}"
rustup toolchain list 2>/dev/null | grep -q nightly || fail 'the nightly toolchain is missing: rustup toolchain install nightly'
command -v cargo-fuzz >/dev/null || { echo 'fuzz: installing cargo-fuzz' >&2; cargo install --locked cargo-fuzz || fail 'cargo-fuzz cannot be installed'; }
vectors="${CONFIDE_VECTORS:-../shared/vectors}"
if [ -d "$vectors" ]; then cargo run --locked --quiet -p testkit --bin seeds -- "$vectors" fuzz/corpus
else echo 'fuzz: skipped: vectors are not here, so there are no seeds' >&2; fi
echo 'fuzz: building every target with instrumentation: 15 minutes on two cores the first time' >&2
cargo +nightly fuzz build || fail 'the targets do not build'
targets=("$@")
[ "$#" -gt 0 ] || mapfile -t targets < <(cargo +nightly fuzz list)
programs="fuzz/target/$(rustc -vV | sed -n 's/^host: //p')/release"
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
found=()
for target in "${targets[@]}"; do
  mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/$target"
  if "$programs/$target" "fuzz/corpus/$target" "-artifact_prefix=fuzz/artifacts/$target/" \
    -max_total_time="$seconds" -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1 >"$log" 2>&1; then
    printf 'fuzz: %-22s %10s runs, nothing found\n' "$target" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")"
  else
    found+=("$target")
    printf 'fuzz: %-22s a finding:\n' "$target"
    tail -n 30 "$log"
  fi
done
[ "${#found[@]}" -eq 0 ] || { echo "fuzz: findings in: ${found[*]}" >&2; exit 1; }
echo 'fuzz: every target ran without a finding'
