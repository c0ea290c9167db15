//! Connecting as the environment says, or options in its place.

use crate::end::End;
use crate::values;
use nlbus::{Builder, Bus, Choice, ConnectError};
use std::env;
use std::time::Duration;

/// How long a look for a broker waits before it is asked whether to go on looking.
pub const LOOK: Duration = Duration::from_millis(200);

/// A builder for the broker that `NLBUS_BROKER`, `NLBUS_PORT` and `NLBUS_BROKER_UID` name.
///
/// # Errors
/// [`End::Usage`] when they name none.
pub fn builder() -> Result<Builder, End> {
    builder_or(None, None)
}

/// As [`builder`], but what is given here goes before what the environment says.
///
/// # Errors
/// [`End::Usage`] when that is needed, and isn't a broker.
pub fn builder_or(choice: Option<Choice>, port: Option<u32>) -> Result<Builder, End> {
    let choice = choice.map_or_else(choice_of_the_environment, |choice| Ok(Some(choice)))?;
    let port = port.map_or_else(self::port, |port| Ok(Some(port)))?;
    let mut builder = Bus::builder();
    if let Some(choice) = choice {
        builder = builder.broker(choice);
    }
    if let Some(port) = port {
        builder = builder.port(port);
    }
    if let Some(uid) = variable("NLBUS_BROKER_UID")? {
        let bad = |why| End::Usage(format!("NLBUS_BROKER_UID is '{uid}': {why}; it is a user's number"));
        builder = builder.broker_uid(uid.parse().map_err(bad)?);
    }
    Ok(builder)
}

fn choice_of_the_environment() -> Result<Option<Choice>, End> {
    let Some(choice) = variable("NLBUS_BROKER")? else { return Ok(None) };
    let bad = |why| End::Usage(format!("NLBUS_BROKER is '{choice}'; it {why}"));
    values::broker(&choice).map(Some).map_err(bad)
}

/// The user broker's port, where `NLBUS_PORT` gives one.
///
/// # Errors
/// [`End::Usage`] when it isn't one.
pub fn port() -> Result<Option<u32>, End> {
    let Some(port) = variable("NLBUS_PORT")? else { return Ok(None) };
    let bad = |why| End::Usage(format!("NLBUS_PORT is '{port}': {why}"));
    values::port(&port).map(Some).map_err(bad)
}

/// Connects, and fails at once where no broker is.
///
/// # Errors
/// As [`builder`], and any [`nlbus::ConnectError`].
pub fn connect() -> Result<Bus, End> {
    Ok(builder()?.connect()?)
}

/// Connects, and where no broker is waits for one for as long as `go_on` says.
///
/// # Errors
/// As [`connect`], and what `go_on` ends the waiting with.
pub fn connect_patiently(mut go_on: impl FnMut() -> Result<(), End>) -> Result<Bus, End> {
    let builder = builder()?;
    loop {
        match builder.clone().wait(LOOK).connect() {
            Err(ConnectError::NoBroker { .. }) => go_on()?,
            found => return Ok(found?),
        }
    }
}

/// A variable's value; an empty one is as good as none.
fn variable(name: &str) -> Result<Option<String>, End> {
    match env::var(name) {
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(End::Usage(format!("{name} isn't UTF-8; unset it, or set it anew"))),
    }
}
