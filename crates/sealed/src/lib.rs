//! Volumes: ext4, dm-verity, LUKS2, encryption.
