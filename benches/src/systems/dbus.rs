//! D-Bus signals: dbus-broker, and zbus as the client. sd_bus.rs has the other client.

use crate::system::{Cell, Server, program};
use anyhow::{Context, Result};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use zbus::blocking::connection::Builder;
use zbus::zvariant::{ObjectPath, OwnedValue, Value};

pub const PATH: &str = "/bench";
pub const INTERFACE: &str = "org.nlbus.Bench";
pub const MEMBER: &str = "Event";

/// What a subscriber asks the broker for.
pub const RULE: &str = "type='signal',interface='org.nlbus.Bench'";

/// What dbus-broker lets one user have, in bytes: far more than a window, so that it never disconnects anybody.
const BYTES: &str = "1073741824";

/// As its launcher would start it; that one needs systemd. It gets a socket to listen at and a policy that allows
/// everything over the connection that it takes its orders from.
pub fn broker(run: &Cell) -> Result<Server> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new(program("dbus-broker").context("no dbus-broker")?);
    command.args(["--controller", "0", "--machine-id", "00000000000000000000000000000001"]);
    command.args(["--max-bytes", BYTES, "--max-fds", "4096", "--max-matches", "65536"]);
    let server = Server::start_with(run, &mut command, OwnedFd::from(theirs).into())?;
    let controller = Builder::async_io_unix_stream(ours).p2p().build()?;
    let listener = UnixListener::bind(run.path("bus"))?;
    listener.set_nonblocking(true)?; // it accepts until there is nobody
    let listener = OwnedFd::from(listener);
    let place = ObjectPath::try_from("/org/bus1/DBus/Listener/0")?;
    let add = |policy: Value<'_>| {
        let body = (&place, zbus::zvariant::Fd::from(&listener), policy);
        controller.call_method(
            None::<&str>,
            "/org/bus1/DBus/Broker",
            Some("org.bus1.DBus.Broker"),
            "AddListener",
            &body,
        )
    };
    // Version 34 added whether AppArmor is asked.
    let (without, with) = (policy(false)?, policy(true)?);
    add(without).or_else(|_| add(with)).context("give dbus-broker its listener")?;
    Ok(server.holding(controller))
}

/// For whom (a user, a range of groups), whether to connect, and which names, sends and receipts are allowed.
fn policy(apparmor: bool) -> Result<Value<'static>> {
    type Name = (bool, u64, bool, String);
    type Transfer = (bool, u64, String, String, String, String, u32, u32, u64, u64);
    type Batch = (bool, u64, Vec<Name>, Vec<Transfer>, Vec<Transfer>);
    let any = || String::new();
    let transfer: Transfer = (true, 1, any(), any(), any(), any(), 0, 0, 0, u64::MAX);
    let batch: Batch = (true, 1, vec![(true, 1, true, any())], vec![transfer.clone()], vec![transfer]);
    let users: Vec<(u32, Batch)> = vec![(u32::MAX, batch)];
    let groups: Vec<(bool, u32, u32, Batch)> = Vec::new();
    let labels: Vec<(String, String)> = Vec::new();
    let value = if apparmor {
        Value::from(
            zbus::zvariant::StructureBuilder::new()
                .add_field(users)
                .add_field(groups)
                .add_field(labels)
                .add_field(false)
                .add_field("session".to_owned())
                .build()?,
        )
    } else {
        Value::from(
            zbus::zvariant::StructureBuilder::new()
                .add_field(users)
                .add_field(groups)
                .add_field(labels)
                .add_field(false)
                .build()?,
        )
    };
    Ok(OwnedValue::try_from(value)?.into())
}

/// How many events may be on their way: each is an allocation of its own in broker and clients.
pub fn window(cell: &Cell) -> u64 {
    cell.events_in(8 << 20).min(1024)
}

#[cfg(feature = "dbus")]
pub use client::variants;

#[cfg(feature = "dbus")]
mod client {
    use super::{INTERFACE, MEMBER, PATH, RULE, broker, window};
    use crate::system::{Cell, Go, Publisher, Server, Sink, Subscriber, System, without};
    use anyhow::{Context, Result};
    use zbus::blocking::connection::Builder;
    use zbus::blocking::{Connection, MessageIterator};

    struct DBus;

    pub fn variants() -> Vec<Box<dyn System>> {
        vec![Box::new(DBus)]
    }

    fn connect(run: &Cell) -> Result<Connection> {
        Ok(Builder::address(run.address("unix:path=", "bus").as_str())?.build()?)
    }

    impl System for DBus {
        fn name(&self) -> &'static str {
            "dbus-broker"
        }

        fn peer(&self) -> &'static str {
            "D-Bus"
        }

        fn about(&self) -> &'static str {
            "dbus-broker, signals by zbus"
        }

        fn absent(&self) -> Option<String> {
            without("dbus-broker")
        }

        fn window(&self, cell: &Cell) -> u64 {
            window(cell)
        }

        fn serve(&self, run: &Cell) -> Result<Vec<Server>> {
            Ok(vec![broker(run)?])
        }

        fn publisher(&self, run: &Cell) -> Result<Box<dyn Publisher>> {
            Ok(Box::new(Sender { connection: connect(run)? }))
        }

        fn subscriber(&self, run: &Cell) -> Result<Box<dyn Subscriber>> {
            let connection = connect(run)?;
            let signals = MessageIterator::for_match_rule(RULE, &connection, Some(1024))?;
            Ok(Box::new(Receiver { signals, _connection: connection }))
        }
    }

    struct Sender {
        connection: Connection,
    }

    impl Publisher for Sender {
        fn send(&mut self, payload: &[u8]) -> Result<()> {
            Ok(self.connection.emit_signal(None::<&str>, PATH, INTERFACE, MEMBER, &payload)?)
        }
    }

    struct Receiver {
        signals: MessageIterator,
        _connection: Connection,
    }

    impl Subscriber for Receiver {
        fn receive(&mut self, mut sink: Sink) -> Result<()> {
            loop {
                let signal = self.signals.next().context("the connection ended")??;
                if sink(signal.body().deserialize::<&[u8]>()?) == Go::End {
                    return Ok(());
                }
            }
        }
    }
}
