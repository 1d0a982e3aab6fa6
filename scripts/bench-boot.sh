#!/usr/bin/env bash
# From QEMU's start to the container's start, network included, beside a bare busybox initrd that only gets an address:
# same kernel, same emulator, same size of machine, alternating, best of RUNS each.
set -euo pipefail
cd "$(dirname "$0")/.."
confide=target/release/confide-dev
runs="${RUNS:-3}"
parts="${CONFIDE_GUEST_PARTS:-${XDG_CACHE_HOME:-$HOME/.cache}/confide/guest-parts}"
work="$(mktemp -d)"
export CONFIDE_WORKSPACE="$work/workspace"
finish() { "$confide" down --quiet >/dev/null 2>&1 || true; rm -rf "$work"; }
trap finish EXIT
now() { date +%s%N; }

"$confide" up examples/hello/workload.yml --quiet --json >/dev/null
# The broker stays; this VM ends, and copies of its bundle are timed without it beside them.
launcher="$(tr -d ' \n' <"$work/workspace/running.json" | sed -n 's/.*"launcher":{"pid":\([0-9]*\).*/\1/p')"
kill -TERM "$launcher"
while kill -0 "$launcher" 2>/dev/null; do sleep 0.1; done
bundle="$work/bundle"
cp -r "$work/workspace/bundle" "$bundle"

# The peer: busybox, the network driver and what it needs, one address by DHCP.
root="$work/bare"
mkdir -p "$root/bin" "$root/lib"
cp "$(command -v busybox)" "$root/bin/busybox"
for name in failover net_failover virtio_net; do
  module="$(find "$parts/modules" -name "$name.ko*" | head -n 1)"
  case "$module" in *.xz) xz -dc "$module" >"$root/lib/$name.ko" ;; *.zst) zstd -qdc "$module" >"$root/lib/$name.ko" ;; *) cp "$module" "$root/lib/" ;; esac
done
cat >"$root/init" <<'INIT'
#!/bin/busybox sh
for name in failover net_failover virtio_net; do /bin/busybox insmod /lib/$name.ko; done
/bin/busybox ip link set eth0 up || /bin/busybox ip link set enp0s2 up
card=$(/bin/busybox ls /sys/class/net 2>/dev/null | /bin/busybox grep -v lo)
/bin/busybox udhcpc -q -n -f -i "${card:-eth0}" -s /bin/true >/dev/null 2>&1
echo "bare: address"
/bin/busybox poweroff -f
INIT
mkdir -p "$root/sys" "$root/proc" "$root/dev"
sed -i '2i /bin/busybox mount -t sysfs none /sys' "$root/init"
chmod +x "$root/init"
ln -s busybox "$root/bin/true"
( cd "$root" && find . | LC_ALL=C sort | cpio -o -H newc 2>/dev/null | zstd -q ) >"$work/bare.img"

accelerator=tcg
"$confide" doctor --json 2>/dev/null | grep -q '"name":"kvm","state":"ok"' && accelerator=kvm
accel="$("$confide" launch "$bundle" --dry-run --accelerator "$accelerator" | grep -o -- '-accel [^ ]*' | cut -d' ' -f2)"
cpu="$("$confide" launch "$bundle" --dry-run --accelerator "$accelerator" | grep -o -- '-cpu [^ ]*' | cut -d' ' -f2)"
memory="$("$confide" launch "$bundle" --dry-run --accelerator "$accelerator" | grep -o -- '-m [^ ]*' | cut -d' ' -f2)"

bare() {
  local begin; begin="$(now)"
  timeout 120 qemu-system-x86_64 -machine q35 -accel "$accel" -cpu "$cpu" -smp 2 -m "$memory" -nodefaults -no-reboot -display none -serial stdio \
    -kernel "$parts/vmlinuz" -initrd "$work/bare.img" -append 'console=ttyS0 panic=-1 quiet loglevel=4' \
    -netdev user,id=n -device virtio-net-pci,netdev=n,romfile= >"$work/bare.log" 2>&1 &
  wait_for "$work/bare.log" 'bare: address' $! "$begin"
}
ours() {
  local begin; begin="$(now)"
  "$confide" launch "$bundle" --publish 8080:0 --accelerator "$accelerator" >/dev/null 2>"$work/ours.log" &
  wait_for "$work/ours.log" 'step=container' $! "$begin"
}
wait_for() { # LOG TEXT PID BEGIN: prints milliseconds until TEXT stands in LOG, then ends PID
  local end
  for _ in $(seq 1 6000); do
    if grep -q "$2" "$1" 2>/dev/null; then end="$(now)"; break; fi
    sleep 0.02
  done
  kill -TERM "$3" 2>/dev/null || true; wait "$3" 2>/dev/null || true
  [ -n "${end:-}" ] || { echo "bench-boot: error: no '$2' in $1" >&2; tail -n 5 "$1" >&2; exit 1; }
  echo $(( (end - $4) / 1000000 ))
}
best_bare=999999 best_ours=999999
for _ in $(seq 1 "$runs"); do
  b="$(bare)"; o="$(ours)"
  [ "$b" -lt "$best_bare" ] && best_bare="$b"
  [ "$o" -lt "$best_ours" ] && best_ours="$o"
done
initrd="$(stat -c %s "$bundle/initrd.img")"
awk -v o="$best_ours" -v b="$best_bare" -v a="$accelerator" -v c="$cpu" -v i="$initrd" 'BEGIN {
  printf "boot (%s, cpu %s): container started after %d ms; bare busybox initrd with an address after %d ms; ratio %.2f (promise: below 2)\n", a, c, o, b, o / b
  printf "initrd: %.1f MB (promise: below 25)\n", i / 1e6 }'
