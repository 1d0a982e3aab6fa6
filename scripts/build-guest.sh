#!/usr/bin/env bash
# Builds the guest, PID 1 of a confidential VM, as one static program: target/release/confide-guest.
#
# Two clones in different folders, by different users, give the same bytes: no path of the build machine stays in the
# program. A launch measurement is over these bytes.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v cargo >/dev/null || { echo 'build-guest: error: cargo is missing; install Rust with rustup, then run this again' >&2; exit 3; }

here="$(pwd -P)"
cargo_home="${CARGO_HOME:-$HOME/.cargo}"
target="${CARGO_TARGET_DIR:-$here/target}"
triple=x86_64-unknown-linux-gnu
# The registry's folder is named after the registry's address, so each folder in it gets the same name.
remap=(--remap-path-prefix "$here=/confide" --remap-path-prefix "$target=/target" --remap-path-prefix "$cargo_home=/cargo")
c_remap="-ffile-prefix-map=$here=/confide -ffile-prefix-map=$target=/target -ffile-prefix-map=$cargo_home=/cargo"
for registry in "$cargo_home"/registry/src/*/; do
  [ -d "$registry" ] || continue
  remap+=(--remap-path-prefix "${registry%/}=/registry")
  c_remap+=" -ffile-prefix-map=${registry%/}=/registry"
done

unset RUSTFLAGS CARGO_BUILD_RUSTFLAGS
separator=$'\x1f'
flags="-Ctarget-feature=+crt-static"
for word in "${remap[@]}"; do flags+="$separator$word"; done
CARGO_ENCODED_RUSTFLAGS="$flags" CFLAGS="$c_remap" SOURCE_DATE_EPOCH=0 LC_ALL=C TZ=UTC \
  cargo build --locked --profile guest -p guest --bin guest --target "$triple" "$@"

mkdir -p "$target/release"
cp "$target/$triple/guest/guest" "$target/release/confide-guest.new"
mv "$target/release/confide-guest.new" "$target/release/confide-guest"
if grep -aqF -e "$here/" -e "$cargo_home/" "$target/release/confide-guest"; then
  echo 'build-guest: error: a path of this machine is in the program, so the build is not reproducible' >&2
  exit 1
fi
printf 'build-guest: %s, %s bytes\n' "$target/release/confide-guest" "$(stat -c %s "$target/release/confide-guest")" >&2
