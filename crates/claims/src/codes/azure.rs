//! Codes of Azure: HCL reports, TPM quotes, UVM endorsements.

macro_rules! azure_codes {
    ([$next:ident $($rest:ident)*] $($before:tt)*) => {
        $next! {
            [$($rest)*]
            $($before)*
        }
    };
}
