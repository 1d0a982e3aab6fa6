#!/usr/bin/env bash
# Tests the broker's API against its own OpenAPI document, with schemathesis: no answer is a server's error, and every
# answer is one that the document has. The tool comes from PyPI with pinned versions, into a virtual environment below
# target/; the broker is a real one that the test `openapi` serves. One seed, about a minute.
#
#   scripts/api-test.sh [cargo test's selection…]      as --release --locked --workspace
#
# Exits 77 where the tool cannot be had, after it said why.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- --release --locked --workspace
skip() { echo "skipped: $*"; exit 77; }
command -v python3 >/dev/null || skip 'python3 is not here'
python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
  skip 'python3 is older than 3.10, or cannot make virtual environments (python3-venv)'

wanted=scripts/api-test/requirements.txt
place="${CARGO_TARGET_DIR:-target}/api-test"
if ! cmp -s "$wanted" "$place/installed.txt"; then
  rm -rf "$place"
  mkdir -p "$(dirname "$place")"
  python3 -m venv "$place"
  "$place/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: -r "$wanted" ||
    skip 'schemathesis cannot be had from PyPI here'
  cp "$wanted" "$place/installed.txt"
fi
SCHEMATHESIS="$(realpath "$place")/bin/schemathesis" cargo test "$@" --test openapi -- --nocapture --test-threads 1
