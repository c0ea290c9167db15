//! A multicast publish/subscribe event bus for Linux, carried by netlink.

mod batch;
mod broker;
mod bus;
mod client;
mod codec;
mod connection;
mod delivery;
mod flow;
mod history;
mod link;
mod publisher;
mod reactor;
mod sequence;
mod subscription;
mod sys;
mod topic;
pub mod wire;

pub use batch::Batch;
pub use broker::{Broker, BrokerBuilder, BrokerError, BrokerHandle};
pub use bus::{Builder, Bus, BusCounters, RequestError};
pub use client::{ClientCounters, Start};
pub use codec::{DecodeError, EncodeError};
pub use crossbeam_channel::{RecvError, RecvTimeoutError, TryRecvError};
pub use delivery::{Cause, Delivery, Event, Lost, Restarted, Sender};
pub use link::{Choice, ConnectError};
pub use publisher::{PublishBatch, PublishError, PublishReason};
pub use subscription::{
    CAPACITY, Overflow, SubscribeError, SubscribeReason, Subscriber, Subscription, TypedDelivery, TypedSubscription,
};
pub use topic::{Filter, TopicError, is_reserved};
pub use wire::{BrokerKind, Content, Counters, Info, Limits, Refusal, TopicRecord};
