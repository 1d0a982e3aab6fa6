#!/usr/bin/env bash
# The main job on this machine, then three attacks on it. Exits 0 only if all of it happened as it must.
set -euo pipefail
cd "$(dirname "$0")/.."
confide=target/release/confide-dev
work=demo-work
export CONFIDE_WORKSPACE="$work/workspace" CONFIDE_BROKER_DIR="$work/workspace/broker"

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'demo: error: %s\n' "$*" >&2; exit 1; }
finish() { status=$?; "$confide" down --quiet >/dev/null || true; [ $status = 0 ] || echo "demo: failed; logs are in $work" >&2; exit $status; }
trap finish EXIT
rm -rf "$work"; mkdir -p "$work"

say 'A confidential VM from a container archive: confide-dev up examples/hello/workload.yml'
"$confide" up examples/hello/workload.yml --json >"$work/up.json" || fail 'the VM is not up'
cat "$work/up.json"
grep -q '"attested":true' "$work/up.json" || fail 'not attested'
grep -q '"right":true' "$work/up.json" || fail 'the service did not prove that it holds the secret'

# attack NAME CODE: starts the changed copy of the bundle, which must end refused with CODE.
attack() {
  local name="$1" code="$2" status=0
  timeout 300 "$confide" launch "$work/$name" --publish 8080:0 >"$work/$name.out" 2>"$work/$name.log" || status=$?
  grep -E 'confide: (step|halt)|^error' "$work/$name.log" | sed 's/^/    /' || true
  [ "$status" = 1 ] || fail "the attack '$name' ended with status $status, wanted 1 (refused)"
  grep -q "code=$code" "$work/$name.log" || fail "the attack '$name' was not refused with $code"
}
copy() { cp -r "$work/workspace/bundle" "$work/$1"; }

say 'Attack 1: the host adds a kernel argument'
copy changed-argument
sed -i 's/"command_line": "/&debug /' "$work/changed-argument/manifest.json"
attack changed-argument E-MEASUREMENT
"$confide" explain last | sed 's/^/    /'
"$confide" measure diff "$work/workspace/bundle" "$work/changed-argument" | sed 's/^/    /' || true

say 'Attack 2: the host changes site.json'
copy changed-site
sed -i 's/"check_frequency": 120/"check_frequency": 999/' "$work/changed-site/site.json"
attack changed-site E-SITE
"$confide" explain E-SITE | sed 's/^/    /'

say 'Attack 3: the host flips one block of the root volume'
copy flipped-block
qemu-io -f qcow2 -c 'write -q -P 0x55 16M 4k' "$work/flipped-block/crypt_root.qcow2" >/dev/null
attack flipped-block E-ROOT
"$confide" explain E-ROOT | sed 's/^/    /'

say 'The log of every decision is whole'
"$confide" audit verify
say 'demo: done. One guest was believed, three were refused'
