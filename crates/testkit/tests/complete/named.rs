//! Variants that no vector shows, each with the test that does, and why.

use claims::Code;

/// A variant and its test.
pub(crate) struct Named {
    pub(crate) error: &'static str,
    pub(crate) variant: &'static str,
    pub(crate) code: Code,
    /// In `crates/attest/tests`.
    pub(crate) file: &'static str,
    pub(crate) test: &'static str,
    pub(crate) why: &'static str,
}

pub(crate) const NAMED: &[Named] = &[
    named("AciError", "Length", Code::AciFormat, "aci.rs", "each_check_of_the_form_has_its_own_error", LONG),
    named("TokenError", "Length", Code::JwtFormat, "token.rs", "members_that_are_there_twice_are_refused", LONG),
    named("RimError", "TooLong", Code::RimFormat, "nvgpu/manifests.rs", "constructs_of_no_use_are_refused", LONG),
    named("AzureError", "Envelope", Code::AzureFormat, "azure.rs", "trustees_json_is_read", TRUSTEE),
    named("TpmError", "Json", Code::TpmFormat, "tpm.rs", "trustees_json_names_a_key_and_does_not_enrol_it", TRUSTEE),
    named("GpuError", "Json", Code::GpuFormat, "nvgpu/genuine.rs", "evidence_files_are_read_in_both_forms", TRUSTEE),
    named("RaTlsError", "Encode", Code::RaTlsFormat, "ratls.rs", "each_form_has_its_own_error", "made, not read"),
    composite("Repeated", Code::CompositeDevices, "missing_extra_and_repeated_devices_are_refused"),
    composite("Count", Code::CompositeDevices, "missing_extra_and_repeated_devices_are_refused"),
    composite("Missing", Code::CompositeDevices, "a_machine_is_bound"),
    composite("Extra", Code::CompositeDevices, "a_machine_is_bound"),
    composite("WithoutSwitches", Code::CompositeDevices, "protected_pcie_needs_its_switches"),
    composite("Nonce", Code::CompositeBinding, "evidence_of_another_machine_session_or_key_is_refused"),
    composite("OtherSession", Code::CompositeBinding, "composites_of_the_kbs_protocol_are_bound"),
    composite("OtherDevices", Code::CompositeBinding, "composites_of_the_kbs_protocol_are_bound"),
    composite("ReportData", Code::CompositeBinding, "composites_of_the_kbs_protocol_are_bound"),
    composite("Text", Code::GpuFormat, "the_text_around_devices_has_one_form"),
    composite("Device", Code::GpuFormat, "the_text_around_devices_has_one_form"),
];

/// Variants that nothing can bring about, and why: they are there because a function they call may fail by its type.
pub(crate) const UNREACHABLE: &[(&str, &str, &str)] =
    &[("CompositeError", "Canonical", "a JSON value that was parsed has a canonical form")];

const fn named(
    error: &'static str,
    variant: &'static str,
    code: Code,
    file: &'static str,
    test: &'static str,
    why: &'static str,
) -> Named {
    Named { error, variant, code, file, test, why }
}

const fn composite(variant: &'static str, code: Code, test: &'static str) -> Named {
    named("CompositeError", variant, code, "nvgpu/composites.rs", test, LIVE)
}

const LONG: &str = "a vector of this length would be larger than all others together";
const TRUSTEE: &str = "the form of another project's envelope: the vectors hold what is in it";
const LIVE: &str =
    "binds values that verification returned, several devices and a CPU: more than one piece of evidence";
