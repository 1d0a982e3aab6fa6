//! Archives, layers, qcow2, cpio and bundles: deterministic, no root, no daemon.
