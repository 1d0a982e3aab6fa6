//! Routes: who may call what, and how every answer looks.
//!
//! *Takes* requests as they come.
//! *Guarantees* that a handler for administrators cannot be registered without taking an [`Admin`], which only
//! [`Gate::admit`] makes; that bodies are bounded; and that every refusal has a JSON body.
//! *Does not check* what handlers do with an [`Admin`].

pub(crate) mod admin;
pub(crate) mod attest;
pub(crate) mod audit;
pub(crate) mod confide;
pub(crate) mod gate;
pub(crate) mod imports;
pub(crate) mod kept;
mod openapi;
pub(crate) mod policies;
pub(crate) mod protocol;
pub(crate) mod reference;
pub(crate) mod refusal;
pub(crate) mod resource;
pub(crate) mod revocations;

use crate::app::App;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use claims::Code;
use gate::{Admin, Scope};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use refusal::Refusal;
use serde::Serialize;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anybody; the handler proves or gives away nothing secret.
    Public,
    /// A guest with an attested session, which the handler asks for.
    Guest,
    /// An administrator who may only look.
    Auditor,
    /// An administrator.
    Administrator,
}

/// One route, for tests and documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    /// HTTP method.
    pub(crate) method: &'static str,
    /// Path; `{name}` stands for a segment, `{*name}` for the rest.
    pub(crate) path: &'static str,
    /// Who may call it.
    pub(crate) access: Access,
}

/// A request, taken apart.
pub(crate) struct Call {
    /// What stands behind the route's fixed part, as it came: escapes are not undone.
    pub(crate) rest: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) peer: SocketAddr,
    pub(crate) unhurried: Unhurried,
}

/// The peer's address, put into each request by the listener.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Whether a request may take longer than `request_seconds`; put into each by the listener, claimed by handlers that have
/// admitted their caller and walk over everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unhurried(Arc<AtomicBool>);

impl Unhurried {
    pub(crate) fn claim(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_claimed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

pub(crate) type Answer = Result<Response, Refusal>;

/// The routes as they are registered.
pub(crate) struct Table {
    app: Arc<App>,
    router: Router,
    pub(crate) routes: Vec<Route>,
}

impl Table {
    pub(crate) fn new(app: Arc<App>) -> Self {
        Self { app, router: Router::new(), routes: Vec::new() }
    }

    /// A route without administrator.
    pub(crate) fn open<F, Fut>(self, access: Access, method: &'static str, path: &'static str, handler: F) -> Self
    where
        F: Fn(Arc<App>, Call) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Answer> + Send + 'static,
    {
        let app = Arc::clone(&self.app);
        self.add(Route { method, path, access }, move |request| {
            let (app, handler) = (Arc::clone(&app), handler.clone());
            async move {
                let call = read(&app, path, request).await?;
                handler(app, call).await
            }
        })
    }

    /// A route for administrators: the gate comes before the body is read.
    pub(crate) fn guarded<F, Fut>(self, scope: Scope, method: &'static str, path: &'static str, handler: F) -> Self
    where
        F: Fn(Arc<App>, Admin, Call) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Answer> + Send + 'static,
    {
        let app = Arc::clone(&self.app);
        let access = match scope {
            Scope::Look => Access::Auditor,
            Scope::Change => Access::Administrator,
        };
        self.add(Route { method, path, access }, move |request| {
            let (app, handler) = (Arc::clone(&app), handler.clone());
            async move {
                let admin = app.gate.admit(request.headers(), scope, app.clock.now())?;
                let call = read(&app, path, request).await?;
                handler(app, admin, call).await
            }
        })
    }

    fn add<F, Fut>(mut self, route: Route, handler: F) -> Self
    where
        F: Fn(Request) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Answer> + Send + 'static,
    {
        let filter = match route.method {
            "POST" => MethodFilter::POST,
            "PUT" => MethodFilter::PUT,
            "DELETE" => MethodFilter::DELETE,
            _ => MethodFilter::GET,
        };
        let method = on(filter, move |request: Request| {
            let answer = handler(request);
            async move { answer.await.unwrap_or_else(IntoResponse::into_response) }
        });
        self.router = self.router.route(route.path, method);
        self.routes.push(route);
        self
    }

    /// Adds the route that describes all others, and itself.
    fn describe(self) -> Self {
        let route = Route { method: "GET", path: "/openapi.json", access: Access::Public };
        let described: Vec<Route> = self.routes.iter().copied().chain([route]).collect();
        let document = Arc::new(openapi::document(&described));
        self.add(route, move |_| {
            let document = Arc::clone(&document);
            async move { json(StatusCode::OK, document.as_ref()) }
        })
    }

    pub(crate) fn finish(self) -> (Router, Vec<Route>) {
        let absent = || async { Refusal::of(Code::Route, "no such endpoint").into_response() };
        let mut router = self.router;
        let mut paths: BTreeMap<&'static str, Vec<&'static str>> = BTreeMap::new();
        for route in &self.routes {
            paths.entry(route.path).or_default().push(route.method);
        }
        for (path, methods) in paths {
            let allowed = methods.join(", ");
            let wrong = move || async move { wrong_method(&allowed) };
            // The router would answer HEAD as GET, and so release without handing over.
            router = router.route(path, on(MethodFilter::HEAD, wrong.clone()).fallback(wrong));
        }
        (router.fallback(absent), self.routes)
    }
}

/// Every route of a broker.
pub(crate) fn routes(app: Arc<App>) -> (Router, Vec<Route>) {
    let table = Table::new(app)
        .open(Access::Public, "GET", "/healthz", confide::healthz)
        .open(Access::Public, "GET", "/readyz", audit::readyz)
        .open(Access::Public, "GET", "/metrics", confide::metrics)
        .open(Access::Public, "GET", "/.well-known/jwks.json", confide::key_set)
        .open(Access::Public, "POST", "/kbs/v0/auth", attest::auth)
        .open(Access::Public, "POST", "/kbs/v0/attest", attest::attest)
        .open(Access::Guest, "GET", "/kbs/v0/resource/{*path}", resource::fetch);
    let table = reference::register(policies::register(confide::register(admin::register(table))));
    imports::register(revocations::register(audit::register(table))).describe().finish()
}

fn wrong_method(allowed: &str) -> Response {
    let refusal = Refusal::of(Code::Route, "no such method here").with_status(StatusCode::METHOD_NOT_ALLOWED);
    let mut response = refusal.into_response();
    if let Ok(allowed) = HeaderValue::from_str(allowed) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

/// An answer with a JSON body.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(value).map_err(|error| {
        tracing::error!(%error, "an answer could not be written");
        Refusal::of(Code::Store, "the answer could not be written")
    })?;
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

async fn read(app: &App, path: &'static str, request: Request) -> Result<Call, Refusal> {
    let (parts, body) = request.into_parts();
    let fixed = path.split('{').next().unwrap_or(path);
    let rest = parts.uri.path().strip_prefix(fixed).unwrap_or("").to_owned();
    let peer = parts.extensions.get::<Peer>().map_or(SocketAddr::from(([0, 0, 0, 0], 0)), |peer| peer.0);
    let unhurried = parts.extensions.get::<Unhurried>().cloned().unwrap_or_default();
    let too_large = || Refusal::of(Code::TooLarge, "the body is over the limit");
    let limit = app.settings.limits.body_bytes;
    let announced = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > limit as u64) {
        return Err(too_large());
    }
    let body = match Limited::new(body, limit).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(too_large()),
        Err(_) => return Err(Refusal::of(Code::Format, "the body ended early")),
    };
    app.metrics.request_sizes.add(u64::try_from(body.len()).unwrap_or(u64::MAX));
    let query = parts.uri.query().unwrap_or("").to_owned();
    Ok(Call { rest, query, headers: parts.headers, body, peer, unhurried })
}

#[cfg(test)]
mod tests;
