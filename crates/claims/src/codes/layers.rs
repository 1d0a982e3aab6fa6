//! Codes of container layers, CCE policies and enclave measurements.

macro_rules! layers_codes {
    ([$next:ident $($rest:ident)*] $($before:tt)*) => {
        $next! {
            [$($rest)*]
            $($before)*
        }
    };
}
