//! The connection to NATS: who we are there, how it is kept, and what becomes of it.

use crate::metrics::Metrics;
use crate::stop::Stop;
use async_nats::rustls;
use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use nlbus_subscribers::end::End;
use serde::Deserialize;
use std::error::Error as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// How long to wait before connecting again, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(4));

/// How long a server may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// Commands that may wait for the connection, as events on their way out are; more wait on the local bus.
const WAITING: usize = 1024;

/// Messages of a subscription that may wait to be published here; a server's further ones are lost, and seen to be.
const COMING: usize = 1 << 14;

/// Who we are to the servers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Login {
    pub user: Option<String>,
    pub password: Option<String>,
    pub password_file: Option<PathBuf>,
    pub token_file: Option<PathBuf>,
    pub nkey: Option<PathBuf>,
    pub credentials: Option<PathBuf>,
}

/// How the connection is encrypted.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    pub required: bool,
    /// The server speaks TLS from the first byte on (`handshake_first`).
    pub first: bool,
    pub ca: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

impl Login {
    pub fn check(&self) -> Result<(), String> {
        let has_password = self.password.is_some() || self.password_file.is_some();
        let ways = [self.user.is_some(), self.token_file.is_some(), self.nkey.is_some(), self.credentials.is_some()];
        if ways.iter().filter(|way| **way).count() > 1 {
            return Err("a login is one of user, token_file, nkey and credentials; leave out the others".into());
        }
        match (self.user.is_some(), has_password) {
            (true, false) => Err("a user without a password; add password_file".into()),
            (false, true) => Err("a password without a user; add user".into()),
            _ if self.password.is_some() && self.password_file.is_some() => {
                Err("password and password_file; leave one of them out".into())
            }
            _ => Ok(()),
        }
    }

    async fn apply(&self, options: ConnectOptions) -> Result<ConnectOptions, End> {
        Ok(match self {
            Login { user: Some(user), password, password_file, .. } => {
                let password = match password_file {
                    Some(path) => secret(path)?,
                    None => password.clone().unwrap_or_default(),
                };
                options.user_and_password(user.clone(), password)
            }
            Login { token_file: Some(path), .. } => options.token(secret(path)?),
            Login { nkey: Some(path), .. } => options.nkey(secret(path)?),
            Login { credentials: Some(path), .. } => {
                options.credentials_file(path).await.map_err(|error| unreadable(path, &error))?
            }
            _ => options,
        })
    }
}

impl Tls {
    pub fn check(&self) -> Result<(), String> {
        match (&self.cert, &self.key) {
            (Some(_), None) => Err("a client's certificate without its key; add the key".into()),
            (None, Some(_)) => Err("a client's key without its certificate; add cert".into()),
            _ => Ok(()),
        }
    }

    fn apply(&self, mut options: ConnectOptions) -> Result<ConnectOptions, End> {
        for path in [&self.ca, &self.cert, &self.key].into_iter().flatten() {
            fs::File::open(path).map_err(|error| unreadable(path, &error))?;
        }
        if let Some(ca) = &self.ca {
            options = options.add_root_certificates(ca.clone());
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            options = options.add_client_certificate(cert.clone(), key.clone());
        }
        if self.first {
            options = options.tls_first();
        }
        let is_wanted = self.required || self.ca.is_some() || self.cert.is_some();
        Ok(if is_wanted { options.require_tls(true) } else { options })
    }
}

/// What a file says, without the end of its line.
fn secret(path: &Path) -> Result<String, End> {
    let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    Ok(text.trim().to_owned())
}

fn unreadable(path: &Path, error: &io::Error) -> End {
    End::Failed(format!("can't read {}: {error}; is it the right file, and may this user read it?", path.display()))
}

/// Doubles with each try, and differs from bridge to bridge, so that not all come at once when a server is back.
fn delay(tries: usize) -> Duration {
    let most = BACKOFF.0.saturating_mul(1 << tries.min(16)).min(BACKOFF.1);
    most.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// Connects, and as long as no server is there tries again.
///
/// # Errors
/// [`End::Failed`] where a server doesn't let us in, or a certificate isn't right; [`End::Interrupted`].
pub async fn connect(
    servers: &[String],
    host: &str,
    login: &Login,
    tls: &Tls,
    metrics: &Arc<Metrics>,
    stop: &Stop,
) -> Result<Client, End> {
    let addresses: Vec<ServerAddr> = servers.iter().filter_map(|server| server.parse().ok()).collect();
    let mut tries = 0;
    loop {
        let watcher = Arc::clone(metrics);
        let options = ConnectOptions::new()
            .name(format!("nlbus-nats on {host}"))
            .client_capacity(WAITING)
            .subscription_capacity(COMING)
            .request_timeout(Some(PATIENCE))
            .reconnect_delay_callback(delay)
            .event_callback(move |event| {
                let watcher = Arc::clone(&watcher);
                async move { note(&event, &watcher) }
            });
        let options = tls.apply(login.apply(options).await?)?;
        let error = tokio::select! {
            connected = options.connect(addresses.as_slice()) => match connected {
                Ok(client) => return Ok(client),
                Err(error) => error,
            },
            () = stop.asked() => return Err(End::Interrupted),
        };
        let list = servers.join(", ");
        if let Some(remedy) = remedy(&error) {
            return Err(End::Failed(format!("can't connect to {list}: {}; {remedy}", causes(&error))));
        }
        if tries == 0 {
            warn!("waiting for a server at {list}: {}", causes(&error));
        }
        tokio::select! {
            () = tokio::time::sleep(delay(tries)) => tries += 1,
            () = stop.asked() => return Err(End::Interrupted),
        }
    }
}

/// What helps, unless waiting does.
fn remedy(error: &ConnectError) -> Option<&'static str> {
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation => Some("is the login right, and known to the server?"),
        ConnectErrorKind::Authentication => Some("is the NKey's seed, or the credentials file, right?"),
        ConnectErrorKind::Tls => Some(CERTIFICATES),
        // The client takes what goes wrong in a handshake for I/O.
        _ => is_of_tls(error).then_some(CERTIFICATES),
    }
}

const CERTIFICATES: &str = "are the certificates right, and does tls.ca have the one that signed the server's?";

/// Whether an error has one of TLS behind it.
fn is_of_tls(error: &ConnectError) -> bool {
    let mut next = error.source();
    while let Some(cause) = next {
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if cause.is::<rustls::Error>() || inner.is_some_and(|inner| inner.is::<rustls::Error>()) {
            return true;
        }
        next = cause.source();
    }
    false
}

/// An error with what is behind it, in one line.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Many say their cause themselves.
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

fn note(event: &Event, metrics: &Metrics) {
    match event {
        Event::Connected => {
            info!("connected to NATS");
            metrics.connected();
        }
        Event::Disconnected => {
            warn!("the connection to NATS is gone; connecting again");
            metrics.disconnected();
        }
        Event::SlowConsumer(_) => metrics.slow_consumer.inc(),
        Event::ServerError(_) | Event::ClientError(_) => warn!("NATS: {event}"),
        _ => info!("NATS: {event}"),
    }
}
