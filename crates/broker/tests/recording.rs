//! What upstream's real client sent to upstream's real server, sent to this one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use hyper::StatusCode;
use support::Folder;

/// Method, path, headers, body of every recorded request.
type Recorded = (String, String, Vec<(String, String)>, String);

fn recording() -> Option<Vec<Recorded>> {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference/trustee-traffic.txt");
    let text = std::fs::read_to_string(file).ok()?.replace('\r', "");
    let mut requests = Vec::new();
    for block in text.split("\n----- conn ").skip(1) {
        let (title, message) = block.split_once('\n').unwrap();
        if !title.contains("C->S") {
            continue;
        }
        let (head, rest) = message.split_once("\n\n").unwrap();
        let mut lines = head.lines();
        let mut first = lines.next().unwrap().split(' ');
        let (method, path) = (first.next().unwrap().to_owned(), first.next().unwrap().to_owned());
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap())
            .filter(|(name, _)| !matches!(*name, "host" | "content-length"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let body = rest.split("\n\n#####").next().unwrap().trim_end_matches('\n').to_owned();
        requests.push((method, path, headers, body));
    }
    Some(requests)
}

#[tokio::test]
async fn recorded_requests_are_refused_in_the_form_that_the_client_reads() {
    let Some(requests) = recording() else {
        println!("skipped: the recording is not here");
        return;
    };
    assert!(requests.len() > 40, "{}", requests.len());
    let folder = Folder::new();
    let broker = folder.start().await;
    let mut client = broker.client().await;
    let mut kinds = std::collections::BTreeMap::<String, usize>::new();
    for (method, path, headers, body) in requests {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let has = |name: &str| headers.iter().any(|(other, _)| *other == name);
        let answer = client.send(&method, &path, &headers, body).await;
        // The sample TEE has no verifier here; its cookies and tokens are not ours.
        let (status, code) = match (method.as_str(), path.as_str()) {
            ("POST", "/kbs/v0/auth") => (400, "E-TEE"),
            ("POST", "/kbs/v0/attest") => (401, "E-NONCE"),
            ("GET", path) if path.starts_with("/kbs/v0/resource/") && has("authorization") => (401, "E-TOKEN"),
            ("GET", path) if path.starts_with("/kbs/v0/resource/") => (401, "E-SESSION"),
            _ => (401, "E-ADMIN"),
        };
        assert_eq!(answer.refusal(), support::refused(status, code), "{method} {path}");
        *kinds.entry(code.to_owned()).or_default() += 1;
    }
    assert_eq!(kinds.len(), 5, "every kind of request is in the recording: {kinds:?}");
}

#[tokio::test]
async fn a_recorded_upload_with_a_good_token_is_answered_as_upstream_answers() {
    let Some(requests) = recording() else {
        println!("skipped: the recording is not here");
        return;
    };
    let folder = Folder::new();
    let broker = folder.start().await;
    let (method, path, _, body) = requests.into_iter().next().unwrap();
    assert_eq!((method.as_str(), body.as_str()), ("POST", "my-secret-0123"));
    let answer = broker.admin(&method, &path, body).await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
    assert_eq!(answer.headers["content-type"], "text/xml");
}
