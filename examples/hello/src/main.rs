//! The example workload: an HTTP service that proves it holds a secret without saying it.
//!
//! At its start it reads one secret from the agent inside the confidential VM. `GET /prove/CHALLENGE` answers with
//! the HMAC-SHA-256 of the challenge under that secret, which only somebody who holds the secret can compute.
#![forbid(unsafe_code)]

use aws_lc_rs::hmac;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

const AGENT: &str = "http://127.0.0.1:8006";
const SECRET: &str = "hello/secret/hmac";
const LONGEST_CHALLENGE: usize = 256;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let secret = ureq::get(format!("{AGENT}/cdh/resource/{SECRET}")).call()?.into_body().read_to_vec()?;
    let key = Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &secret));
    let service = Router::new()
        .route("/", get(|| async { "hello from inside; ask /prove/CHALLENGE\n" }))
        .route("/prove/{challenge}", get(prove))
        .with_state(key);
    let listener = tokio::net::TcpListener::bind("0.0.0.0:8080").await?;
    // The first process of a container gets no default signal handlers: without this it would have to be killed.
    let mut end = signal(SignalKind::terminate())?;
    axum::serve(listener, service)
        .with_graceful_shutdown(async move {
            end.recv().await;
        })
        .await?;
    Ok(())
}

async fn prove(
    State(key): State<Arc<hmac::Key>>,
    Path(challenge): Path<String>,
) -> Result<Json<serde_json::Value>, StatusCode> {
    if challenge.len() > LONGEST_CHALLENGE {
        return Err(StatusCode::URI_TOO_LONG);
    }
    let proof = hmac::sign(&key, challenge.as_bytes());
    Ok(Json(serde_json::json!({ "challenge": challenge, "hmac": hex::encode(proof) })))
}
