# Intel TDX guests.
#
# Reference values: mr_td (hex); rtmr_1, rtmr_2 (hex) measure kernel, command line and initrd; xfam (hex), optional:
# without it, configuration is 3 instead of 2. mr_config_id (hex), optional: when there is one, it must be among them.
# The event log is not read, so there is no digest of single events.
package policy

import rego.v1

body := input.tdx.quote.body

default executables := 33

executables := 3 if {
	body.rtmr_1 in query_reference_value("rtmr_1")
	body.rtmr_2 in query_reference_value("rtmr_2")
	config_known
}

config_known if query_reference_value("mr_config_id") == null

config_known if body.mr_config_id in query_reference_value("mr_config_id")

default hardware := 97

hardware := 2 if {
	body.mr_td in query_reference_value("mr_td")
	input.tdx.quote.header.tee_type == "81000000"
	input.tdx.quote.header.vendor_id == "939a7233f79c4ca9940a0db3957f0607"
	input.tdx.tcb_status == "UpToDate"
	input.tdx.collateral_expiration_status == "0"
}

sealed if {
	input.tdx.td_attributes.debug == false
	input.tdx.td_attributes.migratable == false
	input.tdx.td_attributes.service_td == false
	input.tdx.td_attributes.perfmon == false
	input.tdx.td_attributes.septve_disable == true
}

default configuration := 36

configuration := 2 if {
	sealed
	body.xfam in query_reference_value("xfam")
} else := 3 if sealed

trust_claims := {"executables": executables, "hardware": hardware, "configuration": configuration}
