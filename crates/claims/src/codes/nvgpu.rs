//! Codes of NVIDIA GPU evidence and composites.

macro_rules! nvgpu_codes {
    ([$next:ident $($rest:ident)*] $($before:tt)*) => {
        $next! {
            [$($rest)*]
            $($before)*
        }
    };
}
