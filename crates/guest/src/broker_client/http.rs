//! HTTP to the broker: `ureq` over a TLS configuration and a name resolver that are given.
//!
//! ureq builds its own TLS configurations and cannot take one over; its connector and resolver traits can. They are
//! outside its semantic versioning, so a new minor version may ask for changes here, and only here.

use super::{ClientError, Resolve};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, TcpConnector, Transport, TransportAdapter,
};
use ureq::{Agent, Error};

const CONNECT: Duration = Duration::from_secs(10);
const WHOLE: Duration = Duration::from_secs(60);

/// An agent that speaks to nobody but the pinned server: HTTPS only, no proxy, no redirects.
pub fn agent(tls: ClientConfig, resolve: Resolve) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .https_only(true)
        .proxy(None)
        .max_redirects(0)
        .user_agent(concat!("confide-guest/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(CONNECT))
        .timeout_global(Some(WHOLE))
        .build();
    Agent::with_parts(config, ().chain(TcpConnector::default()).chain(PinnedTls(Arc::new(tls))), Names(resolve))
}

/// Says whether an error of ureq is one of the server's certificates, of reaching it, or of its answer.
pub(super) fn error(error: Error) -> ClientError {
    if let Error::Io(io) = &error
        && let Some(tls) = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
        && let rustls::Error::InvalidCertificate(_) = tls
    {
        return ClientError::Identity { source: tls.clone() };
    }
    match error {
        Error::BodyExceedsLimit(_) | Error::Protocol(_) | Error::LargeResponseHeader(_, _) => {
            ClientError::Malformed { what: "the HTTP answer" }
        }
        error => ClientError::Unreachable { source: Box::new(error) },
    }
}

struct Names(Resolve);

impl Resolver for Names {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().ok_or(Error::HostNotFound)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(443);
        // Addresses go through the hook as well: in the guest it opens the firewall for them.
        let found = (self.0)(host, port).map_err(Error::Io)?;
        let mut addresses = self.empty();
        found.into_iter().take(8).for_each(|address| addresses.push(address));
        if addresses.is_empty() { Err(Error::HostNotFound) } else { Ok(addresses) }
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Names")
    }
}

#[derive(Debug)]
struct PinnedTls(Arc<ClientConfig>);

impl<In: Transport> Connector<In> for PinnedTls {
    type Out = PinnedTransport;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<PinnedTransport>, Error> {
        let (Some(transport), true) = (chained, details.needs_tls()) else { return Err(Error::TlsRequired) };
        let host = details.uri.host().ok_or(Error::HostNotFound)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|_| Error::HostNotFound)?;
        let tls = |error: rustls::Error| Error::Io(std::io::Error::other(error));
        let mut connection = ClientConnection::new(self.0.clone(), name).map_err(tls)?;
        let mut socket = TransportAdapter::new(transport.boxed(), details.current_time.clone());
        socket.set_timeout(details.timeout);
        connection.complete_io(&mut socket)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(PinnedTransport { buffers, stream: StreamOwned { conn: connection, sock: socket } }))
    }
}

struct PinnedTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl Transport for PinnedTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.get_mut().set_timeout(timeout);
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        self.stream.write_all(output)?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.get_mut().set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for PinnedTransport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("PinnedTransport")
    }
}
