# Confidential VMs of Azure on SNP.
#
# Reference values, under upstream's names: measurement (base64, Azure's firmware), snp_pcr11 (hex, the guest's unified
# kernel image); tcb_bootloader, tcb_microcode, tcb_snp, tcb_tee (texts of numbers); snp_pcr04, snp_pcr07, snp_pcr09
# (hex), optional: when there is one, that PCR must be among them.
package policy

import rego.v1

vm := input["az-snp-vtpm"]

default executables := 33

executables := 3 if {
	vm.measurement in query_reference_value("measurement")
	vm.tpm.pcr11 in query_reference_value("snp_pcr11")
	every pcr in ["pcr04", "pcr07", "pcr09"] { pcr_known(pcr) }
}

pcr_known(pcr) if query_reference_value(concat("_", ["snp", pcr])) == null

pcr_known(pcr) if vm.tpm[pcr] in query_reference_value(concat("_", ["snp", pcr]))

default hardware := 97

hardware := 2 if {
	vm.reported_tcb_bootloader in query_reference_value("tcb_bootloader")
	vm.reported_tcb_microcode in query_reference_value("tcb_microcode")
	vm.reported_tcb_snp in query_reference_value("tcb_snp")
	vm.reported_tcb_tee in query_reference_value("tcb_tee")
}

default configuration := 36

configuration := 3 if {
	vm.policy_debug_allowed == false
	vm.policy_migrate_ma == false
	vm.vm_configuration["secure-boot"] == true
	vm.vm_configuration["tpm-enabled"] == true
}

trust_claims := {"executables": executables, "hardware": hardware, "configuration": configuration}
