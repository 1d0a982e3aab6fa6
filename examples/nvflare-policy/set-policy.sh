#!/bin/sh
# What set-policy.sh of NVFlare's guide does, at a broker of Confide: puts the whole policy file into force.
# The broker's folder (CONFIDE_BROKER_DIR, or .confide/broker) holds the admin key, which the guide calls private.key.
set -eu
exec confide policy set resource-policy --file "${1:-policy.rego}"
