//! Codes of SGX and TDX quotes and their collateral.

macro_rules! dcap_codes {
    ([$next:ident $($rest:ident)*] $($before:tt)*) => {
        $next! {
            [$($rest)*]
            $($before)*
        }
    };
}
