//! Codes of attestation tokens, RA-TLS and collateral.

macro_rules! token_codes {
    ([$next:ident $($rest:ident)*] $($before:tt)*) => {
        $next! {
            [$($rest)*]
            $($before)*
        }
    };
}
