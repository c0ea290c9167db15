//! Redis' PUBLISH and SUBSCRIBE by the crate redis.

use crate::system::{Cell, Go, Publisher, Server, Sink, Subscriber, System, program, without};
use anyhow::{Context, Result};
use redis::{Client, Cmd, Connection};
use std::process::Command;

const CHANNEL: &str = "bench/events";

/// Commands in a pipeline where it is tuned.
const MANY: usize = 64;

struct Redis {
    tuned: bool,
}

pub fn variants() -> Vec<Box<dyn System>> {
    [false, true].map(|tuned| -> Box<dyn System> { Box::new(Redis { tuned }) }).into()
}

impl Redis {
    /// By default over loopback: its Unix socket is off unless asked for. Nothing else is in this network namespace.
    fn url(&self, run: &Cell) -> String {
        if self.tuned { run.address("unix://", "redis") } else { "redis://127.0.0.1:6379/".into() }
    }
}

impl System for Redis {
    fn name(&self) -> &'static str {
        if self.tuned { "redis-tuned" } else { "redis" }
    }

    fn peer(&self) -> &'static str {
        "Redis"
    }

    fn about(&self) -> &'static str {
        if self.tuned {
            "redis-server without persistence, Unix socket, PUBLISH in pipelines of 64, no output buffer limit"
        } else {
            "redis-server without persistence, loopback TCP, PUBLISH and its answer one by one"
        }
    }

    fn absent(&self) -> Option<String> {
        without("redis-server")
    }

    /// A subscriber's output may be 8 MiB for a minute.
    fn window(&self, cell: &Cell) -> u64 {
        cell.events_in(6 << 20).min(16_384)
    }

    fn serve(&self, run: &Cell) -> Result<Vec<Server>> {
        let mut command = Command::new(program("redis-server").context("no redis-server")?);
        command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(&run.dir);
        if self.tuned {
            command.args(["--port", "0", "--client-output-buffer-limit", "pubsub 0 0 0", "--unixsocket"]);
            command.arg(run.path("redis"));
        } else {
            command.args(["--port", "6379", "--bind", "127.0.0.1"]);
        }
        let answers = || Client::open(self.url(run)).is_ok_and(|client| client.get_connection().is_ok());
        Ok(vec![Server::start(run, &mut command)?.wait_for(run, answers)?])
    }

    fn publisher(&self, run: &Cell) -> Result<Box<dyn Publisher>> {
        let connection = Client::open(self.url(run))?.get_connection()?;
        Ok(Box::new(Sender { connection, many: if self.tuned { MANY } else { 1 }, pipeline: Vec::new(), waiting: 0 }))
    }

    fn subscriber(&self, run: &Cell) -> Result<Box<dyn Subscriber>> {
        let mut connection = Client::open(self.url(run))?.get_connection()?;
        connection.as_pubsub().subscribe(CHANNEL)?;
        Ok(Box::new(Receiver { connection }))
    }
}

struct Sender {
    connection: Connection,
    many: usize,
    pipeline: Vec<u8>,
    waiting: usize,
}

impl Publisher for Sender {
    fn send(&mut self, payload: &[u8]) -> Result<()> {
        let mut publish = Cmd::new();
        publish.arg("PUBLISH").arg(CHANNEL).arg(payload);
        publish.write_packed_command(&mut self.pipeline);
        self.waiting += 1;
        if self.waiting >= self.many { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        use redis::ConnectionLike;
        if self.waiting > 0 {
            self.connection.req_packed_commands(&self.pipeline, 0, self.waiting)?;
            self.pipeline.clear();
            self.waiting = 0;
        }
        Ok(())
    }
}

struct Receiver {
    connection: Connection,
}

impl Subscriber for Receiver {
    fn receive(&mut self, mut sink: Sink) -> Result<()> {
        // Subscribing again changes nothing; the handle unsubscribes when it goes.
        let mut events = self.connection.as_pubsub();
        events.subscribe(CHANNEL)?;
        while sink(events.get_message()?.get_payload_bytes()) == Go::On {}
        Ok(())
    }
}
