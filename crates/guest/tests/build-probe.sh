#!/usr/bin/env bash
# Builds examples/probe.rs as a static program, for tests/boot/volumes.rs. Apart from scripts/build-guest.sh, because
# examples are built with the features of test dependencies, and those must not change the measured guest.
set -euo pipefail
cd "$(dirname "$0")/../../.."
RUSTFLAGS='-Ctarget-feature=+crt-static' \
  cargo build --locked --profile guest -p guest --example probe --target x86_64-unknown-linux-gnu
