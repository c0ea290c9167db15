//! mosquitto, with the MQTT client rumqttc, at QoS 0.

use crate::system::{Cell, Go, Publisher, Server, Sink, Subscriber, System, program, without};
use anyhow::{Context, Result, bail};
use rumqttc::{Client, Connection, Event, MqttOptions, Packet, QoS, Transport};
use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

const TOPIC: &str = "bench/events";

/// Nobody else is in this network namespace.
const PORT: u16 = 1883;

struct Mosquitto {
    tuned: bool,
}

pub fn variants() -> Vec<Box<dyn System>> {
    [false, true].map(|tuned| -> Box<dyn System> { Box::new(Mosquitto { tuned }) }).into()
}

impl Mosquitto {
    fn connect(&self, run: &Cell, name: &str) -> (Client, Connection) {
        let id = format!("{name}-{}", run.index);
        let mut options = if self.tuned {
            let mut options = MqttOptions::new(id, run.path("mosquitto").display().to_string(), 0);
            options.set_transport(Transport::Unix);
            options
        } else {
            MqttOptions::new(id, "127.0.0.1", PORT)
        };
        options.set_max_packet_size(1 << 20, 1 << 20).set_keep_alive(Duration::from_secs(60));
        Client::new(options, if self.tuned { 4096 } else { 10 })
    }
}

impl System for Mosquitto {
    fn name(&self) -> &'static str {
        if self.tuned { "mosquitto-tuned" } else { "mosquitto" }
    }

    fn peer(&self) -> &'static str {
        "mosquitto"
    }

    fn about(&self) -> &'static str {
        if self.tuned {
            "QoS 0 by rumqttc, Unix socket, max_queued_messages 0 (no bound), set_tcp_nodelay, a queue of 4096 in the client"
        } else {
            "QoS 0 by rumqttc, loopback TCP, a queue of 10 in the client as its examples have it"
        }
    }

    fn absent(&self) -> Option<String> {
        without("mosquitto")
    }

    /// The broker drops what is beyond its queue of 1000 for a subscriber.
    fn window(&self, cell: &Cell) -> u64 {
        if self.tuned { cell.events_in(8 << 20).min(16_384) } else { 900.min(cell.events_in(8 << 20)) }
    }

    fn serve(&self, run: &Cell) -> Result<Vec<Server>> {
        let path = run.path("mosquitto.conf");
        let how = if self.tuned {
            format!("listener 0 {}\nset_tcp_nodelay true\nmax_queued_messages 0\n", run.path("mosquitto").display())
        } else {
            format!("listener {PORT} 127.0.0.1\n")
        };
        // As root it would become a user of its own, who can't write here.
        fs::write(&path, format!("{how}allow_anonymous true\nuser root\nlog_type error\n"))?;
        let mut command = Command::new(program("mosquitto").context("no mosquitto")?);
        let server = Server::start(run, command.arg("-c").arg(&path))?;
        Ok(vec![if self.tuned {
            server.wait_for_socket(run, &run.path("mosquitto"))?
        } else {
            server.wait_for(run, || std::net::TcpStream::connect(("127.0.0.1", PORT)).is_ok())?
        }])
    }

    fn publisher(&self, run: &Cell) -> Result<Box<dyn Publisher>> {
        let (client, mut connection) = self.connect(run, "publisher");
        let driver = move || {
            for event in connection.iter() {
                if let Err(error) = event {
                    eprintln!("{error}");
                    std::process::exit(1);
                }
            }
        };
        thread::Builder::new().name("mqtt".into()).spawn(driver)?;
        Ok(Box::new(Sender { client }))
    }

    fn subscriber(&self, run: &Cell) -> Result<Box<dyn Subscriber>> {
        let (client, mut connection) = self.connect(run, "subscriber");
        client.subscribe(TOPIC, QoS::AtMostOnce)?;
        for event in connection.iter() {
            if let Event::Incoming(Packet::SubAck(_)) = event? {
                break;
            }
        }
        Ok(Box::new(Receiver { _client: client, connection }))
    }
}

/// rumqttc writes what is in its queue by itself: there is nothing to flush.
struct Sender {
    client: Client,
}

impl Publisher for Sender {
    fn send(&mut self, payload: &[u8]) -> Result<()> {
        Ok(self.client.publish(TOPIC, QoS::AtMostOnce, false, payload)?)
    }
}

struct Receiver {
    _client: Client,
    connection: Connection,
}

impl Subscriber for Receiver {
    fn receive(&mut self, mut sink: Sink) -> Result<()> {
        for event in self.connection.iter() {
            if let Event::Incoming(Packet::Publish(publish)) = event?
                && sink(&publish.payload) == Go::End
            {
                return Ok(());
            }
        }
        bail!("the connection ended")
    }
}
