//! A value that never prints itself and is wiped when dropped.

use std::fmt;
use zeroize::Zeroize;

/// A secret: no `Display`, no `Clone`, no `Serialize`; wiped on drop; readable only inside [`Secret::expose`].
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes the value over. The caller wipes whatever copy it still has.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// Lends the value to `user`, and to nobody else.
    pub fn expose<R>(&self, user: impl FnOnce(&T) -> R) -> R {
        user(&self.0)
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print_itself() {
        let secret = Secret::new(*b"hunter2");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert_eq!(secret.expose(|bytes| bytes.len()), 7);
    }
}
