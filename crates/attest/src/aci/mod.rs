//! Confidential containers on Azure: UVM endorsements (COSE_Sign1), and the policy that HOST_DATA binds.
