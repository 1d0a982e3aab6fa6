//! Clocks that jump: while the broker runs nothing ends and nothing lives longer; over a restart nothing comes back.

use super::figure;
use super::process::{How, Process};
use super::support::Folder;
use super::support::guest::Guest;
use super::support::processor::Launch;
use std::path::{Path, PathBuf};

const PATH: &str = "example/key/1";
const DAY: i64 = 86_400;

/// The library that lies about the time.
fn library() -> Option<PathBuf> {
    let places = ["/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime", "/usr/lib64/faketime"];
    places.map(|place| Path::new(place).join("libfaketimeMT.so.1")).into_iter().find(|path| path.exists())
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_jump_bring_nothing_back() {
    let Some(library) = library() else {
        println!("skipped: libfaketime is not here (Debian: faketime)");
        return;
    };
    let folder = Folder::new();
    let offset = folder.place.path().join("offset");
    let set = |seconds: i64| std::fs::write(&offset, format!("{seconds:+}\n")).unwrap();
    let environment = [
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", offset.display().to_string()),
        // The file is read each time, and only the time of day is another.
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    let how = How { environment: &environment, ..How::default() };
    set(0);
    let process = Process::start_as(&folder, &how);
    let guest = Guest::new(Launch::default());
    process.serve_secret(&guest, PATH, b"value").await;
    let told =
        async |process: &Process| process.admin("GET", "/confide/v0/status", "").await.json()["time"].as_i64().unwrap();
    let start = told(&process).await;
    let mut wire = process.wire().await;
    let session = wire.auth().await.unwrap();
    let body = guest.body(&session);
    assert_eq!(wire.attest(&session, &body).await.unwrap().status, 200);
    // An hour to and fro while it runs: the session lives, the nonce stays used, new guests are served.
    for jump in [3_600, -3_600] {
        set(jump);
        assert!((told(&process).await - start).abs() < 1_800, "the broker's clock is its own");
        assert_eq!(guest.secret(&wire.get(&session, PATH).await.unwrap()), b"value");
        assert_eq!(wire.attest(&session, &body).await.unwrap().refusal(), (401, "E-NONCE".to_owned()));
        assert_eq!(process.wire().await.serves(&guest, PATH, b"value").await, Some(true), "{jump}");
    }
    let waiting = wire.auth().await.unwrap();
    let waiting_body = guest.body(&waiting);
    drop(wire);
    process.kill();

    // A day later: what was of yesterday has ended.
    set(DAY);
    let process = Process::start_as(&folder, &How { ahead: DAY, ..how });
    let later = told(&process).await;
    assert!(later - start >= DAY - 60, "the clock did not jump: {start} {later}");
    let mut wire = process.wire().await;
    assert_eq!(wire.get(&session, PATH).await.unwrap().refusal(), (401, "E-SESSION".to_owned()));
    for (session, body) in [(&session, &body), (&waiting, &waiting_body)] {
        assert_eq!(wire.attest(session, body).await.unwrap().refusal(), (401, "E-NONCE".to_owned()));
    }
    drop(wire);
    process.kill();

    // Back again: challenges of before, which would be in time once more, are not good again.
    set(0);
    let process = Process::start_as(&folder, &how);
    let mut wire = process.wire().await;
    assert_eq!(wire.get(&session, PATH).await.unwrap().refusal(), (401, "E-SESSION".to_owned()));
    for (session, body) in [(&session, &body), (&waiting, &waiting_body)] {
        assert_eq!(wire.attest(session, body).await.unwrap().refusal(), (401, "E-NONCE".to_owned()));
    }
    assert_eq!(wire.serves(&guest, PATH, b"value").await, Some(true), "honest guests go on");
    process.whole_log().await;
    figure("clock: an hour to and fro while running, a day over restarts", "nothing came back");
}
