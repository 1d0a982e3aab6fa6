#!/usr/bin/env bash
# Builds static programs: the guest, PID 1 of a confidential VM, as target/release/confide-guest, and the service of the
# example container as target/release/hello. With --probe only the PID 1 of test VMs, as target/release/probe: from the
# same dependencies, built with the same flags, so most of the work is shared.
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
mkdir -p "$target/release"

static_program() { # PACKAGE NAME: builds the package's program as target/release/NAME
  local package="$1" name="$2"
  CARGO_ENCODED_RUSTFLAGS="$flags" CFLAGS="$c_remap" SOURCE_DATE_EPOCH=0 LC_ALL=C TZ=UTC \
    cargo build --locked --profile guest -p "$package" --bin "$package" --target "$triple"
  cp "$target/$triple/guest/$package" "$target/release/$name.new"
  mv "$target/release/$name.new" "$target/release/$name"
  if grep -aqF -e "$here/" -e "$cargo_home/" "$target/release/$name"; then
    echo "build-guest: error: a path of this machine is in $name, so the build is not reproducible" >&2
    exit 1
  fi
  printf 'build-guest: %s, %s bytes\n' "$target/release/$name" "$(stat -c %s "$target/release/$name")" >&2
}

case "${1:-}" in
  --probe) static_program probe probe ;;
  *) static_program guest confide-guest; static_program hello hello ;;
esac
