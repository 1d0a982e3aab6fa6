//! Answers of independent implementations.

use super::*;

/// A private key and what jwcrypto 1.5 (Python) encrypted to its public half.
const SCALAR: &str = "Wbv26I7wZqXUJdRhzCxxcWR74u5uw6KbyBI-MTvyrRo";

fn known() -> (GuestKey, Jwe) {
    let private = PrivateKey::from_private_key(&ECDH_P256, &decode(SCALAR).unwrap()).unwrap();
    let jwe = Jwe {
        protected: concat!(
            "eyJhbGciOiJFQ0RILUVTK0EyNTZLVyIsImVuYyI6IkEyNTZHQ00iLCJlcGsiOnsiY3J2IjoiUC0yNTYiLCJrdHkiOi",
            "JFQyIsIngiOiJEbEk5S3JMRjdPWGtLSmQ2QXBYeEVnSWZ1TllNVnE2a2ZsYzBQRXV1SDNJIiwieSI6IkJrQnlvRmZn",
            "NURFUjVtSTNYYlZJNk5sYm1RZl9CNm5GQzVUaU5MX0ZUQ28ifX0",
        )
        .into(),
        encrypted_key: "LkPC9ks55-WkRXzlxTdu3bk45b0KcTjNTgKYDm9AKOq3CdbQY1Jzbg".into(),
        iv: "C1MbQTebTKJfuM4h".into(),
        ciphertext: "REX8GTK5AJm9PH4XV3lUatAaJJl6LS16trh-nm0Th1o".into(),
        tag: "MZttG0ga0KxwZoS-O51oQQ".into(),
    };
    (GuestKey::of(private).unwrap(), jwe)
}

#[test]
fn what_another_implementation_encrypted_is_read() {
    let (key, jwe) = known();
    let TeeKey::Ec { x, y, .. } = key.public() else { panic!("not an EC key") };
    assert_eq!(x, "jun-VwS_uDQXzYqwTxYBcSNAyeW5dCW2ypBgesnmEFs");
    assert_eq!(y, "7Ers4490QEcVot9Om6Aax_eEbK8E9j7L5V9SuowoqHQ");
    let secret = key.decrypt(&jwe).unwrap();
    secret.expose(|bytes| assert_eq!(bytes, b"a secret of thirty-two bytes ..."));
}

#[test]
fn key_derivation_equals_rfc_7518_appendix_c() {
    let shared = [
        158, 86, 217, 29, 129, 113, 53, 211, 114, 131, 66, 131, 191, 132, 38, 156, 251, 49, 110, 163, 218, 128, 106,
        72, 246, 218, 167, 121, 140, 254, 144, 196,
    ];
    let information = other_information("A128GCM", b"Alice", b"Bob", 128).unwrap();
    let mut key = [0; 16];
    let sha256 = get_sskdf_digest_algorithm(SskdfDigestAlgorithmId::Sha256).unwrap();
    sskdf_digest(sha256, &shared, &information, &mut key).unwrap();
    assert_eq!(URL_SAFE_NO_PAD.encode(key), "VqqN6vgjbSBcIijNcacQGg");
}

#[test]
fn anything_changed_is_refused_in_the_same_words() {
    let (key, good) = known();
    let flipped = |text: &str| {
        let mut bytes = decode(text).unwrap();
        bytes[3] ^= 1;
        URL_SAFE_NO_PAD.encode(bytes)
    };
    let header = |from: &str, to: &str| {
        let text = String::from_utf8(decode(&good.protected).unwrap()).unwrap();
        assert!(text.contains(from));
        URL_SAFE_NO_PAD.encode(text.replacen(from, to, 1))
    };
    let bad = [
        Jwe { protected: header("A256GCM", "A128GCM"), ..good.clone() },
        Jwe { protected: header("{", "{\"crit\":[],"), ..good.clone() },
        Jwe { protected: header("{", "{ "), ..good.clone() },
        Jwe { protected: header("P-256", "P-384"), ..good.clone() },
        Jwe { protected: "!".into(), ..good.clone() },
        Jwe { encrypted_key: flipped(&good.encrypted_key), ..good.clone() },
        Jwe { encrypted_key: String::new(), ..good.clone() },
        Jwe { iv: flipped(&good.iv), ..good.clone() },
        Jwe { iv: "AAAA".into(), ..good.clone() },
        Jwe { ciphertext: flipped(&good.ciphertext), ..good.clone() },
        Jwe { tag: flipped(&good.tag), ..good.clone() },
        Jwe { tag: String::new(), ..good.clone() },
    ];
    for jwe in bad {
        let error = key.decrypt(&jwe).unwrap_err();
        assert_eq!(error.to_string(), "decrypting the broker's answer failed", "{jwe:?}");
    }
    assert!(GuestKey::generate().unwrap().decrypt(&good).is_err());
}
