# Confidential container groups of Azure: Microsoft endorses the utility VM (verified before), HOST_DATA is the SHA-256 of
# the container policy.
#
# Reference values: aci_host_data (hex, the digests of your CCE policies); aci_uvm_svn (one number, the floor);
# aci_feed (texts), optional, "ContainerPlat-AMD-UVM" without; aci_bootloader, aci_microcode, aci_snp_svn, aci_tee_svn
# (numbers).
package policy

import rego.v1

default executables := 33

executables := 3 if {
	input.aci.host_data in query_reference_value("aci_host_data")
	feed_known
	some floor in floors
	input.aci.uvm.svn >= floor
}

floors contains query_reference_value("aci_uvm_svn") if is_number(query_reference_value("aci_uvm_svn"))

floors contains floor if {
	is_array(query_reference_value("aci_uvm_svn"))
	some floor in query_reference_value("aci_uvm_svn")
}

feed_known if {
	query_reference_value("aci_feed") == null
	input.aci.uvm.feed == "ContainerPlat-AMD-UVM"
}

feed_known if input.aci.uvm.feed in query_reference_value("aci_feed")

default hardware := 97

hardware := 2 if {
	input.aci.reported_tcb_bootloader in query_reference_value("aci_bootloader")
	input.aci.reported_tcb_microcode in query_reference_value("aci_microcode")
	input.aci.reported_tcb_snp in query_reference_value("aci_snp_svn")
	input.aci.reported_tcb_tee in query_reference_value("aci_tee_svn")
}

default configuration := 36

configuration := 2 if {
	input.aci.policy_debug_allowed == false
	input.aci.policy_migrate_ma == false
	input.aci.vmpl == 0
}

trust_claims := {"executables": executables, "hardware": hardware, "configuration": configuration}
