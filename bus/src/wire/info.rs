//! `INFO`: what a broker says of itself, over the bus and over generic netlink alike.

use super::message::{Header, push_message};
use super::uapi::*;
use super::{Attribute, AttributeIter, Attributes, Malformed, Refusal};
use nix::errno::Errno;

/// Which of the two brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum BrokerKind {
    /// The kernel module.
    #[default]
    Module,
    /// The user broker over `NETLINK_USERSOCK`.
    User,
}

/// Declares a struct of numbers that is a nest of attributes, one a field.
macro_rules! nest_of_numbers {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ident = $attr:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        #[non_exhaustive]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl $name {
            fn write(&self, body: &mut Attributes<'_>) {
                $(body.$type($attr, self.$field);)*
            }

            fn read(attributes: AttributeIter<'_>) -> Result<Self, Malformed> {
                let mut value = Self::default();
                for attribute in attributes {
                    let attribute = attribute?;
                    match attribute.kind {
                        $($attr => value.$field = attribute.$type()?,)*
                        _ => {}
                    }
                }
                Ok(value)
            }
        }
    };
}

nest_of_numbers! {
    /// A broker's limits.
    Limits {
        /// Topics on the bus.
        topics: u32 = NLBUS_LIMIT_A_TOPICS,
        /// Bytes of one payload.
        payload: u32 = NLBUS_LIMIT_A_PAYLOAD,
        /// Bytes of one datagram, in either direction.
        datagram: u32 = NLBUS_LIMIT_A_DATAGRAM,
        /// Bytes of a broadcast datagram that packs several events.
        pack: u32 = NLBUS_LIMIT_A_PACK,
        /// Bytes published and not yet sequenced.
        queue: u64 = NLBUS_LIMIT_A_QUEUE,
        /// Bytes of all histories together.
        history: u64 = NLBUS_LIMIT_A_HISTORY,
        /// Bytes of one topic's history, unless the topic has its own limit.
        topic_history: u64 = NLBUS_LIMIT_A_TOPIC_HISTORY,
        /// Groups for topics that not everybody may read, each used once; 0 where they share groups with others.
        private_groups: u32 = NLBUS_LIMIT_A_PRIVATE_GROUPS,
        /// Who may read and write a topic that is created without a mode.
        topic_mode: u32 = NLBUS_LIMIT_A_TOPIC_MODE,
        /// Topics that one user may have created. Here and below, who is exempt may have more: root and the broker's own user at
        /// the user broker, who has `CAP_SYS_RESOURCE` with the module.
        user_topics: u32 = NLBUS_LIMIT_A_USER_TOPICS,
        /// Bytes that one user may have published and are not yet sequenced; 0 where users share the queue without quotas.
        user_queue: u64 = NLBUS_LIMIT_A_USER_QUEUE,
        /// Bytes that the histories of the topics that one user created may keep together.
        user_history: u64 = NLBUS_LIMIT_A_USER_HISTORY,
        /// Groups that topics of one user may have used, of those for topics that not everybody may read; 0 where there are none.
        user_private_groups: u32 = NLBUS_LIMIT_A_USER_PRIVATE_GROUPS,
        /// Last wills on the bus.
        wills: u32 = NLBUS_LIMIT_A_WILLS,
        /// Last wills that one user may have left.
        user_wills: u32 = NLBUS_LIMIT_A_USER_WILLS,
    }
}

nest_of_numbers! {
    /// What a broker has counted since its bus began; `topics`, `queue`, `history`, `clients` and `wills` are of now.
    Counters {
        /// Events sequenced.
        published: u64 = NLBUS_COUNTER_A_PUBLISHED,
        /// Datagrams and requests refused.
        refused: u64 = NLBUS_COUNTER_A_REFUSED,
        /// Datagrams sent to groups.
        broadcasts: u64 = NLBUS_COUNTER_A_BROADCASTS,
        /// Of these, not taken by some socket for want of room.
        overruns: u64 = NLBUS_COUNTER_A_OVERRUNS,
        /// Events sent out of history.
        replayed: u64 = NLBUS_COUNTER_A_REPLAYED,
        /// Events that history let go.
        evicted: u64 = NLBUS_COUNTER_A_EVICTED,
        /// Topics on the bus.
        topics: u64 = NLBUS_COUNTER_A_TOPICS,
        /// Bytes in the publish queue.
        queue: u64 = NLBUS_COUNTER_A_QUEUE,
        /// Bytes in all histories.
        history: u64 = NLBUS_COUNTER_A_HISTORY,
        /// Topics that were said to have moved: their mode or owner changed, or they were deleted.
        moved: u64 = NLBUS_COUNTER_A_MOVED,
        /// Groups for topics that not everybody may read that were used.
        private_groups: u64 = NLBUS_COUNTER_A_PRIVATE_GROUPS,
        /// Events of kernel code that were dropped, for want of room or memory; subscribers see them as loss.
        kernel_dropped: u64 = NLBUS_COUNTER_A_KERNEL_DROPPED,
        /// Sockets that sent something to the broker and are open, as far as it knows.
        clients: u64 = NLBUS_COUNTER_A_CLIENTS,
        /// Last wills that clients have left.
        wills: u64 = NLBUS_COUNTER_A_WILLS,
        /// Numbers of topics that publishers used up for what was lost on its way to them; subscribers see them as loss.
        lost: u64 = NLBUS_COUNTER_A_LOST,
    }
}

/// The reply to `INFO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Info {
    /// Protocol version, `NLBUS_VERSION`.
    pub version: u32,
    /// Which broker answers.
    pub broker: BrokerKind,
    /// Random number of this bus, not 0; a new bus, a new epoch.
    pub epoch: u64,
    /// Netlink protocol number.
    pub protocol: u32,
    /// Port id that takes publishes and sends events.
    pub publish_port: u32,
    /// Port id that takes and answers requests.
    pub request_port: u32,
    /// Number of multicast groups.
    pub groups: u32,
    /// Nanoseconds since the bus began.
    pub uptime_ns: u64,
    /// `CLOCK_REALTIME` minus `CLOCK_BOOTTIME` in nanoseconds.
    pub clock_offset_ns: i64,
    /// Milliseconds between heartbeats, 0 for none.
    pub heartbeat_ms: u32,
    /// Limits.
    pub limits: Limits,
    /// Counters.
    pub counters: Counters,
}

impl Info {
    /// Writes the attributes.
    ///
    /// ```
    /// use nlbus::Info;
    /// use nlbus::wire::{Header, push_message};
    ///
    /// let mut info = Info::default();
    /// info.epoch = 7; // 0 is none
    /// let mut datagram = Vec::new();
    /// push_message(&mut datagram, Header::default(), |body| info.write(body));
    /// assert_eq!(Info::read(&datagram[16..])?, info);
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn write(&self, body: &mut Attributes<'_>) {
        let broker = match self.broker {
            BrokerKind::Module => NLBUS_BROKER_MODULE,
            BrokerKind::User => NLBUS_BROKER_USER,
        };
        body.u32(NLBUS_INFO_A_VERSION, self.version);
        body.u32(NLBUS_INFO_A_BROKER, broker);
        body.u64(NLBUS_INFO_A_EPOCH, self.epoch);
        body.u32(NLBUS_INFO_A_PROTOCOL, self.protocol);
        body.u32(NLBUS_INFO_A_PUBLISH_PORT, self.publish_port);
        body.u32(NLBUS_INFO_A_REQUEST_PORT, self.request_port);
        body.u32(NLBUS_INFO_A_GROUPS, self.groups);
        body.u64(NLBUS_INFO_A_UPTIME_NS, self.uptime_ns);
        body.u64(NLBUS_INFO_A_CLOCK_OFFSET_NS, self.clock_offset_ns as u64);
        body.u32(NLBUS_INFO_A_HEARTBEAT_MS, self.heartbeat_ms);
        body.nest(NLBUS_INFO_A_LIMITS, |nest| self.limits.write(nest));
        body.nest(NLBUS_INFO_A_COUNTERS, |nest| self.counters.write(nest));
    }

    /// Reads the attributes; what is missing is zero, but for version, broker and epoch, which must be there.
    ///
    /// ```
    /// use nlbus::Info;
    /// use nlbus::wire::{Header, Messages, push_info};
    ///
    /// let mut info = Info::default();
    /// info.epoch = 7; // 0 is none
    /// let mut datagram = Vec::new();
    /// push_info(&mut datagram, Header::default(), &info);
    /// let reply = Messages::new(&datagram).next().unwrap().unwrap();
    /// assert_eq!(Info::read(reply.body)?, info);
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn read(body: &[u8]) -> Result<Info, Malformed> {
        let mut info = Info::default();
        let (mut version, mut broker) = (None, None);
        for attribute in AttributeIter::new(body) {
            let attribute = attribute?;
            match attribute.kind {
                NLBUS_INFO_A_VERSION => version = Some(attribute.u32()?),
                NLBUS_INFO_A_BROKER => broker = Some(read_broker(&attribute)?),
                NLBUS_INFO_A_EPOCH => info.epoch = attribute.u64()?,
                NLBUS_INFO_A_PROTOCOL => info.protocol = attribute.u32()?,
                NLBUS_INFO_A_PUBLISH_PORT => info.publish_port = attribute.u32()?,
                NLBUS_INFO_A_REQUEST_PORT => info.request_port = attribute.u32()?,
                NLBUS_INFO_A_GROUPS => info.groups = attribute.u32()?,
                NLBUS_INFO_A_UPTIME_NS => info.uptime_ns = attribute.u64()?,
                NLBUS_INFO_A_CLOCK_OFFSET_NS => info.clock_offset_ns = attribute.u64()? as i64,
                NLBUS_INFO_A_HEARTBEAT_MS => info.heartbeat_ms = attribute.u32()?,
                NLBUS_INFO_A_LIMITS => info.limits = Limits::read(attribute.nested())?,
                NLBUS_INFO_A_COUNTERS => info.counters = Counters::read(attribute.nested())?,
                _ => {}
            }
        }
        info.version = version.ok_or(Malformed("INFO without a version"))?;
        info.broker = broker.ok_or(Malformed("INFO without the kind of broker"))?;
        if info.epoch == 0 {
            return Err(Malformed("INFO without an epoch"));
        }
        Ok(info)
    }
}

fn read_broker(attribute: &Attribute<'_>) -> Result<BrokerKind, Malformed> {
    match attribute.u32()? {
        NLBUS_BROKER_MODULE => Ok(BrokerKind::Module),
        NLBUS_BROKER_USER => Ok(BrokerKind::User),
        _ => Err(Malformed("INFO with an unknown kind of broker")),
    }
}

/// Appends an `INFO` request.
///
/// ```
/// let mut datagram = Vec::new();
/// nlbus::wire::push_info_request(&mut datagram, 1);
/// assert_eq!(nlbus::wire::check_datagram(&datagram).unwrap().len(), 1);
/// ```
pub fn push_info_request(datagram: &mut Vec<u8>, seq: u32) {
    push_message(datagram, Header { kind: NLBUS_MSG_INFO, flags: NLM_F_REQUEST, seq, portid: 0 }, |_| {});
}

/// Appends the reply to an `INFO` request.
///
/// ```
/// use nlbus::Info;
/// use nlbus::wire::{Header, Messages, push_info};
///
/// let mut info = Info::default();
/// info.epoch = 7; // 0 is none
/// let mut datagram = Vec::new();
/// push_info(&mut datagram, Header::default(), &info);
/// let reply = Messages::new(&datagram).next().unwrap().unwrap();
/// assert_eq!(Info::read(reply.body)?, info);
/// # Ok::<(), nlbus::wire::Malformed>(())
/// ```
pub fn push_info(datagram: &mut Vec<u8>, to: Header, info: &Info) {
    let header = Header { kind: NLBUS_MSG_INFO, flags: 0, seq: to.seq, portid: to.portid };
    push_message(datagram, header, |body| info.write(body));
}

/// Checks the body of an `INFO` request.
///
/// ```
/// use nlbus::wire::check_info_request;
///
/// assert!(check_info_request(&[]).is_ok());
/// assert!(check_info_request(&[1]).is_err());
/// ```
pub fn check_info_request(body: &[u8]) -> Result<(), Refusal> {
    match body {
        [] => Ok(()),
        _ => Err(Refusal::new(Errno::EINVAL, "INFO takes no attributes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Messages;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn info_survives(n: [u32; 8], m: [u64; 20], clock_offset_ns: i64, user: bool) {
            let info = Info {
                version: n[0],
                broker: if user { BrokerKind::User } else { BrokerKind::Module },
                epoch: m[0].max(1),
                protocol: n[1],
                publish_port: n[2],
                request_port: n[3],
                groups: n[4],
                uptime_ns: m[1],
                clock_offset_ns,
                heartbeat_ms: n[5],
                limits: Limits { topics: n[6], payload: n[7], datagram: n[0], pack: n[1], queue: m[2], history: m[3], topic_history: m[4],
                                 private_groups: n[2], topic_mode: n[3], user_topics: n[4], user_queue: m[1], user_history: m[6],
                                 user_private_groups: n[5], wills: n[6], user_wills: n[7] },
                counters: Counters { published: m[5], refused: m[6], broadcasts: m[7], overruns: m[8], replayed: m[9],
                                     evicted: m[10], topics: m[11], queue: m[12], history: m[13],
                                     moved: m[14], private_groups: m[15], kernel_dropped: m[16], clients: m[17], wills: m[18], lost: m[19] },
            };
            let mut datagram = Vec::new();
            push_info(&mut datagram, Header { seq: 4, ..Header::default() }, &info);
            let message = Messages::new(&datagram).next().unwrap().unwrap();
            prop_assert_eq!(message.header.seq, 4);
            prop_assert_eq!(Info::read(message.body), Ok(info));
        }

        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = Info::read(&body);
            prop_assert_eq!(check_info_request(&body).is_ok(), body.is_empty());
        }
    }
}
