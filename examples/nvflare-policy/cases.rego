
evidence(measurement) = {"submods": {"cpu0": {
    "ear.status": "affirming",
    "ear.veraison.annotated-evidence": {"snp": {"measurement": measurement}}
}}}

confide_cases = [
    {"name": "the machine of the policy", "resource": "keys/root/cvm1", "allow": true,
     "input": evidence("801a1dfa22f78ae9484d532d00b8d95f7eb04e5831efc700588773f1c218b0b5e76f84120fea5e73f781818bf9ed7ed0")},
    {"name": "another one", "resource": "keys/root/cvm1", "allow": false,
     "input": evidence("000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000")}
]
