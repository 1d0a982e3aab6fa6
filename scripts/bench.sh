#!/usr/bin/env bash
# Every promise of SPECIFICATION.md in one run, each beside a named peer. A promise that is missed is printed as such and
# does not end the run: these figures are for people, and machines are noisy.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
say() { printf '\n== %s\n' "$*"; }
say 'SNP report verification against the sev crate'
cargo bench --locked --quiet -p attest --bench snp
say 'SGX and TDX quote verification against dcap-qvl'
cargo bench --locked --quiet -p attest --bench dcap
say 'layer root hashes against a single-threaded pass'
cargo bench --locked --quiet -p image --bench layers
say 'sealing: verity, XTS, the whole'
cargo bench --locked --quiet -p sealed --bench seal
say 'build from an archive against cp and against the tool pipeline'
cargo bench --locked --quiet -p image --bench build
say 'broker under load, beside what upstream was measured at'
cargo bench --locked --quiet --workspace --bench load
say 'boot: QEMU start to container start against a bare busybox initrd'
scripts/bench-boot.sh
