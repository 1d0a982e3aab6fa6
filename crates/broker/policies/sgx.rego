# Enclaves of Intel SGX.
#
# Reference values: sgx_mr_enclave (hex), or sgx_mr_signer (hex) with sgx_isv_prod_id (numbers) and sgx_isv_svn (one
# number, the floor).
package policy

import rego.v1

default executables := 33

executables := 3 if input.sgx.body.mr_enclave in query_reference_value("sgx_mr_enclave")

else := 4 if {
	input.sgx.body.mr_signer in query_reference_value("sgx_mr_signer")
	input.sgx.isv_prod_id in query_reference_value("sgx_isv_prod_id")
	some floor in floors
	input.sgx.isv_svn >= floor
}

floors contains query_reference_value("sgx_isv_svn") if is_number(query_reference_value("sgx_isv_svn"))

floors contains floor if {
	is_array(query_reference_value("sgx_isv_svn"))
	some floor in query_reference_value("sgx_isv_svn")
}

default hardware := 97

hardware := 2 if {
	input.sgx.header.vendor_id == "939a7233f79c4ca9940a0db3957f0607"
	input.sgx.tcb_status == "UpToDate"
	input.sgx.collateral_expiration_status == "0"
}

default configuration := 36

configuration := 2 if {
	input.sgx.debug == false
	input.sgx.init == true
	input.sgx.provision_key == false
}

trust_claims := {"executables": executables, "hardware": hardware, "configuration": configuration}
