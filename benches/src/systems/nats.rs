//! NATS by its own client, async-nats.

use crate::system::{Cell, Go, Publisher, Server, Sink, Subscriber, System, program, without};
use anyhow::{Context, Result};
use async_nats::{Client, ConnectOptions};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use std::pin::pin;
use std::process::Command;
use tokio::runtime::{Builder, Runtime};

const SUBJECT: &str = "bench.events";

/// Nobody else is in this network namespace.
const PORT: u16 = 4222;

struct Nats {
    tuned: bool,
}

pub fn variants() -> Vec<Box<dyn System>> {
    [false, true].map(|tuned| -> Box<dyn System> { Box::new(Nats { tuned }) }).into()
}

impl Nats {
    fn connect(&self, runtime: &Runtime) -> Result<Client> {
        let options = ConnectOptions::new();
        let options = if self.tuned {
            let options = options.client_capacity(65_536).subscription_capacity(1 << 20);
            options.read_buffer_capacity(u16::MAX).skip_subject_validation(true)
        } else {
            options
        };
        Ok(runtime.block_on(options.connect(format!("nats://127.0.0.1:{PORT}")))?)
    }
}

/// One thread besides the caller's: the connection's.
fn runtime() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

/// The caller's thread is the connection's, too, which suits whoever does nothing but receive.
fn on_this_thread() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

impl System for Nats {
    fn name(&self) -> &'static str {
        if self.tuned { "nats-tuned" } else { "nats" }
    }

    fn peer(&self) -> &'static str {
        "NATS"
    }

    fn about(&self) -> &'static str {
        if self.tuned {
            "nats-server, async-nats over loopback, queues of 65 536 commands and 1 Mi events, read buffers of 64 KiB, write_deadline and max_pending raised, subscribers of one thread"
        } else {
            "nats-server, async-nats over loopback"
        }
    }

    fn absent(&self) -> Option<String> {
        without("nats-server")
    }

    fn serve(&self, run: &Cell) -> Result<Vec<Server>> {
        let mut command = Command::new(program("nats-server").context("no nats-server")?);
        command.args(["-a", "127.0.0.1", "-p", &PORT.to_string()]);
        if self.tuned {
            let path = run.path("nats.conf");
            std::fs::write(&path, "max_pending: 268435456\nwrite_deadline: \"30s\"\n")?;
            command.arg("-c").arg(path);
        }
        Ok(vec![Server::start(run, &mut command)?.wait_for_port(run, PORT)?])
    }

    fn publisher(&self, _run: &Cell) -> Result<Box<dyn Publisher>> {
        let runtime = runtime()?;
        let client = self.connect(&runtime)?;
        Ok(Box::new(Sender { client, runtime }))
    }

    fn subscriber(&self, _run: &Cell) -> Result<Box<dyn Subscriber>> {
        let runtime = if self.tuned { on_this_thread()? } else { runtime()? };
        let client = self.connect(&runtime)?;
        let events = runtime.block_on(client.subscribe(SUBJECT))?;
        runtime.block_on(client.flush())?;
        Ok(Box::new(Receiver { events, runtime, _client: client }))
    }
}

struct Sender {
    client: Client,
    runtime: Runtime,
}

impl Publisher for Sender {
    fn send(&mut self, payload: &[u8]) -> Result<()> {
        // Within a program of tasks this is an await, which goes on at once where the connection's queue has room: so it does here.
        let mut publish = pin!(self.client.publish(SUBJECT, Bytes::copy_from_slice(payload)));
        let done = publish.as_mut().now_or_never();
        Ok(done.unwrap_or_else(|| self.runtime.block_on(publish))?)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(self.runtime.block_on(self.client.flush())?)
    }
}

struct Receiver {
    events: async_nats::Subscriber,
    runtime: Runtime,
    _client: Client,
}

impl Subscriber for Receiver {
    fn receive(&mut self, mut sink: Sink) -> Result<()> {
        let events = &mut self.events;
        self.runtime.block_on(async {
            while let Some(event) = events.next().await {
                if sink(&event.payload) == Go::End {
                    break;
                }
            }
        });
        Ok(())
    }
}
