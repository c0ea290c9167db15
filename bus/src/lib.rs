//! A multicast publish/subscribe event bus for one Linux host, carried by netlink.
//!
//! Processes and kernel code publish events to named topics; any number of processes subscribe. What netlink
//! multicast alone loses when a reader is slow, nlbus repairs from history, and what can't be repaired it reports.
//!
//! # Publish and subscribe
//!
//! ```no_run
//! use nlbus::{Bus, Delivery};
//!
//! let bus = Bus::connect()?;
//! let mut temperatures = bus.subscribe("sensors/+/temp")?; // from here on nothing is missed
//! bus.publish("sensors/1/temp", "21.5")?;
//! for delivery in temperatures.iter() {
//!     match delivery {
//!         Delivery::Event(event) => println!("{} {} {:?}", event.topic(), event.seq(), event.payload()),
//!         Delivery::Lost(lost) => println!("{}: {} to {} are lost", lost.topic, lost.from, lost.to),
//!         Delivery::Restarted(_) => println!("the broker restarted; numbers begin anew"),
//!         _ => {}
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`Bus`] finds the kernel module where it is loaded, else the user broker (`nlbus broker`), or fails with an error
//! that names both. It runs one background thread; its handles are cheap clones, `Send` and `Sync`.
//!
//! # Topics and filters
//!
//! Topics are UTF-8 names of 1 to 255 bytes with levels separated by `/`. Filters are MQTT 5's: `+` stands for one
//! level, `#` for all that follow, and a filter that begins with a wildcard doesn't match topics that begin with `$`.
//! Publishing creates a topic; subscribing doesn't, it waits for it: the first event of a topic that appears later is
//! delivered too.
//!
//! # Values
//!
//! ```no_run
//! use nlbus::{Bus, TypedDelivery};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Reading { sensor: u16, celsius: f32 }
//!
//! let bus = Bus::connect()?;
//! let mut readings = bus.subscribe_as::<Reading>("sensors/#")?;
//! let seq = bus.publish_value_acked("sensors/1", &Reading { sensor: 1, celsius: 21.5 })?;
//! if let TypedDelivery::Value(reading, event) = readings.recv()? {
//!     assert_eq!((reading.sensor, event.seq()), (1, seq));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is promised
//!
//! Events of one topic have consecutive sequence numbers, and every subscriber sees them in that order, each at most
//! once. Whatever a subscriber misses comes out of history or, in line, as a [`Lost`] range: delivered and lost together
//! are what was published. A subscriber that doesn't read fills its own channel and delays nobody. Senders are
//! stamped by the kernel. When the broker restarts, subscriptions go on by themselves and say [`Restarted`].
//! Publishing is described at [`Bus::publish`], its bounds with [`Info`].

mod arrivals;
mod batch;
mod broker;
mod buffered;
mod builder;
mod bus;
mod client;
mod codec;
mod connection;
mod counts;
mod credit;
mod delivery;
mod direct;
mod driver;
mod event;
mod flow;
mod history;
mod inlet;
mod intake;
pub mod kernel;
mod link;
mod overruns;
mod pool;
mod positions;
mod publish_batch;
mod publisher;
mod reactor;
mod readable;
mod request;
mod ring;
mod run;
mod search;
mod sequence;
mod sockets;
mod subscriber;
mod subscription;
mod sys;
mod topic;
mod type_name;
mod typed;
mod unread;
pub mod wire;

pub use batch::Batch;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    //! What the fuzz targets call: parts that are no caller's.
    pub use crate::broker::fuzzing::*;
    pub use crate::codec::fuzzing::*;
}
pub use broker::{Broker, BrokerBuilder, BrokerError, BrokerHandle};
pub use buffered::BufferedPublisher;
pub use builder::{Builder, RECEIVE_BUFFER};
pub use bus::{Bus, BusCounters, TopicOptions, TypedPublisher};
pub use client::{ClientCounters, Start};
pub use codec::{DecodeError, EncodeError};
pub use counts::SubscriptionCounters;
pub use crossbeam_channel::{RecvError, RecvTimeoutError, TryRecvError};
pub use delivery::{Cause, Delivery, EndReason, Ended, Lost, Restarted};
pub use event::{Event, Sender};
pub use inlet::Overflow;
pub use link::{Choice, ConnectError, retire_module};
pub use positions::Positions;
pub use publish_batch::PublishBatch;
pub use publisher::{PublishError, PublishReason};
pub use request::RequestError;
pub use subscriber::{CAPACITY, SubscribeError, SubscribeReason, Subscriber};
pub use subscription::Subscription;
pub use topic::{Filter, TopicError, is_reserved};
pub use type_name::{TypeMismatch, TypeName, TypeNameError};
pub use typed::{TypedDelivery, TypedSubscription};
pub use wire::{BrokerKind, Content, Counters, Info, Limits, Refusal, TopicRecord};

/// Compiles the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Compiles the guide's.
#[cfg(doctest)]
#[doc = include_str!("../guide.md")]
struct Guide;

/// Compiles that for driver authors.
#[cfg(doctest)]
#[doc = include_str!("../KERNEL.md")]
struct Kernel;
