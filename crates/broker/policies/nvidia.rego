# NVIDIA GPUs and switches.
#
# The verifier compares with NVIDIA's RIMs of the collateral folder and refuses what differs; measres is "success" only
# when driver and VBIOS had one. Reference values: allowed_driver_versions, allowed_vbios_versions (texts), each
# optional: when there is one, the version must be among them.
package policy

import rego.v1

default executables := 33

executables := 3 if {
	input.nvidia.measres == "success"
	version_known("allowed_driver_versions", object.get(input.nvidia, "x-nvidia-gpu-driver-version", ""))
	version_known("allowed_vbios_versions", bios)
}

bios := object.get(input.nvidia, "x-nvidia-gpu-vbios-version", object.get(input.nvidia, "x-nvidia-switch-bios-version", ""))

version_known(name, version) if {
	query_reference_value(name) == null
	is_string(version)
}

version_known(name, version) if version in query_reference_value(name)

default hardware := 97

hardware := 2 if {
	input.nvidia.measres == "success"
	input.nvidia.secboot == true
}

default configuration := 36

configuration := 3 if input.nvidia.dbgstat == "disabled"

trust_claims := {"executables": executables, "hardware": hardware, "configuration": configuration}
