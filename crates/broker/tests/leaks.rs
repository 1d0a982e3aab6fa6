//! After a full run no secret is in logs, audit log, metrics, store or settings: raw, hex, or base64.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use std::io::Write;
use std::sync::{Arc, Mutex};
use support::Folder;
use support::guest::Guest;
use support::processor::Launch;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn holds(place: &[u8], needle: &[u8]) -> bool {
    place.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test]
async fn secrets_stay_where_they_belong() {
    let log = Captured::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .init();
    let secret = b"a volume key nobody may see 0123";
    let path = "example/volume-key/site-1";
    let folder = Folder::new();
    let broker = folder.start().await;
    let guest = Guest::new(Launch::default());
    broker.serve_secret(path, secret, &guest.launch.reference(&[path])).await;
    let mut client = broker.client().await;
    let (session, token) = guest.attested(&mut client).await;
    assert_eq!(guest.secret(&session.get(&mut client, path).await), secret);
    let mut other = Launch::default();
    other.guest.measurement = claims::LaunchDigest([9; 48]);
    Guest::new(other).get(&mut client, path).await;
    let (answer, admin) = (broker.admin("GET", "/confide/v0/audit?limit=500", "").await, broker.admin.clone());
    let listed = broker.admin("GET", "/confide/v0/resources", "").await;
    let metrics = client.send("GET", "/metrics", &[], "").await;
    drop(client);
    broker.stop().await;

    let master = std::fs::read(folder.path().join("master.key")).unwrap();
    let logged = log.0.lock().unwrap().clone();
    assert!(holds(&logged, b"released"), "the log is captured");
    let mut places = vec![
        ("log".to_owned(), logged),
        ("audit".to_owned(), answer.body.to_vec()),
        ("list".to_owned(), listed.body.to_vec()),
        ("metrics".to_owned(), metrics.body.to_vec()),
    ];
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if !path.ends_with("master.key") {
            places.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    let secrets: [(&str, &[u8]); 4] = [
        ("secret", secret),
        ("master key", &master),
        ("admin token", admin.as_bytes()),
        ("cookie", session.cookie.trim_start_matches("kbs-session-id=").as_bytes()),
    ];
    for (what, secret) in secrets {
        // Base64 hides where a value starts; its middle is the same for one of three offsets.
        let mut forms = vec![secret.to_vec(), hex::encode(secret).into(), hex::encode_upper(secret).into()];
        for skip in 0..3 {
            let whole = (secret.len() - skip) / 3 * 3;
            forms.push(STANDARD_NO_PAD.encode(&secret[skip..skip + whole]).into());
            forms.push(URL_SAFE_NO_PAD.encode(&secret[skip..skip + whole]).into());
        }
        for (place, bytes) in &places {
            assert!(!forms.iter().any(|form| holds(bytes, form)), "{what} found in {place}");
        }
    }
    // The token is a bearer credential: it is not logged either.
    assert!(!places.iter().any(|(_, bytes)| holds(bytes, token.as_bytes())));
}
