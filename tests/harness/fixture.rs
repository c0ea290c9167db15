//! A bus for one test: a user broker of its own, or the module's bus of the test's network namespace.

use crate::{Child, OtherSocket, RawClient};
use nlbus::wire::uapi::NLBUS_USER_PORT;
use nlbus::{BrokerKind, Builder, Bus, Choice};
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::{env, process};

/// Which broker the suite runs on, by `NLBUS_SUITE_BROKER`.
pub fn broker_kind() -> BrokerKind {
    match env::var("NLBUS_SUITE_BROKER").as_deref() {
        Err(_) | Ok("" | "user") => BrokerKind::User,
        Ok("module") => BrokerKind::Module,
        Ok(other) => {
            eprintln!("NLBUS_SUITE_BROKER is '{other}'; it can be 'user' or 'module'");
            process::exit(2)
        }
    }
}

/// Whether the suite's connections are driven by those who use them and not by a thread, by `NLBUS_SUITE_DRIVER`.
fn drives_itself() -> bool {
    match env::var("NLBUS_SUITE_DRIVER").as_deref() {
        Err(_) | Ok("" | "thread") => false,
        Ok("direct") => true,
        Ok(other) => {
            eprintln!("NLBUS_SUITE_DRIVER is '{other}'; it can be 'thread' or 'direct'");
            process::exit(2)
        }
    }
}

/// Where a bus is: all that a process needs to know to take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which broker.
    pub kind: BrokerKind,
    /// Port of the user broker.
    pub port: u32,
}

impl Place {
    pub(crate) const ENV: &str = "NLBUS_SUITE_PLACE";

    pub(crate) fn from_env() -> Place {
        env::var(Place::ENV).ok().and_then(|text| text.parse().ok()).expect("a place for the role")
    }

    /// How to connect: to this broker and no other.
    pub fn builder(&self) -> Builder {
        self.builder_for(drives_itself())
    }

    /// The same, driven by whoever uses it or by a thread.
    pub fn builder_for(&self, direct: bool) -> Builder {
        let choice = match self.kind {
            BrokerKind::Module => Choice::Module,
            _ => Choice::User,
        };
        let builder = Bus::builder().broker(choice).port(self.port);
        if direct { builder.direct() } else { builder }
    }

    /// A connection.
    ///
    /// # Panics
    /// When there is none.
    pub fn connect(&self) -> Bus {
        self.builder().connect().unwrap_or_else(|error| panic!("{error}"))
    }

    /// A socket that sends and receives frames as they are.
    pub fn raw(&self) -> RawClient {
        RawClient::open(*self)
    }

    /// A raw socket of another process, which is who these words make it; see [`OtherSocket`].
    pub fn socket_of(&self, who: &[&str]) -> OtherSocket {
        OtherSocket::open(*self, who)
    }

    /// A process that plays a role on this bus, with arguments of the form `key=value`.
    pub fn spawn(&self, role: &str, args: &[String]) -> Child {
        Child::start(*self, role, args)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind == BrokerKind::Module { "module" } else { "user" };
        write!(f, "{kind} {}", self.port)
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Place, ()> {
        let (kind, port) = text.split_once(' ').ok_or(())?;
        let kind = if kind == "module" { BrokerKind::Module } else { BrokerKind::User };
        Ok(Place { kind, port: port.parse().map_err(drop)? })
    }
}

/// A bus of its own for a test, which ends with it.
#[derive(Debug)]
pub struct Fixture {
    place: Place,
    settings: Vec<String>,
    broker: Option<Child>,
}

impl Fixture {
    /// A bus with the broker's defaults, in the calling thread's network namespace.
    #[expect(clippy::new_without_default, reason = "it starts a process")]
    pub fn new() -> Fixture {
        Fixture::with(&[])
    }

    /// A bus where nothing comes by itself, as far as that can be had: of a user broker, no heartbeats. Each of those is an
    /// arrival, and hides that something else wasn't told of.
    ///
    /// # Panics
    /// When the broker doesn't start.
    pub fn quiet() -> Fixture {
        match broker_kind() {
            BrokerKind::Module => Fixture::new(),
            _ => Fixture::with(&["heartbeat_ms=0"]),
        }
    }

    /// A user broker with other settings, named as the role `broker` has them; the module's are fixed once it is loaded.
    ///
    /// # Panics
    /// When the broker doesn't start, and for the module if there are settings.
    pub fn with(settings: &[&str]) -> Fixture {
        let place = Place { kind: broker_kind(), port: NLBUS_USER_PORT };
        let settings = settings.iter().map(|word| (*word).to_owned()).collect();
        let mut fixture = Fixture { place, settings, broker: None };
        match place.kind {
            BrokerKind::Module => assert!(fixture.settings.is_empty(), "the module's settings are fixed"),
            _ => fixture.start_broker(),
        }
        fixture
    }

    /// Starts the user broker, at the same port as ever.
    ///
    /// # Panics
    /// When it doesn't start.
    pub fn start_broker(&mut self) {
        let mut broker = self.place.spawn("broker", &self.settings);
        broker.expect("ready");
        self.broker = Some(broker);
    }

    /// The user broker's process, if one runs.
    pub fn broker(&mut self) -> Option<&mut Child> {
        self.broker.as_mut()
    }
}

impl Deref for Fixture {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}
