//! Challenges without memory: the nonce itself says when it ends, and a MAC says that it is ours.
//!
//! *Takes* a cookie as it came.
//! *Guarantees* that an accepted cookie carries a nonce of this broker that has not expired.
//! *Does not check* whether the nonce was used: the store takes it, once, when an attestation succeeds.
//!
//! ```text
//! nonce  = random 11 | kind of evidence (high half), protocol version (low half) 1 | expiry 4 (seconds, big-endian) | MAC 16
//! cookie = hex(session 16 | nonce 32), then `.` and the selector where the guest sent one
//! MAC    = HMAC-SHA-256("confide/challenge/v1\0" | session | nonce[..16] | selector)[..16]
//! ```

use crate::clock::after;
use crate::verify::Kind;
use aws_lc_rs::{constant_time, digest, hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use claims::{Code, Secret, UnixTime};
use std::sync::{PoisonError, RwLock};

const DOMAIN: &[u8] = b"confide/challenge/v1\0";
const EPOCH: &[u8] = b"confide/challenge-epoch/v1\0";

/// A version of the KBS protocol that is spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// Evidence as a bare value, nonce not in the body.
    V0_2_0,
    /// Composite evidence, init-data.
    V0_4_0,
}

impl Version {
    pub(crate) fn parse(text: &str) -> Result<Self, Code> {
        match text {
            "0.2.0" => Ok(Self::V0_2_0),
            "0.4.0" => Ok(Self::V0_4_0),
            _ => Err(Code::Version),
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::V0_2_0 => 2,
            Self::V0_4_0 => 4,
        }
    }
}

/// What a guest is given.
pub(crate) struct Challenge {
    pub(crate) nonce: String,
    pub(crate) cookie: String,
    pub(crate) expires: UnixTime,
}

/// A challenge that came back in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) nonce: [u8; 32],
    pub(crate) version: Version,
    pub(crate) kind: Kind,
    pub(crate) expires: UnixTime,
    /// The appraisal policy that the guest asked for.
    pub(crate) selector: Option<String>,
    /// Of the key it was made with: taken only while the store has this number.
    pub(crate) epoch: u64,
}

impl Pending {
    /// The nonce as the protocol writes it.
    pub(crate) fn nonce_text(&self) -> String {
        STANDARD.encode(self.nonce)
    }
}

/// Makes and recognises challenges, under the key of one epoch at a time.
pub(crate) struct Challenges {
    master: hmac::Key,
    current: RwLock<(u64, hmac::Key)>,
    seconds: u64,
}

impl Challenges {
    pub(crate) fn new(key: &Secret<[u8; 32]>, epoch: u64, seconds: u64) -> Self {
        let master = key.expose(|key| hmac::Key::new(hmac::HMAC_SHA256, key));
        let current = RwLock::new((epoch, key_of(&master, epoch)));
        Self { master, current, seconds }
    }

    /// Goes over to another epoch: challenges of before are unknown from then on.
    pub(crate) fn follow(&self, epoch: u64) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.0 != epoch {
            *current = (epoch, key_of(&self.master, epoch));
        }
    }

    pub(crate) fn make(
        &self,
        version: Version,
        kind: Kind,
        selector: Option<&str>,
        now: UnixTime,
    ) -> Result<Challenge, Code> {
        let expires = after(now, self.seconds);
        let mut random = [0; 27];
        rand::fill(&mut random).map_err(|_| Code::Busy)?;
        let (session, salt) = random.split_at(16);
        let seconds = u32::try_from(expires.0).map_err(|_| Code::Busy)?;
        let open = [salt, &[kind.number() << 4 | version.byte()], &seconds.to_be_bytes()].concat();
        let nonce = [open.as_slice(), &self.mac(session, &open, selector).1].concat();
        let mut cookie = hex::encode([session, &nonce].concat());
        if let Some(selector) = selector {
            cookie.push('.');
            cookie.push_str(selector);
        }
        Ok(Challenge { nonce: STANDARD.encode(&nonce), cookie, expires })
    }

    /// Reads a cookie; whatever is wrong with it is `E-NONCE`.
    pub(crate) fn read(&self, cookie: &str, now: UnixTime) -> Result<Pending, Code> {
        let (digits, selector) = match cookie.split_once('.') {
            None => (cookie, None),
            Some((digits, selector)) => (digits, Some(selector)),
        };
        let mut bytes = [0; 48];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| Code::Nonce)?;
        // Upper-case hex would be a second cookie for the same session.
        if hex::encode(bytes) != digits {
            return Err(Code::Nonce);
        }
        let (session, nonce) = bytes.split_first_chunk::<16>().ok_or(Code::Nonce)?;
        let (open, mac) = nonce.split_first_chunk::<16>().ok_or(Code::Nonce)?;
        let (epoch, wanted) = self.mac(session, open, selector);
        constant_time::verify_slices_are_equal(&wanted, mac).map_err(|_| Code::Nonce)?;
        let [.., what, e0, e1, e2, e3] = *open;
        let expires = UnixTime(u32::from_be_bytes([e0, e1, e2, e3]).into());
        let version = [Version::V0_2_0, Version::V0_4_0].into_iter().find(|known| known.byte() == what & 0x0f);
        let kind = Kind::ALL.iter().copied().find(|known| known.number() == what >> 4);
        let pending = Pending {
            nonce: nonce.try_into().map_err(|_| Code::Nonce)?,
            version: version.ok_or(Code::Nonce)?,
            kind: kind.ok_or(Code::Nonce)?,
            expires,
            selector: selector.map(str::to_owned),
            epoch,
        };
        if now < expires { Ok(pending) } else { Err(Code::Nonce) }
    }

    /// The epoch in use, and the MAC under its key. Session and open part have one length each, so what is behind them is
    /// the selector.
    fn mac(&self, session: &[u8], open: &[u8], selector: Option<&str>) -> (u64, [u8; 16]) {
        let selector = selector.map(|selector| format!(".{selector}")).unwrap_or_default();
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let tag = hmac::sign(&current.1, &[DOMAIN, session, open, selector.as_bytes()].concat());
        let mut short = [0; 16];
        short.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        (current.0, short)
    }
}

fn key_of(master: &hmac::Key, epoch: u64) -> hmac::Key {
    let tag = hmac::sign(master, &[EPOCH, &epoch.to_be_bytes()].concat());
    hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref())
}

/// Under what an attested session is kept: not the cookie itself, so that the store does not hold what opens it.
pub(crate) fn session_id(cookie: &str) -> [u8; 32] {
    let hash = digest::digest(&digest::SHA256, &[b"confide/session/v1\0", cookie.as_bytes()].concat());
    let mut id = [0; 32];
    id.copy_from_slice(hash.as_ref());
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_comes_back_once_in_time_and_unchanged() {
        let challenges = Challenges::new(&Secret::new([7; 32]), 0, 300);
        let start = UnixTime(1_800_000_000);
        let made = challenges.make(Version::V0_4_0, Kind::Aci, None, start).unwrap();
        let pending = challenges.read(&made.cookie, start).unwrap();
        assert_eq!((pending.nonce_text(), pending.version), (made.nonce.clone(), Version::V0_4_0));
        assert_eq!(pending.kind, Kind::Aci);
        assert_eq!(made.nonce.len(), 44);
        assert_eq!(challenges.read(&made.cookie, after(start, 299)), Ok(pending));
        assert_eq!(challenges.read(&made.cookie, after(start, 300)), Err(Code::Nonce));
        assert_eq!(challenges.read(&made.cookie.to_uppercase(), start), Err(Code::Nonce));
        for place in 0..made.cookie.len() {
            let mut other = made.cookie.clone().into_bytes();
            other[place] = if other[place] == b'0' { b'1' } else { b'0' };
            assert_eq!(challenges.read(std::str::from_utf8(&other).unwrap(), start), Err(Code::Nonce), "{place}");
        }
        let chosen = challenges.make(Version::V0_4_0, Kind::Snp, Some("alice"), start).unwrap();
        assert_eq!(challenges.read(&chosen.cookie, start).unwrap().selector.as_deref(), Some("alice"));
        let (digits, _) = chosen.cookie.split_once('.').unwrap();
        for other in [digits.to_owned(), format!("{digits}."), format!("{digits}.bob"), format!("{}.a", made.cookie)] {
            assert_eq!(challenges.read(&other, start), Err(Code::Nonce), "{other}");
        }
        let restarted = Challenges::new(&Secret::new([8; 32]), 0, 300);
        assert_eq!(restarted.read(&made.cookie, start), Err(Code::Nonce));
        challenges.follow(1);
        assert_eq!(challenges.read(&made.cookie, start), Err(Code::Nonce));
        let other = Challenges::new(&Secret::new([7; 32]), 1, 300);
        let made = other.make(Version::V0_4_0, Kind::Aci, None, start).unwrap();
        assert_eq!(challenges.read(&made.cookie, start).unwrap().epoch, 1);
    }
}
