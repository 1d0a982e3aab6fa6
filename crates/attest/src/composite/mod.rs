//! CPU and device evidence that belong together: one nonce, one set of devices.
