//! The master key under Vault's transit engine: Vault encrypts it and decrypts it, and never gives its own key away.

use super::error::VaultError;
use super::settings::VaultSettings;
use super::{Body, Client, Reply};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use claims::Secret;
use serde::Deserialize;
use ureq::http::Method;
use zeroize::{Zeroize, Zeroizing};

/// Longest ciphertext of 32 bytes that is believed; Vault's are under 200 bytes.
const MAX_CIPHERTEXT: usize = 4096;

/// One key of a transit engine. Its login is given back when it is dropped.
pub(crate) struct Transit<'a> {
    client: Client,
    mount: &'a str,
    key: &'a str,
}

#[derive(Deserialize)]
struct Ciphered {
    data: Ciphertext,
}

#[derive(Deserialize)]
struct Ciphertext {
    ciphertext: String,
}

#[derive(Deserialize)]
struct Deciphered {
    data: Plaintext,
}

#[derive(Deserialize)]
struct Plaintext {
    plaintext: String,
}

impl Drop for Plaintext {
    fn drop(&mut self) {
        self.plaintext.zeroize();
    }
}

impl<'a> Transit<'a> {
    /// Whether a text has the form of a ciphertext.
    pub(crate) fn is_ciphertext(text: &str) -> bool {
        text.len() <= MAX_CIPHERTEXT && text.starts_with("vault:v") && text.bytes().all(|byte| byte.is_ascii_graphic())
    }

    pub(crate) fn new(settings: &VaultSettings, mount: &'a str, key: &'a str) -> Result<Self, VaultError> {
        Ok(Self { client: Client::new(settings)?, mount, key })
    }

    /// Ciphertext (`vault:v1:…`) of 32 bytes.
    pub(crate) fn encrypt(&self, key: &[u8]) -> Result<String, VaultError> {
        let plaintext = Zeroizing::new(STANDARD.encode(key));
        let body = Zeroizing::new([b"{\"plaintext\":\"", plaintext.as_bytes(), b"\"}"].concat());
        let reply = self.ask("encrypt", &Body::Secret(&body))?;
        ciphertext(&reply)
    }

    /// The 32 bytes of a ciphertext.
    pub(crate) fn decrypt(&self, ciphertext: &str) -> Result<Secret<[u8; 32]>, VaultError> {
        let body = serde_json::json!({ "ciphertext": ciphertext }).to_string();
        let reply = self.ask("decrypt", &Body::Plain(body.as_bytes()))?;
        let text = reply.json::<Deciphered>()?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(64));
        let decoded = STANDARD.decode_vec(&text.data.plaintext, &mut bytes).is_ok();
        let key = <[u8; 32]>::try_from(bytes.as_slice()).ok().filter(|_| decoded);
        key.map(Secret::new).ok_or_else(|| reply.malformed("not a key of 32 bytes"))
    }

    /// The ciphertext under the newest version of Vault's key.
    pub(crate) fn rewrap(&self, old: &str) -> Result<String, VaultError> {
        let body = serde_json::json!({ "ciphertext": old }).to_string();
        ciphertext(&self.ask("rewrap", &Body::Plain(body.as_bytes()))?)
    }

    fn ask(&self, what: &str, body: &Body<'_>) -> Result<Reply, VaultError> {
        let (reply, token) = self.client.ask(&Method::POST, &format!("{}/{what}/{}", self.mount, self.key), body)?;
        if reply.is_success() { Ok(reply) } else { Err(reply.unexpected(&token.secret)) }
    }
}

impl Drop for Transit<'_> {
    fn drop(&mut self) {
        self.client.login.leave(&self.client.http);
    }
}

fn ciphertext(reply: &Reply) -> Result<String, VaultError> {
    let text = reply.json::<Ciphered>()?.data.ciphertext;
    if Transit::is_ciphertext(&text) {
        Ok(text)
    } else {
        Err(reply.malformed("not a ciphertext of the transit engine"))
    }
}
