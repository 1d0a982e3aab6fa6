//! What manifests and other programs say about evidence and RIMs, against what was read.

use attest::nvgpu::{Evidence, VerifiedEvidence};
use claims::nvgpu::GoldenMeasurements;
use serde_json::Value;

/// The first thing that is not what the manifest says.
pub(super) fn difference(case: &Value, verified: &VerifiedEvidence) -> Option<String> {
    let (claims, evidence) = (verified.claims(), verified.evidence());
    let ids = evidence.rim_ids(claims.architecture);
    let mut found = vec![
        ("nonce".to_owned(), case["nonce"].clone(), claims.nonce.to_string()),
        ("resp_nonce".to_owned(), case["resp_nonce"].clone(), evidence.response_nonce().to_string()),
        (
            "driver_version".to_owned(),
            case["driver_version"].clone(),
            claims.driver_version.clone().unwrap_or_default(),
        ),
        ("vbios_version".to_owned(), case["vbios_version"].clone(), claims.vbios_version.clone()),
        ("vbios_rim_id".to_owned(), case["vbios_rim_id"].clone(), ids.vbios.unwrap_or_default()),
    ];
    for (name, value) in case["opaque"].as_object().into_iter().flatten() {
        let field = field_number(name).and_then(|field| evidence.opaque().field(field));
        found.push((format!("opaque {name}"), value.clone(), field.map(hex::encode).unwrap_or_default()));
    }
    for block in evidence.blocks() {
        let index = block.index.to_string();
        found.push((format!("measurement {index}"), case["measurements"][&index].clone(), block.value.to_string()));
    }
    for (name, got) in [
        ("measurement_count", u64::try_from(evidence.blocks().len()).ok()),
        ("sig_offset", u64::try_from(evidence.signature_offset()).ok()),
    ] {
        if case[name].as_u64().is_some_and(|wanted| Some(wanted) != got) {
            return Some(format!("{name} is {got:?}, the manifest says {}", case[name]));
        }
    }
    found.into_iter().find_map(|(name, wanted, got)| {
        let wanted = wanted.as_str()?;
        (wanted != got).then(|| format!("{name} is {got}, the manifest says {wanted}"))
    })
}

pub(super) fn rim_difference(case: &Value, golden: &GoldenMeasurements) -> Option<String> {
    for (name, got) in
        [("colloquialVersion", &golden.colloquial_version), ("product", &golden.product), ("edition", &golden.edition)]
    {
        if case[name].as_str().is_some_and(|wanted| wanted != got) {
            return Some(format!("{name} is {got}, the manifest says {}", case[name]));
        }
    }
    let values = case["golden"].as_object()?;
    let found: serde_json::Map<String, Value> =
        golden.measurements.iter().map(|entry| (entry.index.to_string(), serde_json::json!(entry.values))).collect();
    (*values != found).then(|| "the active measurements are not the manifest's".to_owned())
}

/// Trustee's reading of the opaque data.
pub(super) fn config_difference(config: &Value, evidence: &Evidence) -> Option<String> {
    let text = |name: &str| {
        let value = evidence.opaque().field(field_number(name)?)?;
        let end = value.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
        Some(String::from_utf8_lossy(value.get(..end)?).into_owned())
    };
    let raw = |name: &str| evidence.opaque().field(field_number(name)?).map(hex::encode);
    let found = [
        ("chip_sku", text("chip_sku")),
        ("chip_sku_mod", text("chip_sku_mod")),
        ("project", text("project")),
        ("project_sku", text("project_sku")),
        ("board_id", raw("board_id")),
        ("cpr_info", raw("cprinfo")),
        ("gpu_info", raw("gpu_info")),
        ("fwid", raw("fwid")),
        ("driver_version", evidence.driver_version().map(str::to_owned)),
        ("vbios_version", Some(evidence.vbios_version().to_lowercase())),
    ];
    found.into_iter().find_map(|(name, got)| {
        let wanted = config[name].as_str();
        (wanted != got.as_deref()).then(|| format!("{name} is {got:?}, the reference says {wanted:?}"))
    })
}

/// The bytes of which NVIDIA's parser gave this: a request of our own, and the response.
pub(super) fn rebuilt(reference: &Value) -> Result<Vec<u8>, String> {
    let bytes = |value: &Value| {
        let text = value.as_str().unwrap_or("");
        hex::decode(text.strip_prefix("0x").unwrap_or(text)).map_err(|error| format!("{text}: {error}"))
    };
    let mut out = vec![0x11, 0xE0, 1, 0xFF];
    out.extend([0; 33]);
    for name in ["SPDMVersion", "RequestResponseCode", "Param1", "Param2"] {
        out.extend(bytes(&reference[name])?);
    }
    let blocks = reference["MeasurementRecord"]["MeasurementBlocks"].as_object().ok_or("no blocks")?;
    let mut record = Vec::new();
    for index in 1..=u8::MAX {
        let Some(block) = blocks.get(&index.to_string()) else { break };
        let value = bytes(&block["DMTFSpecMeasurementValue"])?;
        let size = u16::try_from(value.len()).map_err(|error| error.to_string())?;
        let kind = block["DMTFSpecMeasurementValueType"].as_u64().and_then(|kind| u8::try_from(kind).ok());
        record.extend([index, 1]);
        record.extend(size.saturating_add(3).to_le_bytes());
        record.push(kind.ok_or("no type")?);
        record.extend(size.to_le_bytes());
        record.extend(value);
    }
    out.push(u8::try_from(blocks.len()).map_err(|error| error.to_string())?);
    out.extend(u32::try_from(record.len()).map_err(|error| error.to_string())?.to_le_bytes().into_iter().take(3));
    out.extend(record);
    out.extend(bytes(&reference["Nonce"])?);
    let mut opaque = Vec::new();
    for (name, value) in reference["OpaqueData"]["OpaqueDataField"].as_object().into_iter().flatten() {
        let short = name.trim_start_matches("OPAQUE_FIELD_ID_").to_lowercase();
        let value = match value.as_array() {
            None => bytes(value)?,
            Some(counts) => counts
                .iter()
                .flat_map(|count| count.as_u64().and_then(|count| u32::try_from(count).ok()).unwrap_or(0).to_le_bytes())
                .collect(),
        };
        opaque.extend(field_number(&short).ok_or_else(|| format!("unknown field {name}"))?.to_le_bytes());
        opaque.extend(u16::try_from(value.len()).map_err(|error| error.to_string())?.to_le_bytes());
        opaque.extend(value);
    }
    out.extend(u16::try_from(opaque.len()).map_err(|error| error.to_string())?.to_le_bytes());
    out.extend(opaque);
    out.extend(bytes(&reference["Signature"])?);
    Ok(out)
}

pub(super) fn spdm_difference(reference: &Value, evidence: &Evidence) -> Option<String> {
    let hex = |value: &Value| value.as_str().map(|text| text.trim_start_matches("0x").to_owned());
    if hex(&reference["Nonce"]) != Some(evidence.response_nonce().to_string()) {
        return Some("the response's nonce differs".to_owned());
    }
    let blocks = &reference["MeasurementRecord"]["MeasurementBlocks"];
    let wrong = evidence.blocks().iter().find(|block| {
        hex(&blocks[block.index.to_string()]["DMTFSpecMeasurementValue"]) != Some(block.value.to_string())
    });
    if let Some(block) = wrong {
        return Some(format!("measurement {} differs", block.index));
    }
    // NVIDIA's parser leaves out fields that it does not know, so what was rebuilt may be shorter.
    let size: usize = evidence.opaque().fields().iter().map(|(_, value)| value.len().saturating_add(4)).sum();
    (reference["OpaqueLength"].as_u64() < u64::try_from(size).ok())
        .then(|| format!("the opaque data has {size} bytes, the reference says {}", reference["OpaqueLength"]))
}

/// Types of opaque fields by the names that manifests and NVIDIA's parser use.
fn field_number(name: &str) -> Option<u16> {
    const NAMES: [(&str, u16); 27] = [
        ("cert_issuer_name", 1),
        ("cert_authority_key_identifier", 2),
        ("driver_version", 3),
        ("gpu_info", 4),
        ("sku", 5),
        ("vbios_version", 6),
        ("manufacturer_id", 7),
        ("tamper_detection", 8),
        ("smc", 9),
        ("vpr", 10),
        ("nvdec0_status", 11),
        ("msrscnt", 12),
        ("cprinfo", 13),
        ("board_id", 14),
        ("chip_sku", 15),
        ("chip_sku_mod", 16),
        ("project", 17),
        ("project_sku", 18),
        ("project_sku_mod", 19),
        ("fwid", 20),
        ("protected_pcie_status", 21),
        ("switch_pdi", 22),
        ("floorswept_ports", 23),
        ("position_id", 24),
        ("lock_switch_status", 25),
        ("sys_enable_status", 33),
        ("opaque_data_version", 34),
    ];
    const NEWER: [(&str, u16); 3] = [("gpu_link_conn", 32), ("chip_info", 35), ("feature_flag", 36)];
    let named = NAMES.iter().chain(&NEWER).find(|(other, _)| *other == name).map(|(_, number)| *number);
    named.or_else(|| name.parse().ok())
}
