#!/usr/bin/env bash
# Makes the container image of the key broker with Confide's own image writer: the program, the libraries that it is
# linked with, a user, and nothing else. The same program and libraries give the same bytes.
#   make-image.sh [OUTPUT.tar]      (target/confide-broker.tar)
# Load it with `docker load -i`, `podman load -i`, or `skopeo copy oci-archive:…`.
set -euo pipefail
cd "$(dirname "$0")/.."
output="${1:-target/confide-broker.tar}"
folder="${BINARIES:-target/release}"
for program in confide broker-image; do
  [ -x "$folder/$program" ] || { echo "make-image: error: $folder/$program is missing; run make build" >&2; exit 3; }
done
# Places only: what ldd says without one (linux-vdso) is in the kernel.
mapfile -t libraries < <(ldd "$folder/confide" | grep -oE '(=> )?/[^ ]+' | sed 's/^=> //' | LC_ALL=C sort -u)
[ "${#libraries[@]}" -gt 0 ] || [ "$(ldd "$folder/confide" 2>&1 | grep -c 'statically linked')" = 1 ] || {
  echo 'make-image: error: ldd does not say what confide is linked with' >&2; exit 3; }
rm -f "$output"
digest="$("$folder/broker-image" "$folder/confide" "${libraries[@]}" "$output")"
printf 'make-image: %s, %s bytes, %s\n' "$output" "$(stat -c %s "$output")" "$digest" >&2
printf '%s\n' "$digest"
