//! Key broker: KBS protocol, release rules, store, audit log.
