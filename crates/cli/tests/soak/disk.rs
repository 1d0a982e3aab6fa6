//! A disk that is full: refused in clear words, nothing half written, and well again when there is room.

use super::figure;
use super::process::{How, Process};
use super::support::Folder;
use super::support::guest::Guest;
use super::support::processor::Launch;
use std::path::Path;
use std::time::{Duration, Instant};

const PATH: &str = "example/key/1";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_recovers() {
    let folder = Folder::new();
    let place = folder.place.path().join("small");
    std::fs::create_dir(&place).unwrap();
    // A disk of 8 MiB of its own, in a mount namespace that ends with the broker; half of it is ballast.
    let script = format!(
        "mount -t tmpfs -o size=8m,mode=0700 confide-soak {place} && cp -p {from}/* {place}/ && \
         head -c 4194304 /dev/zero >{place}/ballast && exec \"$@\"",
        place = place.display(),
        from = folder.path().display(),
    );
    let under = ["unshare", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned);
    let how = How { under: &under, folder: Some(&place), ..How::default() };
    let Some(process) = Process::try_start(&folder, &how) else {
        println!("skipped: no disk of its own can be mounted here");
        return;
    };
    let guest = Guest::new(Launch::default());
    process.serve_secret(&guest, PATH, b"value").await;
    assert_eq!(process.wire().await.serves(&guest, PATH, b"value").await, Some(true));

    let mut stored = 0_u64;
    let refused = loop {
        let put = process.admin("POST", "/kbs/v0/resource/example/big/1", vec![7; 128 << 10]).await;
        if put.status != 200 {
            break put;
        }
        stored += 1;
        assert!(stored < 200, "the disk does not fill");
    };
    assert_eq!(refused.refusal(), (503, "E-STORE".to_owned()));
    // Small things may still fit; go on until nothing does.
    let mut wire = process.wire().await;
    let full = loop {
        let session = wire.auth().await.unwrap();
        let answer = wire.attest(&session, &guest.body(&session)).await.unwrap();
        if answer.status != 200 {
            break answer;
        }
        stored += 1;
        assert!(stored < 5_000, "the disk does not fill");
    };
    // No decision can be written down, so none is made; the broker lives and says that it cannot decide.
    assert_eq!(full.refusal(), (503, "E-STORE".to_owned()));
    assert_eq!(wire.send("GET", "/healthz", None, "").await.unwrap().status, 200);
    let ready = wire.send("GET", "/readyz", None, "").await.unwrap();
    figure("disk: full after so many writes; /readyz then", format!("{stored}; {}", ready.status.as_u16()));

    let ballast = process.place("root").join(place.strip_prefix("/").unwrap()).join("ballast");
    std::fs::remove_file(&ballast).unwrap_or_else(|error| panic!("{}: {error}", ballast.display()));
    let freed = Instant::now();
    while process.wire().await.serves(&guest, PATH, b"value").await != Some(true) {
        assert!(freed.elapsed() < Duration::from_secs(120), "the broker does not recover");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    figure("disk: served again after room was made", format!("{:.1?}", freed.elapsed()));
    let versions = process.admin("GET", "/confide/v0/resources/example/big/1", "").await.json();
    let kept = versions["versions"].as_array().unwrap().len() as u64;
    assert!(kept <= stored, "a refused secret is not there: {kept} of {stored}");
    process.whole_log().await;
    assert!(Path::new("/proc").exists());
}
