//! Fixed-size values that look alike, each with its own type.
//!
//! They parse from lower- or upper-case hex of exactly the right length, and print as lower-case hex.

use std::fmt;
use std::str::FromStr;

/// A text that is not the hex form of the wanted value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseBytesError {
    /// The text has another length than the value needs.
    #[error("{what} takes {wanted} hex digits, this text has {got}")]
    Length {
        /// The value's name.
        what: &'static str,
        /// Digits wanted.
        wanted: usize,
        /// Digits found.
        got: usize,
    },
    /// The text holds something else than hex digits.
    #[error("{what} takes hex digits only")]
    NotHex {
        /// The value's name.
        what: &'static str,
    },
}

macro_rules! fixed_bytes {
    ($(#[$doc:meta])* $name:ident, $length:expr, $what:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $length]);

        impl $name {
            /// Length in bytes.
            pub const LENGTH: usize = $length;

            /// The value's bytes.
            pub fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }

            /// Takes exactly this many bytes, or nothing.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// Whether every byte is zero, which fields use to say "not set".
            pub fn is_zero(&self) -> bool {
                self.0.iter().all(|byte| *byte == 0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{}({})", stringify!($name), hex::encode(self.0))
            }
        }

        impl FromStr for $name {
            type Err = ParseBytesError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let wanted = Self::LENGTH.saturating_mul(2);
                if text.len() != wanted {
                    return Err(ParseBytesError::Length { what: $what, wanted, got: text.len() });
                }
                let mut bytes = [0; $length];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseBytesError::NotHex { what: $what })?;
                Ok(Self(bytes))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&hex::encode(self.0))
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

fixed_bytes! {
    /// An SNP launch measurement (SNP ABI table 23, `MEASUREMENT`): SHA-384 over what was loaded at launch.
    LaunchDigest, 48, "a launch measurement"
}
fixed_bytes! {
    /// `HOST_DATA` (SNP ABI table 23): set by the host at launch; here the SHA-256 of the bytes of `site.json`.
    HostData, 32, "host data"
}
fixed_bytes! {
    /// Root hash of a dm-verity tree.
    VerityRoot, 32, "a verity root hash"
}
fixed_bytes! {
    /// `CHIP_ID` of a report (SNP ABI table 23): names one processor.
    ChipId, 64, "a chip id"
}
fixed_bytes! {
    /// `REPORT_DATA`: what the guest asked the processor to sign.
    ReportData, 64, "report data"
}
fixed_bytes! {
    /// A verifier's nonce.
    Nonce, 32, "a nonce"
}
fixed_bytes! {
    /// A SHA-256 digest of a file or a message.
    Digest256, 32, "a SHA-256 digest"
}
fixed_bytes! {
    /// A SHA-384 digest (identity key, author key).
    Digest384, 48, "a SHA-384 digest"
}

impl Digest256 {
    /// SHA-256 of `bytes` (FIPS 180-4).
    pub fn of(bytes: &[u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        let mut value = [0; 32];
        value.copy_from_slice(digest.as_ref());
        Self(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_wrong_lengths_are_named() {
        let text = "ab".repeat(48);
        let digest: LaunchDigest = text.parse().unwrap();
        assert_eq!(digest.to_string(), text);
        assert_eq!(
            "ab".parse::<LaunchDigest>(),
            Err(ParseBytesError::Length { what: "a launch measurement", wanted: 96, got: 2 })
        );
        assert_eq!(
            "zz".repeat(48).parse::<LaunchDigest>(),
            Err(ParseBytesError::NotHex { what: "a launch measurement" })
        );
    }

    #[test]
    fn sha256_of_nothing_is_the_known_value() {
        assert!(Digest256::of(b"").to_string().starts_with("e3b0c44298fc1c149afbf4c8996fb924"));
    }
}
