//! iceoryx2: events in shared memory without a copy; a bell (its event service) wakes subscribers, or they spin.

use crate::system::{Cell, Go, Publisher, Sink, Subscriber, System};
use anyhow::{Result, anyhow};
use iceoryx2::config::Config;
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::prelude::*;
use std::hint::spin_loop;

type Service = ipc::Service;

struct Iceoryx2 {
    name: &'static str,
    about: &'static str,
    /// After how many events the bell is rung; 0 for never.
    bell: u32,
}

pub fn variants() -> Vec<Box<dyn System>> {
    let variant = |name, about, bell| -> Box<dyn System> { Box::new(Iceoryx2 { name, about, bell }) };
    // Its own default, a buffer of two events that drops the older one, can't be measured without loss.
    vec![
        variant("iceoryx2-event", "buffers of up to 1024 events that don't overflow, a bell for each event", 1),
        variant("iceoryx2-bell32", "buffers of up to 1024 events that don't overflow, a bell every 32", 32),
        variant("iceoryx2-busy", "buffers of up to 1024 events that don't overflow; subscribers spin", 0),
    ]
}

/// Of the run's own, so that nothing of another run is found, and what is left can be removed.
fn prefix(run: &Cell) -> String {
    run.dir.file_name().map_or_else(|| "nlbus-bench".into(), |name| format!("{}-", name.to_string_lossy()))
}

fn config(run: &Cell) -> Result<Config> {
    let mut config = Config::default();
    config.global.prefix = prefix(run).as_str().try_into().map_err(|error| anyhow!("{error:?}"))?;
    let path = run.dir.display().to_string();
    config.global.set_root_path(&path.as_str().try_into().map_err(|error| anyhow!("{error:?}"))?);
    Ok(config)
}

impl Iceoryx2 {
    fn buffer(&self, cell: &Cell) -> usize {
        cell.events_in(4 << 20).min(1024) as usize
    }
}

/// Nodes that may be on a service.
fn nodes(run: &Cell) -> usize {
    run.subs + 2
}

type Events = iceoryx2::service::port_factory::publish_subscribe::PortFactory<Service, [u8], ()>;
type Bell = iceoryx2::service::port_factory::event::PortFactory<Service>;

/// Node and both services.
fn open(system: &Iceoryx2, run: &Cell) -> Result<(Node<Service>, Events, Bell)> {
    set_log_level(LogLevel::Error);
    let fail = |error: &dyn std::fmt::Debug| anyhow!("{error:?}");
    let node = NodeBuilder::new().config(&config(run)?).create::<Service>().map_err(|error| fail(&error))?;
    let name = "bench/events".try_into().map_err(|error| fail(&error))?;
    let events = node
        .service_builder(&name)
        .publish_subscribe::<[u8]>()
        .max_publishers(1)
        .max_subscribers(run.subs)
        .max_nodes(nodes(run))
        .subscriber_max_buffer_size(system.buffer(run))
        .enable_safe_overflow(false)
        .open_or_create()
        .map_err(|error| fail(&error))?;
    let bell = node
        .service_builder(&name)
        .event()
        .max_listeners(run.subs)
        .max_nodes(nodes(run))
        .open_or_create()
        .map_err(|error| fail(&error))?;
    Ok((node, events, bell))
}

impl System for Iceoryx2 {
    fn name(&self) -> &'static str {
        self.name
    }

    fn peer(&self) -> &'static str {
        "iceoryx2"
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn sleeps(&self) -> bool {
        self.bell != 0
    }

    fn window(&self, cell: &Cell) -> u64 {
        self.buffer(cell) as u64
    }

    fn publisher(&self, run: &Cell) -> Result<Box<dyn Publisher>> {
        let (node, events, bell) = open(self, run)?;
        let publisher = events.publisher_builder().initial_max_slice_len(run.size).create();
        let publisher = publisher.map_err(|error| anyhow!("{error:?}"))?;
        let notifier = bell.notifier_builder().create().map_err(|error| anyhow!("{error:?}"))?;
        Ok(Box::new(Sender { publisher, notifier, bell: self.bell, unrung: 0, _node: node }))
    }

    fn subscriber(&self, run: &Cell) -> Result<Box<dyn Subscriber>> {
        let (node, events, bell) = open(self, run)?;
        let subscriber = events.subscriber_builder().create().map_err(|error| anyhow!("{error:?}"))?;
        let listener = match self.bell {
            0 => None,
            _ => Some(bell.listener_builder().create().map_err(|error| anyhow!("{error:?}"))?),
        };
        Ok(Box::new(Receiver { subscriber, listener, _node: node }))
    }

    /// The processes of a run end without tidying up, and shared memory outlives them.
    fn clear(&self, run: &Cell) {
        let prefix = prefix(run);
        for entry in std::fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                // Whatever can't be removed stays until the machine restarts, and disturbs nothing.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

struct Sender {
    publisher: iceoryx2::port::publisher::Publisher<Service, [u8], ()>,
    notifier: Notifier<Service>,
    bell: u32,
    /// Events since the bell was rung.
    unrung: u32,
    _node: Node<Service>,
}

impl Publisher for Sender {
    fn send(&mut self, payload: &[u8]) -> Result<()> {
        let sample = self.publisher.loan_slice_uninit(payload.len()).map_err(|error| anyhow!("{error:?}"))?;
        sample.write_from_slice(payload).send().map_err(|error| anyhow!("{error:?}"))?;
        self.unrung += 1;
        if self.unrung == self.bell { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if self.bell != 0 && self.unrung > 0 {
            self.unrung = 0;
            self.notifier.notify().map_err(|error| anyhow!("{error:?}"))?;
        }
        Ok(())
    }
}

struct Receiver {
    subscriber: iceoryx2::port::subscriber::Subscriber<Service, [u8], ()>,
    listener: Option<Listener<Service>>,
    _node: Node<Service>,
}

impl Subscriber for Receiver {
    fn receive(&mut self, mut sink: Sink) -> Result<()> {
        loop {
            while let Some(sample) = self.subscriber.receive().map_err(|error| anyhow!("{error:?}"))? {
                if sink(sample.payload()) == Go::End {
                    return Ok(());
                }
            }
            match &self.listener {
                Some(listener) => listener.blocking_wait_all(|_| ()).map_err(|error| anyhow!("{error:?}"))?,
                None => spin_loop(),
            }
        }
    }
}
