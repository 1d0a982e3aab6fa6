//! The local agent API: what the workload may ask the guest for, on 127.0.0.1 inside the VM.
//!
//! *Takes* requests of the workload.
//! *Guarantees* that only resources that `site.json` lists for the workload leave, never the volume key; that evidence
//! carries a role tag, so that no workload can pass for the guest; that requests are small and few at a time.
//! *Does not check* which process asks: everything in the container is the workload.
//!
//! Paths are those of Confidential Containers' REST API, so that its clients work: `/cdh/resource/{repository}/{type}/{tag}`,
//! `/aa/evidence?runtime_data=`, `/aa/token`; and `/info`, `/healthz`. The key that secrets are encrypted to is never
//! given out with a token, as it is there: with it the workload could read what is not listed for it.

use crate::broker_client::{ClientError, Keeper};
use crate::evidence::Provider;
use attest::snp::kbs::to_json;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use axum::{Router, serve};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use claims::Code;
use claims::kbs::{key_release_report_data, workload_report_data};
use claims::site::Site;
use claims::workload::Settings;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Where the agent listens.
pub const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8006);

/// Longest runtime data, decoded.
const MAX_RUNTIME_DATA: usize = 4096;
/// Requests that may wait for the broker or the processor at once; others are told to come back.
const AT_ONCE: usize = 4;
/// How old a token may be that is handed out again.
const TOKEN_AGE: Duration = Duration::from_secs(120);

/// What the agent answers from.
pub struct Agent {
    keeper: Arc<Keeper>,
    resources: BTreeSet<String>,
    info: Info,
    turns: Semaphore,
}

/// `/info`: no secret in it.
#[derive(Debug, Clone, Serialize)]
struct Info {
    version: &'static str,
    tee: &'static str,
    emulated: bool,
    site: String,
    project: String,
    workload: String,
    role: Option<String>,
}

impl Agent {
    /// An agent for this site and workload. The site's volume key is not among the resources, whatever is listed.
    pub fn new(site: &Site, settings: &Settings, keeper: Arc<Keeper>) -> Self {
        let resources = site.resources.iter().filter(|path| **path != site.volume_key).cloned().collect();
        let info = Info {
            version: env!("CARGO_PKG_VERSION"),
            tee: "snp",
            emulated: keeper.attester().provider() == Provider::Emulated,
            site: site.site.clone(),
            project: site.project.clone(),
            workload: settings.name.clone(),
            role: settings.role.clone(),
        };
        Self { keeper, resources, info, turns: Semaphore::new(AT_ONCE) }
    }
}

/// Listens on [`ADDRESS`] and answers in a thread of its own.
pub fn start(agent: Agent) -> io::Result<()> {
    start_on(TcpListener::bind(ADDRESS)?, agent)
}

/// Answers on a listener that is there already.
pub fn start_on(listener: TcpListener, agent: Agent) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(AT_ONCE).build()?;
    thread::Builder::new().name("agent".into()).spawn(move || {
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            serve(listener, routes(agent)).await
        })
    })?;
    Ok(())
}

fn routes(agent: Agent) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/info", get(info))
        .route("/cdh/resource/{repository}/{kind}/{tag}", get(resource))
        .route("/aa/evidence", get(evidence))
        .route("/aa/token", get(token))
        .fallback(|| async { Refusal(StatusCode::NOT_FOUND, Code::Path) })
        .with_state(Arc::new(agent))
}

async fn info(State(agent): State<Arc<Agent>>) -> Json<Info> {
    Json(agent.info.clone())
}

type Segments = (String, String, String);

async fn resource(State(agent): State<Arc<Agent>>, Path(path): Path<Segments>) -> Result<Response, Refusal> {
    let path = format!("{}/{}/{}", path.0, path.1, path.2);
    if !agent.resources.contains(&path) {
        return Err(Refusal(StatusCode::FORBIDDEN, Code::Denied));
    }
    let secret = blocking(&agent, move |agent| Ok(agent.keeper.resource(&path)?)).await?;
    // From here it is the workload's: the HTTP library's buffers are not wiped.
    let body = secret.expose(Clone::clone);
    let head = [(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((head, body).into_response())
}

#[derive(Deserialize)]
struct Wanted {
    runtime_data: String,
    encoding: Option<String>,
    form: Option<String>,
}

async fn evidence(State(agent): State<Arc<Agent>>, Query(wanted): Query<Wanted>) -> Result<Response, Refusal> {
    let malformed = Refusal(StatusCode::BAD_REQUEST, Code::Format);
    let bytes = match wanted.encoding.as_deref() {
        None => wanted.runtime_data.into_bytes(),
        Some("base64") => {
            let text = wanted.runtime_data.as_bytes();
            STANDARD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text)).map_err(|_| malformed)?
        }
        Some(_) => return Err(malformed),
    };
    if bytes.len() > MAX_RUNTIME_DATA {
        return Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge));
    }
    let data = match wanted.form.as_deref() {
        None | Some("workload") => workload_report_data(&bytes),
        Some("skr") => key_release_report_data(&bytes),
        Some(_) => return Err(malformed),
    };
    let report = move |agent: &Agent| Ok(agent.keeper.attester().report(&data).map_err(ClientError::Evidence)?);
    let evidence = blocking(&agent, report).await?;
    Ok(Json(to_json(evidence.report(), evidence.certificates())).into_response())
}

async fn token(State(agent): State<Arc<Agent>>) -> Result<Response, Refusal> {
    let session = blocking(&agent, |agent| Ok(agent.keeper.session(TOKEN_AGE)?)).await?;
    Ok(session.token().expose(|token| Json(json!({ "token": token }))).into_response())
}

/// Does what blocks on another thread, when it is its turn.
async fn blocking<T: Send + 'static>(
    agent: &Arc<Agent>,
    work: impl FnOnce(&Agent) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let busy = Refusal(StatusCode::SERVICE_UNAVAILABLE, Code::Busy);
    let _turn = agent.turns.try_acquire().map_err(|_| busy)?;
    let agent = agent.clone();
    let done = tokio::task::spawn_blocking(move || work(&agent)).await;
    done.unwrap_or(Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, Code::Guest)))
}

/// What the workload gets to know: a status and a stable code.
#[derive(Debug, Clone, Copy)]
struct Refusal(StatusCode, Code);

impl From<ClientError> for Refusal {
    fn from(error: ClientError) -> Self {
        let status = match &error {
            ClientError::Refused { status: 404, .. } => StatusCode::NOT_FOUND,
            ClientError::Path(_) => StatusCode::BAD_REQUEST,
            error if error.is_refusal() => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_GATEWAY,
        };
        Self(status, error.code())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "code": self.1.name(), "title": self.1.page().title }))).into_response()
    }
}
