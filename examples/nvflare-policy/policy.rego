package policy
default allow = false

allow {
    input["submods"]["cpu0"]["ear.veraison.annotated-evidence"]["snp"]["measurement"] == "gBod+iL3iulITVMtALjZX36wTlgx78cAWIdz8cIYsLXnb4QSD+pec/eBgYv57X7Q"
}
