//! HashiCorp Vault or OpenBao: secrets in its key-value store (KV, version 1 and 2), the master key under its transit engine.
//!
//! *Takes* the settings `[vault]` and `[[secrets]]`.
//! *Guarantees* that tokens, secret ids and values are in no error and no log; that no redirect is followed and no
//! authority believed but the one in the settings; bounds on sizes, times and requests at once; and that it recovers by
//! itself when Vault comes back.
//! *Does not check* who asks: the callers decide first, so that Vault hears nothing of what is refused.
//!
//! Written against the published HTTP API (developer.hashicorp.com/vault/api-docs: auth/approle, auth/token, secret/kv,
//! secret/transit, system/health), which OpenBao shares.

mod error;
mod http;
mod keeper;
mod kv;
mod login;
pub(crate) mod settings;
mod transit;

pub use error::VaultError;
pub(crate) use keeper::Keeper;
pub(crate) use kv::Found;
pub use settings::{KeptInVault, KvEncoding, KvVersion, VaultAuth, VaultSettings};
pub(crate) use transit::Transit;

use http::{Body, Http, Reply};
use login::{Login, Token};
use ureq::http::Method;

/// One server, with a login. Blocks: not for the runtime's threads.
pub(crate) struct Client {
    http: Http,
    login: Login,
}

impl Client {
    pub(crate) fn new(settings: &VaultSettings) -> Result<Self, VaultError> {
        Ok(Self { http: Http::new(settings)?, login: Login::new(settings) })
    }

    /// One request with the broker's token; a dead token is replaced once.
    fn ask(&self, method: &Method, path: &str, body: &Body<'_>) -> Result<(Reply, Token), VaultError> {
        let token = self.login.token(&self.http)?;
        let reply = self.http.send(method, path, Some(&token.secret), body)?;
        if reply.status != 403 {
            return Ok((reply, token));
        }
        match self.login.refused(&self.http, &token)? {
            None => Ok((reply, token)),
            Some(token) => Ok((self.http.send(method, path, Some(&token.secret), body)?, token)),
        }
    }
}
