//! Listens, and serves until told to stop.
//!
//! *Takes* settings, verifiers, and a future that says when to stop.
//! *Guarantees* bounds: connections, time for a handshake and for each request's head, time for a request, sizes.
//! *Does not check* requests: that is the routes' work.

use crate::app::App;
use crate::http::refusal::Refusal;
use crate::http::{Peer, Unhurried, routes};
use crate::keys::{Keys, KeysError};
use crate::places::{Place, Places, Taken};
use crate::rates::Rates;
use crate::settings::{Settings, SettingsError};
use crate::store::StoreError;
use crate::tls::Tls;
use crate::token::TokenKeyError;
use crate::upkeep::{self, UpkeepError};
use crate::vault::{Keeper, VaultError};
use crate::verify::Verifiers;
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use claims::{Code, Digest256};
use hyper::body::{Body as _, Incoming};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tower::ServiceExt;

/// Seconds between two sweeps of what has expired.
const SWEEP_SECONDS: u64 = 60;
/// Seconds between two looks at the TLS certificate's file.
const RENEW_SECONDS: u64 = 2;
/// Seconds between two looks at what other brokers on the same store have changed.
const FOLLOW_SECONDS: u64 = 2;
/// Bytes of a head beyond the limit that are still read, to answer with a JSON body.
const HEAD_MARGIN: usize = 128 << 10;
/// Members of a head.
const MAX_HEADERS: usize = 128;

/// What a broker says once it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// The bound address.
    pub address: SocketAddr,
    /// `https://…`, or `http://…` for the insecure development mode.
    pub url: String,
    /// SHA-256 of the identity's SubjectPublicKeyInfo.
    pub identity: Digest256,
}

/// Why a broker does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Settings make no sense.
    #[error("the broker's settings cannot be used")]
    Settings(#[from] SettingsError),
    /// Keys cannot be read.
    #[error("the broker's keys cannot be used")]
    Keys(#[from] KeysError),
    /// Vault's settings cannot be used.
    #[error("the Vault of the settings cannot be used")]
    Vault(#[from] VaultError),
    /// The runtime ends.
    #[error("the broker was ended while it started")]
    Interrupted,
    /// The folder is in use.
    #[error(transparent)]
    InUse(#[from] UpkeepError),
    /// The admin key is not one.
    #[error("the admin key cannot be used")]
    AdminKey,
    /// The token key is not one.
    #[error(transparent)]
    TokenKey(#[from] TokenKeyError),
    /// The store does not open.
    #[error("the broker's store cannot be used")]
    Store(#[from] StoreError),
    /// Key and certificate do not go together.
    #[error("the TLS key and certificate cannot be used")]
    Tls(#[from] rustls::Error),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// How long files may take to be closed.
const CLOSING: Duration = Duration::from_secs(5);

/// Serves until `shutdown` is done, then lets requests in flight finish (up to the request limit). Calls `ready` once
/// it listens. Needs a Tokio runtime with I/O and time.
pub async fn serve<S>(
    settings: Settings,
    verifiers: Verifiers,
    ready: impl FnOnce(Ready) + Send,
    shutdown: S,
) -> Result<(), ServeError>
where
    S: Future<Output = ()> + Send,
{
    settings.check_to_serve()?;
    let _in_use = upkeep::take(&settings.folder)?;
    // Whoever wraps the master key is asked over the network, or is a device.
    let asked = settings.clone();
    let loaded = tokio::task::spawn_blocking(move || Keys::load(&asked.folder, &asked)).await;
    let keys = loaded.map_err(|_| ServeError::Interrupted)??;
    let tls = match settings.insecure_http {
        true => None,
        false => Some(Arc::new(Tls::new(&settings.folder, &keys.tls_chain, &keys.tls_key)?)),
    };
    let listen = settings.listen;
    let listener = TcpListener::bind(listen).await.map_err(|source| ServeError::Listen { address: listen, source })?;
    let address = listener.local_addr().map_err(|source| ServeError::Listen { address: listen, source })?;
    let app = App::start(settings, &keys, verifiers).await?;
    drop(keys);
    let (router, _) = routes(Arc::clone(&app));
    let scheme = if tls.is_some() { "https" } else { "http" };
    tracing::info!(%address, scheme, "listening");
    ready(Ready { address, url: format!("{scheme}://{address}"), identity: app.identity });

    let rates = Arc::new(Rates::new(app.settings.limits.requests_per_second, app.settings.limits.loopback_exempt));
    let arrivals = Rates::new(app.settings.limits.connections_per_second, app.settings.limits.loopback_exempt);
    let server = Server { app: Arc::clone(&app), router, tls, rates };
    let places = Places::new(app.settings.limits.connections);
    let (stop, stopping) = watch::channel(());
    let tending = app.keeper.clone().map(|keeper| tokio::spawn(Keeper::tend(keeper)));
    let mut renew = tokio::time::interval(Duration::from_secs(RENEW_SECONDS));
    let mut follow = tokio::time::interval(Duration::from_secs(FOLLOW_SECONDS));
    let mut sweep = tokio::time::interval(Duration::from_secs(SWEEP_SECONDS));
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            _ = sweep.tick() => {
                // A database that does not answer must not hold up connections.
                let app = Arc::clone(&app);
                tokio::spawn(async move { app.sweep().await });
            }
            _ = follow.tick(), if app.store.is_shared() => {
                let app = Arc::clone(&app);
                tokio::spawn(async move { app.follow().await });
            }
            _ = renew.tick() => server.renew().await,
            accepted = listener.accept() => match accepted {
                Ok((_, peer)) if !arrivals.admit(peer.ip(), Instant::now()) => {
                    // Closed unread: a handshake costs more than all that was done for it so far.
                    app.metrics.connections_limited.add();
                }
                Ok((stream, peer)) => {
                    let taken = loop {
                        match places.take(Instant::now()) {
                            // Whoever comes next waits in the kernel's queue.
                            Taken::Wait(left) => tokio::time::sleep(left).await,
                            taken => break taken,
                        }
                    };
                    let Taken::Place(place, evicted) = taken else {
                        // Closed at once: whoever holds the places must not make others wait as well.
                        app.metrics.connections_refused.add();
                        continue;
                    };
                    let (server, stopping) = (server.clone(), stopping.clone());
                    tokio::spawn(async move {
                        tokio::select! {
                            () = server.connection(stream, peer, stopping, &place) => {}
                            Ok(()) = evicted => server.app.metrics.connections_evicted.add(),
                        }
                    });
                }
                Err(error) => {
                    // Out of file descriptors, as a rule: it passes when connections end.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    if let Some(tending) = tending {
        tending.abort();
    }
    drop(listener);
    drop(stopping);
    let _ = stop.send(());
    // Every connection holds a receiver; when all are gone, all requests are answered.
    tracing::info!("ending: requests in flight are answered");
    let patience = Duration::from_secs(app.settings.limits.request_seconds);
    let _ = tokio::time::timeout(patience, stop.closed()).await;
    // The folder is given up only once nothing uses its files: a command may take it at that moment.
    let closed = app.store.closed();
    drop((server, app));
    let _ = tokio::time::timeout(CLOSING, closed).await;
    Ok(())
}

#[derive(Clone)]
struct Server {
    app: Arc<App>,
    router: Router,
    tls: Option<Arc<Tls>>,
    rates: Arc<Rates>,
}

impl Server {
    /// Takes a new TLS certificate into use where its file has changed.
    async fn renew(&self) {
        let Some(tls) = self.tls.clone() else { return };
        match tokio::task::spawn_blocking(move || tls.reload()).await {
            Ok(Ok(false)) | Err(_) => {}
            Ok(Ok(true)) => tracing::info!("a new TLS certificate is in use"),
            // Key and certificate are two files; the next look finds both.
            Ok(Err(error)) => tracing::warn!(%error, "the TLS certificate stays as it was"),
        }
    }

    async fn connection(&self, stream: TcpStream, peer: SocketAddr, stopping: watch::Receiver<()>, place: &Place) {
        let _open = self.app.metrics.connections.hold();
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else { return self.requests(stream, peer, stopping, place).await };
        let limit = Duration::from_secs(self.app.settings.limits.header_seconds);
        match tokio::time::timeout(limit, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => self.requests(stream, peer, stopping, place).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake timed out"),
        }
    }

    async fn requests<T>(&self, stream: T, peer: SocketAddr, mut stopping: watch::Receiver<()>, place: &Place)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = &self.app.settings.limits;
        let service = hyper::service::service_fn(|request| async move {
            place.keep();
            Ok::<_, std::convert::Infallible>(self.answer(request, peer).await)
        });
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(limits.header_seconds))
            .max_buf_size(limits.head_bytes.saturating_add(HEAD_MARGIN))
            .max_headers(MAX_HEADERS)
            .half_close(false);
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            _ = stopping.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }

    async fn answer(&self, request: hyper::Request<Incoming>, peer: SocketAddr) -> Response {
        let started = Instant::now();
        let response = self.respond(request, peer, started).await;
        let metrics = &self.app.metrics;
        metrics.requests.add();
        metrics.durations.add(started.elapsed());
        metrics.response_sizes.add(response.size_hint().exact().unwrap_or_default());
        response
    }

    async fn respond(&self, request: hyper::Request<Incoming>, peer: SocketAddr, started: Instant) -> Response {
        if !self.rates.admit(peer.ip(), started) {
            self.app.metrics.rate_refusals.add();
            return Refusal::of(Code::Busy, "too many requests from this address")
                .with_status(StatusCode::TOO_MANY_REQUESTS)
                .into_response();
        }
        if head_size(request.uri().path().len(), request.headers()) > self.app.settings.limits.head_bytes {
            return Refusal::of(Code::TooLarge, "the request's head is over the limit")
                .with_status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
                .into_response();
        }
        let mut request: Request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(Peer(peer));
        let unhurried = Unhurried::default();
        request.extensions_mut().insert(unhurried.clone());
        let limit = Duration::from_secs(self.app.settings.limits.request_seconds);
        let mut work = pin!(self.router.clone().oneshot(request));
        let answer = match tokio::time::timeout(limit, work.as_mut()).await {
            Ok(answer) => answer,
            Err(_) if unhurried.is_claimed() => work.await,
            Err(_) => return Refusal::of(Code::Busy, "the request took too long").into_response(),
        };
        match answer {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

fn head_size(path: usize, headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len().saturating_add(value.len()))
        .fold(path, usize::saturating_add)
}
