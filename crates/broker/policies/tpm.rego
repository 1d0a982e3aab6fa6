# Machines with a TPM. The attestation key was enrolled (reference value trusted_aks) before anything is believed.
#
# Reference values: trusted_aks (base64 of the key's SubjectPublicKeyInfo); tpm_pcr11 (hex); tpm_pcr04, tpm_pcr07,
# tpm_pcr09 (hex), optional: when there is one, that PCR must be among them.
package policy

import rego.v1

default executables := 33

executables := 3 if {
	input.tpm.ak_public in query_reference_value("trusted_aks")
	input.tpm.pcr11 in query_reference_value("tpm_pcr11")
	every pcr in ["pcr04", "pcr07", "pcr09"] { pcr_known(pcr) }
}

pcr_known(pcr) if query_reference_value(concat("_", ["tpm", pcr])) == null

pcr_known(pcr) if input.tpm[pcr] in query_reference_value(concat("_", ["tpm", pcr]))

default hardware := 97

hardware := 2 if input.tpm.ak_public in query_reference_value("trusted_aks")

trust_claims := {"executables": executables, "hardware": hardware, "configuration": 0}
