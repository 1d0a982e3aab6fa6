//! The last step of `up`: the service in the container proves what it holds.

use crate::Context;
use crate::outcome::{Failure, Result};
use crate::workspace::Workspace;
use aws_lc_rs::hmac;
use image::workload::Proof;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Asks the service in the container to prove that it holds a secret that only the broker had.
pub(super) fn ask(
    proof: &Proof,
    url: &str,
    workspace: &Workspace,
    context: &Context,
    go_on: &dyn Fn() -> Result<()>,
) -> Result<Value> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| Failure::environment("the system gives no random numbers"))?;
    let challenge = hex::encode(random);
    let address = format!("{}{}", url.trim_end_matches('/'), proof.path.replace("{challenge}", &challenge));
    let end = Instant::now() + Duration::from_secs(30);
    let answer = loop {
        match ureq::get(&address).config().timeout_global(Some(Duration::from_secs(5))).build().call() {
            Ok(mut answer) => break answer.body_mut().with_config().limit(64 << 10).read_to_string(),
            Err(error) if Instant::now() > end => {
                return Err(Failure::environment(format!("the service at {address} does not answer")).because(error));
            }
            Err(_) => {
                go_on()?;
                std::thread::sleep(Duration::from_millis(200));
            }
        }
    }
    .map_err(|error| Failure::environment("the service's answer broke off").because(error))?;
    let value: Value = serde_json::from_str(&answer)
        .map_err(|error| Failure::refused("the service's answer is not JSON").because(error))?;
    let tag = value.get("hmac").and_then(Value::as_str).and_then(|text| hex::decode(text).ok()).unwrap_or_default();
    let kept = secret_file(&proof.secret);
    if !workspace.path(&kept).exists() {
        context.printer.step("service answered", "its proof cannot be checked here: `up` did not make the secret");
        return Ok(json!({ "challenge": challenge, "hmac": hex::encode(&tag), "right": null }));
    }
    let secret = workspace.key(&kept)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
    if hmac::verify(&key, challenge.as_bytes(), &tag).is_err() {
        return Err(Failure::refused("the service does not hold the secret: its HMAC is wrong"));
    }
    context.printer.step("service answered", format!("HMAC of {challenge} is right: it holds {}", proof.secret));
    Ok(json!({ "challenge": challenge, "hmac": hex::encode(&tag), "right": true }))
}

/// Where `up` keeps the secret that it made for a resource.
pub(super) fn secret_file(resource: &str) -> String {
    format!("secrets/{}", resource.replace('/', "."))
}
