#!/usr/bin/env bash
# Writes the generated pages: manual pages, completions, the reference of the command line, errors, workload file.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p docs/man docs/completions
target/release/confide man docs/man
for shell in bash zsh fish; do target/release/confide completions "$shell" >"docs/completions/confide.$shell"; done
UPDATE=1 cargo test --release --locked --quiet -p cli --test reference_pages
UPDATE=1 cargo test --release --locked --quiet -p testkit
