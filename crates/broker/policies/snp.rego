# AMD SEV-SNP guests.
#
# Reference values: snp_launch_measurement (hex); snp_bootloader, snp_microcode, snp_snp_svn, snp_tee_svn (numbers);
# snp_host_data (hex), optional: when there is one, host data must be among them.
# Upstream's six settings (snp_smt_enabled, snp_tsme_enabled, snp_guest_abi_major, snp_guest_abi_minor,
# snp_single_socket, snp_smt_allowed) raise configuration to 2; without debugging and migration it is 3.
package policy

import rego.v1

default executables := 33

executables := 3 if {
	input.snp.measurement in query_reference_value("snp_launch_measurement")
	input.snp.vmpl == 0
	host_data_known
}

host_data_known if query_reference_value("snp_host_data") == null

host_data_known if input.snp.host_data in query_reference_value("snp_host_data")

default hardware := 97

hardware := 2 if {
	input.snp.reported_tcb_bootloader in query_reference_value("snp_bootloader")
	input.snp.reported_tcb_microcode in query_reference_value("snp_microcode")
	input.snp.reported_tcb_snp in query_reference_value("snp_snp_svn")
	input.snp.reported_tcb_tee in query_reference_value("snp_tee_svn")
}

sealed if {
	input.snp.policy_debug_allowed == false
	input.snp.policy_migrate_ma == false
	input.snp.report_id_ma == "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
}

as_set if {
	input.snp.platform_smt_enabled in query_reference_value("snp_smt_enabled")
	input.snp.platform_tsme_enabled in query_reference_value("snp_tsme_enabled")
	input.snp.policy_abi_major in query_reference_value("snp_guest_abi_major")
	input.snp.policy_abi_minor in query_reference_value("snp_guest_abi_minor")
	input.snp.policy_single_socket in query_reference_value("snp_single_socket")
	input.snp.policy_smt_allowed in query_reference_value("snp_smt_allowed")
}

default configuration := 36

configuration := 2 if {
	sealed
	as_set
} else := 3 if sealed

trust_claims := {"executables": executables, "hardware": hardware, "configuration": configuration}

measured := {"snp": {
	"measurement": "aa", "vmpl": 0, "host_data": "bb", "report_id_ma": concat("", ["f" | some _ in numbers.range(1, 64)]),
	"reported_tcb_bootloader": 4, "reported_tcb_microcode": 200, "reported_tcb_snp": 20, "reported_tcb_tee": 0,
	"policy_debug_allowed": false, "policy_migrate_ma": false,
}}

known := {
	"snp_launch_measurement": ["aa"], "snp_bootloader": [4], "snp_microcode": [200], "snp_snp_svn": [20],
	"snp_tee_svn": [0],
}

confide_cases := [
	{"name": "as wanted", "input": measured, "reference": known, "status": "affirming"},
	{"name": "nothing known", "input": measured, "reference": {}, "status": "contraindicated"},
	{
		"name": "debugging", "reference": known, "status": "warning",
		"input": {"snp": object.union(measured.snp, {"policy_debug_allowed": true})},
	},
	{
		"name": "another site", "input": measured, "status": "warning",
		"reference": object.union(known, {"snp_host_data": ["cc"]}),
	},
]
