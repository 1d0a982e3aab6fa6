//! The stable codes of refusals. The remote caller gets the code only; `confide explain CODE` prints the page.
//!
//! One table for the whole project: `docs/errors.md` is generated from it, and a test finds codes without a page.
//! Each family of codes stands in a file of its own as a macro that adds its rows and hands on to the next family;
//! so the enum, the names and the pages cannot disagree, and no family has to know another.

#[macro_use]
mod snp;
#[macro_use]
mod dcap;
#[macro_use]
mod azure;
#[macro_use]
mod nvgpu;
#[macro_use]
mod token;
#[macro_use]
mod broker;
#[macro_use]
mod guest;
#[macro_use]
mod build;
#[macro_use]
mod layers;

use std::fmt;

macro_rules! codes {
    ([] $($variant:ident = $text:literal, $title:literal, $cause:literal, $risk:literal, $fix:literal;)*) => {
        /// A reason for refusing, with a stable name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $(#[doc = $title] $variant,)* }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name, as `E-SNP-DEBUG`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// What it means, why, what would happen otherwise, what to do.
            pub fn page(self) -> Page {
                match self {
                    $(Self::$variant => Page { title: $title, cause: $cause, risk: $risk, fix: $fix },)*
                }
            }
        }
    };
}

/// The explanation of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// One line.
    pub title: &'static str,
    /// What leads to it.
    pub cause: &'static str,
    /// What could happen if it were ignored.
    pub risk: &'static str,
    /// What to do.
    pub fix: &'static str,
}

snp_codes! { [dcap_codes azure_codes nvgpu_codes token_codes broker_codes guest_codes build_codes layers_codes codes] }

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl std::str::FromStr for Code {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownCode { text: text.chars().take(80).collect() })
    }
}

/// A text that is no code's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no code `{text}`; `confide explain --list` prints them all")]
pub struct UnknownCode {
    /// The text given.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_parse_back() {
        for code in Code::ALL {
            assert_eq!(code.name().parse::<Code>(), Ok(*code));
            assert!(code.name().starts_with("E-"), "{code}");
        }
    }
}
