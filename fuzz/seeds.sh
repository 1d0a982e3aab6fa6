#!/usr/bin/env bash
# Fills the corpora from the vectors, where they are; without them the fuzzers start from nothing.
set -euo pipefail
cd "$(dirname "$0")"
vectors="${CONFIDE_VECTORS:-../../shared/vectors}"
[ -d "$vectors/snp" ] || { echo 'seeds: vectors are not here' >&2; exit 0; }
# seed TARGET FILE…: copies under a name that says where it came from, so that a second run adds nothing.
seed() {
  local target="$1"; shift
  mkdir -p "corpus/$target"
  for file in "$@"; do [ -f "$file" ] && cp -f "$file" "corpus/$target/$(basename "$file")"; done
  chmod u+w "corpus/$target"/* 2>/dev/null || true
}
seed snp_report "$vectors"/snp/reports/*.bin "$vectors"/snp/negatives/*.bin
seed ovmf "$vectors"/snp/measure/inputs/*.bin "$vectors"/snp/measure/inputs/*.fd
mkdir -p corpus/snp_chain corpus/snp_cert_table corpus/snp_kbs_json
python3 - "$vectors/snp" <<'PYTHON'
import base64, json, pathlib, struct, sys
root = pathlib.Path(sys.argv[1])
manifest = json.loads((root / "manifest.json").read_text())
def der(name):
    data = (root / name).read_bytes()
    if data[:1] == b"0":
        return data
    body = b"".join(line for line in data.splitlines() if b"-----" not in line)
    return base64.b64decode(body)
guids = ["63da758de6644564adc5f4b93be8accd", "4ab7b379bbac4fe4a02f05aef327c782", "c0b406a4a803495297433fb6014cd0ae"]
names = ["VCEK", "ASK", "ARK"]
def tcb(raw, turin):
    f = dict(zip(["fmc", "bootloader", "tee", "snp"], raw)) if turin else {"fmc": None, "bootloader": raw[0], "tee": raw[1], "snp": raw[6]}
    return {**f, "microcode": raw[7]}
def version(raw):
    return {"major": raw[2], "minor": raw[1], "build": raw[0]}
for case in manifest["reports"]:
    report = (root / case["report"]["file"]).read_bytes()
    chain = [der(case["vek"]["file"]), der(case["ica"]), der(case["ark"])]
    parts = b"".join(struct.pack("<H", len(part)) + part for part in chain + [b""])
    pathlib.Path("corpus/snp_chain", case["name"]).write_bytes(report + parts)
    offset, head, body = 24 * 4, b"", b""
    for guid, part in zip(guids, chain):
        head += bytes.fromhex(guid) + struct.pack("<II", offset, len(part))
        body += part
        offset += len(part)
    pathlib.Path("corpus/snp_cert_table", case["name"]).write_bytes(head + bytes(24) + body)
    r, (number,) = list(report), struct.unpack_from("<I", report)
    u32 = lambda at: struct.unpack_from("<I", report, at)[0]
    u64 = lambda at: struct.unpack_from("<Q", report, at)[0]
    turin = number > 2 and r[0x188] >= 0x1A
    cpuid = r[0x188:0x18B] if number > 2 else [None] * 3
    wire = {"version": number, "guest_svn": u32(4), "policy": u64(8), "family_id": r[0x10:0x20], "image_id": r[0x20:0x30],
            "vmpl": u32(0x30), "sig_algo": u32(0x34), "current_tcb": tcb(r[0x38:0x40], turin), "plat_info": u64(0x40),
            "key_info": u32(0x48), "report_data": r[0x50:0x90], "measurement": r[0x90:0xC0], "host_data": r[0xC0:0xE0],
            "id_key_digest": r[0xE0:0x110], "author_key_digest": r[0x110:0x140], "report_id": r[0x140:0x160],
            "report_id_ma": r[0x160:0x180], "reported_tcb": tcb(r[0x180:0x188], turin), "cpuid_fam_id": cpuid[0],
            "cpuid_mod_id": cpuid[1], "cpuid_step": cpuid[2], "chip_id": r[0x1A0:0x1E0],
            "committed_tcb": tcb(r[0x1E0:0x1E8], turin), "current": version(r[0x1E8:]), "committed": version(r[0x1EC:]),
            "launch_tcb": tcb(r[0x1F0:0x1F8], turin), "signature": {"r": r[0x2A0:0x2E8], "s": r[0x2E8:0x330]}}
    if number >= 5:
        wire |= {"launch_mit_vector": u64(0x1F8), "current_mit_vector": u64(0x200)}
    evidence = {"attestation_report": wire, "cert_chain": [{"cert_type": n, "data": list(p)} for n, p in zip(names, chain)]}
    pathlib.Path("corpus/snp_kbs_json", case["name"]).write_text(json.dumps(evidence, separators=(",", ":")))
PYTHON
