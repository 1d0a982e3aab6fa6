#!/usr/bin/env bash
# Installs what Confide needs on this machine, and fetches the parts of a guest: kernel, modules, firmware.
#
#   scripts/setup.sh            packages and guest parts
#   scripts/setup.sh --tests    what the tests need as well: some tools, and the programs of a PostgreSQL and an NFS server,
#                               of which none is started
#   scripts/setup.sh --check    print what is missing, change nothing, exit 3 if anything is
#
# The guest parts come as package files from the archive that this machine already uses; they are unpacked
# into a folder of your own and never installed, so the machine's release does not change.
set -euo pipefail

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { printf 'setup: error: %s\n' "$*" >&2; exit 3; }

parts="${CONFIDE_GUEST_PARTS:-${XDG_CACHE_HOME:-$HOME/.cache}/confide/guest-parts}"
check=no tests=no
case "${1:-}" in
  --check) check=yes ;;
  --tests) tests=yes ;;
  '') ;;
  *) fail "unknown argument $1; see the head of $0" ;;
esac

# Tool looked for, and the package that brings it.
tools=(
  "qemu-system-x86_64 qemu-system-x86" "qemu-img qemu-utils" "e2fsck e2fsprogs" "cryptsetup cryptsetup-bin"
  "veritysetup cryptsetup-bin" "cc gcc" "make make" "zstd zstd" "xz xz-utils" "cpio cpio" "busybox busybox-static"
  "curl curl" "openssl openssl" "git git"
)
test_tools=("shellcheck shellcheck" "strace strace" "faketime faketime" "skopeo skopeo" "softhsm2-util softhsm2")

missing_packages() {
  local pair all=("${tools[@]}")
  [ "$tests" = no ] || all+=("${test_tools[@]}")
  PATH="$PATH:/usr/sbin:/sbin"
  for pair in "${all[@]}"; do
    command -v "${pair%% *}" >/dev/null 2>&1 || printf '%s\n' "${pair##* }"
  done | sort -u
}

parts_complete() {
  [ -s "$parts/vmlinuz" ] && [ -d "$parts/modules" ] && [ -s "$parts/OVMF.amdsev.fd" ] && [ -s "$parts/SOURCES" ]
}

install_packages() {
  local missing sudo=''
  missing="$(missing_packages | tr '\n' ' ')"
  [ -n "${missing// /}" ] || { say 'packages: all there'; return; }
  [ "$(id -u)" = 0 ] || sudo=sudo
  [ -z "$sudo" ] || command -v sudo >/dev/null 2>&1 ||
    fail "these packages are missing and there is no sudo; as root run: apt-get install $missing"
  say "installing: $missing"
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get update -qq ||
    fail 'apt-get update failed; check the network and the package sources, then run this again'
  # shellcheck disable=SC2086
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >&2 ||
    fail "apt-get install failed; try by hand: apt-get install $missing"
}

# The package of the server makes a database and starts it on every machine that it is installed on; this one must not, so
# the setting that says so is changed for as long as the installation takes. Without the server its tests say `skipped`.
install_postgres() {
  local sudo='' settings=/etc/postgresql-common/createcluster.conf kept
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null && { say 'PostgreSQL for the tests: there'; return; }
  [ "$(id -u)" = 0 ] || sudo=sudo
  if [ -n "$sudo" ] && ! command -v sudo >/dev/null 2>&1; then
    say 'PostgreSQL for the tests: no sudo to install it with; those tests are skipped'; return
  fi
  say 'installing PostgreSQL for the tests, without a database that runs'
  if ! { $sudo env DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql-common >&2; }; then
    say 'PostgreSQL for the tests: postgresql-common could not be installed; those tests are skipped'; return
  fi
  kept="$(mktemp)"
  cp "$settings" "$kept"
  sed -E 's/^#? *create_main_cluster *=.*/create_main_cluster = false/' "$kept" | $sudo tee "$settings" >/dev/null
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >&2 ||
    say 'PostgreSQL for the tests: it could not be installed; those tests are skipped'
  $sudo tee "$settings" <"$kept" >/dev/null
  rm -f "$kept"
}

# An NFS server in user space. Its package starts one, and a port mapper, on every machine that it is installed on, so the
# files are unpacked beside the guest parts instead. Without them its tests say `skipped`.
fetch_nfs_server() {
  local folder="${XDG_CACHE_HOME:-$HOME/.cache}/confide/nfs-server" sudo='' names staged
  if [ -e "$folder/usr/bin/ganesha.nfsd" ] || command -v ganesha.nfsd >/dev/null; then say 'NFS server for the tests: there'; return; fi
  wanted() { apt-get install -s --no-install-recommends nfs-ganesha nfs-ganesha-vfs 2>/dev/null | sed -nE 's/^Inst ([^ ]+).*/\1/p'; }
  names="$(wanted || true)"
  if [ -z "$names" ]; then
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get update -qq || true
    names="$(wanted || true)"
  fi
  staged="$(mktemp -d)"
  # shellcheck disable=SC2086
  if [ -n "$names" ] && (cd "$staged" && apt-get download -qq -o APT::Sandbox::User=root $names >&2 &&
    for deb in *.deb; do dpkg-deb -x "$deb" root; done); then
    mkdir -p "$(dirname "$folder")"
    rm -rf "$folder"
    mv "$staged/root" "$folder"
    say 'NFS server for the tests: unpacked, not installed'
  else
    say 'NFS server for the tests: nfs-ganesha could not be fetched; those tests are skipped'
  fi
  rm -rf "$staged"
}

# The archive this machine installs from, read from its own package sources.
archive_of() {
  { cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
      sed -nE 's/^deb +(\[[^]]*\] +)?([a-z+]+:[^ ]+) .*/\2/p'
    sed -nE 's/^URIs: *([^ ]+).*/\1/p' /etc/apt/sources.list.d/*.sources 2>/dev/null
  } | grep -E "/$1/?\$" | head -n 1
}

private_apt() {
  apt-get -qq -o Dir::State="$work/state" -o Dir::Cache="$work/cache" -o Dir::Etc::sourcelist="$work/sources.list" \
    -o Dir::Etc::sourceparts=- -o Dir::State::status=/dev/null -o APT::Architecture=amd64 -o APT::Sandbox::User=root \
    -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false -o Acquire::Languages=none \
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@"
}

fetch_package() { # NAME[/SUITE] into $work/root; prints the package file's name
  ( cd "$work" && rm -f ./*.deb && private_apt download "$1" && for deb in *.deb; do
      dpkg-deb -x "$deb" "$work/root"; printf '%s\n' "$deb"; done )
}

fetch_parts() {
  local archive keyring sources='' name deb
  work="$(mktemp -d)"
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/root"
  if archive="$(archive_of debian)" && [ -n "$archive" ]; then
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$archive" trixie "$keyring" "$archive" sid >"$work/sources.list"
    kernel=linux-image-cloud-amd64/trixie firmware=ovmf-amdsev/sid
  elif archive="$(archive_of ubuntu)" && [ -n "$archive" ]; then
    keyring=/usr/share/keyrings/ubuntu-archive-keyring.gpg
    printf 'deb [signed-by=%s] %s %s main universe\n' "$keyring" "$archive" questing >"$work/sources.list"
    kernel=linux-image-virtual/questing firmware=ovmf/questing
  else
    fail "no Debian or Ubuntu archive found in this machine's package sources; put vmlinuz, modules/ and OVMF.amdsev.fd into $parts yourself"
  fi
  [ -r "$keyring" ] || fail "the archive's key ring $keyring is missing; install the package that holds it"
  say 'reading the package lists'
  private_apt update >&2 || fail 'the package lists could not be read; check the network, then run this again'
  # The metapackage of the wanted suite names the kernel; ask for exactly that one.
  ( cd "$work" && private_apt download "$kernel" )
  name="$(dpkg-deb -f "$work"/*.deb Depends | tr ',' '\n' | sed -nE 's/^ *(linux-(image|modules)-[^ ]+).*/\1/p')"
  [ -n "$name" ] || fail "the package $kernel names no kernel"
  for deb in $name; do
    say "fetching $deb"
    sources+="kernel $(fetch_package "$deb")"$'\n'
    case "$deb" in linux-image-*generic)
      sources+="modules $(fetch_package "linux-modules-${deb#linux-image-}")"$'\n' ;;
    esac
  done
  say "fetching ${firmware%/*}"
  sources+="firmware $(fetch_package "$firmware")"$'\n'

  local staged="$parts.new"
  rm -rf "$staged"; mkdir -p "$staged"
  cp "$work"/root/boot/vmlinuz-* "$staged/vmlinuz"
  local modules
  modules="$(echo "$work"/root/{usr/,}lib/modules/*/ | tr ' ' '\n' | grep -v '\*' | head -n 1)"
  [ -d "$modules" ] || fail 'the kernel package holds no modules'
  cp -r "$modules" "$staged/modules"
  cp "$work/root/usr/share/ovmf/OVMF.amdsev.fd" "$staged/OVMF.amdsev.fd" 2>/dev/null ||
    fail 'the firmware package holds no OVMF.amdsev.fd'
  chmod -R u+rwX,go+rX "$staged"
  ( cd "$staged" && printf '%s' "$sources" && sha256sum vmlinuz OVMF.amdsev.fd ) >"$staged/SOURCES.tmp"
  mv "$staged/SOURCES.tmp" "$staged/SOURCES"
  rm -rf "$parts"; mkdir -p "$(dirname "$parts")"; mv "$staged" "$parts"
  say 'guest parts are ready:'; sed 's/^/setup:   /' "$parts/SOURCES" >&2
}

if [ "$check" = yes ]; then
  missing="$(missing_packages | tr '\n' ' ')"
  status=0
  [ -z "${missing// /}" ] || { say "missing packages: $missing"; status=3; }
  parts_complete || { say 'missing: guest parts (kernel, modules, firmware)'; status=3; }
  exit $status
fi
install_packages
[ "$tests" = no ] || { install_postgres; fetch_nfs_server; }
if parts_complete; then say 'guest parts: all there'; else fetch_parts; fi
