//! `confide broker`: make one, serve, look at it.

use super::broker_master;
use crate::Context;
use crate::args::{BrokerInitArgs, BrokerServeArgs, BrokerStatusArgs};
use crate::broker_api::{self, BrokerApi};
use crate::outcome::{Failure, Outcome, Result};
use broker::{InitError, InitOptions, LogFormat, Postgres, ServeError, Settings, StoreSource, Verifiers};
use claims::Code;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

/// KBS port of NVFlare's deployment guide.
const DEFAULT_PORT: u16 = 8999;
const NO_LIST: &str = "no revocation list is distributed to this broker yet";

/// `confide broker init`.
pub(super) fn init(args: &BrokerInitArgs, context: &Context) -> Result {
    let listen = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), DEFAULT_PORT);
    let (master, vault) = broker_master::settings(&args.master)?;
    if args.dry_run {
        context.printer.say(format!("would make keys and settings in {}, to listen on {listen}", args.dir.display()));
        return Ok(Outcome::Done);
    }
    let store = store(args)?;
    let files = match &store {
        StoreSource::Postgres(Postgres { password_file: Some(password), ca_file: Some(authority), .. }) => {
            let file = |name: &Path| args.dir.join(name).display().to_string();
            Some(format!("put the database's password into {}, its authority into {}", file(password), file(authority)))
        }
        _ => None,
    };
    let facts = make_with(&args.dir, InitOptions { master, vault, store, ..options(listen, &args.name) })?;
    let answer = serde_json::json!({
        "settings": facts.settings, "identity": facts.identity, "identity_key": facts.identity_key, "admin_key": facts.admin_key,
    });
    context.printer.data(&answer, || {
        format!(
            "made {}\n  identity   {}   (guests pin this; put it into the workload file's `broker:`)\n  \
             next       confide broker serve --config {}\n  keep       {} offline once the broker runs: it only issues TLS leaves",
            args.dir.display(),
            facts.identity,
            facts.settings.display(),
            facts.identity_key.display(),
        )
    });
    if let Some(files) = files {
        context.printer.say(files);
    }
    Ok(Outcome::Done)
}

fn store(args: &BrokerInitArgs) -> Result<StoreSource> {
    let Some(url) = &args.postgres else { return Ok(StoreSource::Sqlite) };
    Postgres::at(url.clone()).map(StoreSource::Postgres).map_err(|error| {
        Failure::usage("--postgres is not a database that a broker can use")
            .because(error)
            .hint("postgres://USER@HOST/DATABASE, or postgres://USER@%2Frun%2Fpostgresql/DATABASE for a socket")
    })
}

/// Makes a broker's folder.
pub(super) fn make(folder: &Path, listen: SocketAddr, names: &[String]) -> Result<broker::Facts> {
    make_with(folder, options(listen, names))
}

fn options(listen: SocketAddr, names: &[String]) -> InitOptions {
    InitOptions { listen, names: names.to_vec(), crl_absent_reason: Some(NO_LIST.to_owned()), ..InitOptions::default() }
}

fn make_with(folder: &Path, options: InitOptions) -> Result<broker::Facts> {
    broker::init(folder, &options).map_err(|error| {
        Failure::environment(format!("cannot make a broker in {}", folder.display()))
            .hint(match &error {
                InitError::Exists { .. } => "a broker is never overwritten: name another folder",
                _ => "put right what is named, then run the same command again",
            })
            .because(error)
    })
}

/// `confide broker serve`.
pub(super) fn serve(args: &BrokerServeArgs, context: &Context) -> Result {
    let mut settings = Settings::load(&args.config).map_err(broker_api::no_settings)?;
    if let Some(listen) = args.listen {
        settings.listen = listen;
    }
    settings.dev = args.dev;
    settings.insecure_http = args.insecure_http;
    if args.show_settings {
        let toml = settings
            .to_toml()
            .map_err(|error| Failure::environment("the settings cannot be printed").because(error))?;
        context.printer.data(&serde_json::json!(settings), || toml.trim_end().to_owned());
        return Ok(Outcome::Done);
    }
    let extra = match (&context.development, args.dev) {
        (Some(development), true) => Some(development.verifier(&args.workspace)?),
        (None, true) => {
            return Err(Failure::usage("--dev accepts emulated evidence, which confide cannot verify")
                .code(Code::Emulated)
                .hint("use confide-dev, or leave --dev away"));
        }
        (_, false) => None,
    };
    if extra.is_some() {
        context.printer.warn("DEVELOPMENT BROKER: evidence of an emulated processor is accepted; it protects nothing");
    }
    log_to_stderr(settings.log);
    more_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::environment("cannot start a runtime").because(error))?;
    let printer = context.printer.clone();
    let ready = move |ready: broker::Ready| {
        let address =
            serde_json::json!({ "address": ready.address.to_string(), "url": ready.url, "identity": ready.identity });
        printer.data(&address, || ready.address.to_string());
        let _ = std::io::stdout().flush();
        printer.say(format!("broker: serving at {}, identity {}", ready.url, ready.identity));
    };
    runtime
        .block_on(async {
            let end = end_of_service()?;
            broker::serve(settings, Verifiers { extra }, ready, end).await.map_err(|error| {
                let hint = match &error {
                    ServeError::Store(_) => "look at the store that broker.toml names, and at the log of its server",
                    _ => "is another program on its port? --listen names another",
                };
                Failure::environment("the broker cannot serve").because(error).hint(hint)
            })
        })
        .map(|()| Outcome::Done)
}

/// Takes as many file descriptors as this process may: one for each connection, and shells give 1024 as a rule.
fn more_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// The broker's own log. `CONFIDE_LOG` names a level: error, warn, info (the default), debug, trace.
fn log_to_stderr(format: LogFormat) {
    let level = std::env::var("CONFIDE_LOG").ok().and_then(|level| level.parse().ok()).unwrap_or(tracing::Level::INFO);
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_ansi(false);
    // A log that is there already (a test's) stays.
    let _ = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}

fn end_of_service() -> Result<impl Future<Output = ()> + Send> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |error| Failure::environment("cannot listen for signals").because(error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// `confide broker status`.
pub(super) fn status(args: &BrokerStatusArgs, context: &Context) -> Result {
    let api = BrokerApi::open(&args.broker)?;
    let mut status = api.get("/confide/v0/status")?;
    if let Some(members) = status.as_object_mut() {
        members.insert("url".into(), api.url().into());
        members.insert("identity".into(), api.identity().to_string().into());
    }
    context.printer.data(&status, || {
        let lines = status.as_object().into_iter().flatten().map(|(name, value)| {
            format!("{name:<20} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        });
        lines.collect::<Vec<_>>().join("\n")
    });
    Ok(Outcome::Done)
}
