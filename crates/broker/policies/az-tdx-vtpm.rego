# Confidential VMs of Azure on TDX.
#
# Reference values, under upstream's names: mr_td (hex, Azure's firmware), tdx_pcr11 (hex, the guest's unified kernel
# image); tdx_pcr04, tdx_pcr07, tdx_pcr09 (hex), optional; xfam (hex), optional: without it, configuration is 3.
package policy

import rego.v1

vm := input["az-tdx-vtpm"]

default executables := 33

executables := 3 if {
	vm.tpm.pcr11 in query_reference_value("tdx_pcr11")
	every pcr in ["pcr04", "pcr07", "pcr09"] { pcr_known(pcr) }
}

pcr_known(pcr) if query_reference_value(concat("_", ["tdx", pcr])) == null

pcr_known(pcr) if vm.tpm[pcr] in query_reference_value(concat("_", ["tdx", pcr]))

default hardware := 97

hardware := 2 if {
	vm.quote.body.mr_td in query_reference_value("mr_td")
	vm.quote.header.tee_type == "81000000"
	vm.tcb_status == "UpToDate"
	vm.collateral_expiration_status == "0"
}

sealed if {
	vm.td_attributes.debug == false
	vm.td_attributes.migratable == false
	vm.vm_configuration["secure-boot"] == true
	vm.vm_configuration["tpm-enabled"] == true
}

default configuration := 36

configuration := 2 if {
	sealed
	vm.quote.body.xfam in query_reference_value("xfam")
} else := 3 if sealed

trust_claims := {"executables": executables, "hardware": hardware, "configuration": configuration}
