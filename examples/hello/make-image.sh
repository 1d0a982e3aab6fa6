#!/usr/bin/env bash
# Makes examples/hello/hello.tar: a real container archive in the layout that `docker save` writes (Docker 25 and
# later: an OCI layout with a manifest.json beside it), of two layers: busybox, and the example's service.
#   make-image.sh SERVICE-BINARY OUTPUT.tar
set -euo pipefail
service="${1:?usage: make-image.sh SERVICE-BINARY OUTPUT.tar}"
output="${2:?usage: make-image.sh SERVICE-BINARY OUTPUT.tar}"
busybox="$(command -v busybox)" || { echo 'make-image: error: busybox is missing; run scripts/setup.sh' >&2; exit 3; }

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
plain() { tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=pax \
  --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime -C "$1" -cf "$2" .; }
digest() { sha256sum "$1" | cut -d' ' -f1; }

base="$work/base"
mkdir -p "$base"/{bin,etc,tmp,root}
cp "$busybox" "$base/bin/busybox"
for name in sh ls cat id ps env; do ln -s busybox "$base/bin/$name"; done
printf 'root:x:0:0:root:/root:/bin/sh\nhello:x:1000:1000:hello:/:/bin/sh\n' >"$base/etc/passwd"
printf 'root:x:0:\nhello:x:1000:\n' >"$base/etc/group"
chmod 1777 "$base/tmp"
app="$work/app"
mkdir -p "$app/usr/bin"
install -m 0755 "$service" "$app/usr/bin/hello"

layout="$work/layout"
blobs="$layout/blobs/sha256"
mkdir -p "$blobs"
layers=() diffs=()
for layer in base app; do
  plain "$work/$layer" "$work/$layer.tar"
  sum="$(digest "$work/$layer.tar")"
  diffs+=("$sum") layers+=("{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"sha256:$sum\",\"size\":$(stat -c %s "$work/$layer.tar")}")
  mv "$work/$layer.tar" "$blobs/$sum"
done
printf '{"architecture":"amd64","os":"linux","created":"1970-01-01T00:00:00Z","config":{"Entrypoint":["/usr/bin/hello"],"User":"hello","WorkingDir":"/","Env":["PATH=/bin:/usr/bin"],"ExposedPorts":{"8080/tcp":{}}},"rootfs":{"type":"layers","diff_ids":["sha256:%s","sha256:%s"]}}' \
  "${diffs[0]}" "${diffs[1]}" >"$work/config"
config="$(digest "$work/config")"
config_size="$(stat -c %s "$work/config")"
mv "$work/config" "$blobs/$config"
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[%s,%s]}' \
  "$config" "$config_size" "${layers[0]}" "${layers[1]}" >"$work/manifest"
manifest="$(digest "$work/manifest")"
manifest_size="$(stat -c %s "$work/manifest")"
mv "$work/manifest" "$blobs/$manifest"
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s,"annotations":{"io.containerd.image.name":"docker.io/library/hello:latest","org.opencontainers.image.ref.name":"latest"}}]}' \
  "$manifest" "$manifest_size" >"$layout/index.json"
printf '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
printf '[{"Config":"blobs/sha256/%s","RepoTags":["hello:latest"],"Layers":["blobs/sha256/%s","blobs/sha256/%s"]}]' \
  "$config" "${diffs[0]}" "${diffs[1]}" >"$layout/manifest.json"
plain "$layout" "$work/archive.tar"
mv "$work/archive.tar" "$output"
echo "make-image: $output ($(stat -c %s "$output") bytes)" >&2
