# Upstream's sample evidence, which nobody signs: at development brokers, to try unmodified clients.
#
# Reference values, of upstream's names: launch_digest, svn, major_version, minimum_minor_version. Each may be one value
# or a list, as upstream's client sets them with and without --as-single-value.
package policy

import rego.v1

default executables := 33

executables := 3 if known(input.sample.launch_digest, "launch_digest")

default hardware := 97

hardware := 2 if {
	known(input.sample.svn, "svn")
	known(input.sample.platform_version.major, "major_version")
	some floor in values("minimum_minor_version")
	input.sample.platform_version.minor >= floor
}

default configuration := 36

configuration := 2 if input.sample.debug == false

known(value, name) if value in values(name)

values(name) := query_reference_value(name) if is_array(query_reference_value(name))

values(name) := [value] if {
	value := query_reference_value(name)
	not is_array(value)
	value != null
}

trust_claims := {"executables": executables, "hardware": hardware, "configuration": configuration}
