#!/usr/bin/env bash
# A broker under load, attack and bad luck for long, and a table of what it did. SESSIONS, KILLS, IDLE and HONEST say how
# much, PAUSE after how many seconds an idle connection that was closed comes again, SEED repeats a run. The short form of the same tests is part of `make test`.
set -euo pipefail
cd "$(dirname "$0")/.."
export SOAK_PAUSE="${PAUSE:-10}" SOAK_SESSIONS="${SESSIONS:-200000}" SOAK_KILLS="${KILLS:-200}" SOAK_IDLE="${IDLE:-10000}" SOAK_HONEST="${HONEST:-300}"
[ -z "${SEED:-}" ] || export SOAK_SEED="$SEED"
# One descriptor for each idle connection, on this side as well.
ulimit -n "$(ulimit -Hn)"
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
status=0
cargo test --release --locked --workspace --test soak -- --nocapture --test-threads 1 2>&1 | tee "$log" |
  grep --line-buffered -E '^(soak: |test |skipped: |error)|panicked' || true
grep -q '^test result: ok' "$log" || status=1
printf '\nfigures of %s sessions, %s kills, %s idle connections, on a machine with load %s:\n' \
  "$SOAK_SESSIONS" "$SOAK_KILLS" "$SOAK_IDLE" "$(cut -d' ' -f1-3 /proc/loadavg)"
grep -E '^(soak: |skipped: )' "$log" | sed 's/^soak: /  /'
exit "$status"
