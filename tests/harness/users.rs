//! Processes of other users, who may not do everything: one that uses the library, and one that is a raw socket.

use crate::roles::{hear, say};
use crate::{Args, Child, Datagram, Endpoint, Place, RawClient, patience};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, setegid, seteuid, setgid, setgroups, setuid};
use nlbus::{BrokerKind, Bus, Delivery, PublishError, RequestError, Subscription, TopicOptions, TopicRecord};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_keep_capabilities};
use std::fmt::Write;
use std::process;
use std::time::Duration;

/// How long to look for what may come soon, or not at all.
const SOON: Duration = Duration::from_millis(100);

/// Becomes the user `uid`, if there is one, in the group `gid`, of the same number unless given, and in the `groups`
/// besides. With `joins` he may join the groups of a user broker, which takes `CAP_NET_ADMIN`, and isn't root to it. With
/// `userns` he makes a user namespace, in which he has all capabilities; he stays in the bus's network namespace unless
/// with `netns` he makes one of these, too.
///
/// # Panics
/// When he can't.
pub fn become_another(place: Place, args: &Args) {
    let Some(uid) = args.get::<u32>("uid") else { return };
    let groups = args.get::<String>("groups").unwrap_or_default();
    let groups: Vec<_> = groups.split(',').filter_map(|gid| gid.parse().ok()).map(Gid::from_raw).collect();
    let joins = args.get("joins").unwrap_or(false) && place.kind == BrokerKind::User;
    set_keep_capabilities(joins).unwrap_or_else(|errno| panic!("keep capabilities: {errno}"));
    let changed = setgroups(&groups)
        .and_then(|()| setgid(args.get("gid").unwrap_or(uid).into()))
        .and_then(|()| setuid(uid.into()));
    changed.unwrap_or_else(|errno| panic!("become {uid}: {errno}"));
    if joins {
        let (effective, inheritable) = (CapabilitySet::NET_ADMIN, CapabilitySet::empty());
        let sets = CapabilitySets { effective, permitted: effective, inheritable };
        set_capabilities(None, sets).unwrap_or_else(|errno| panic!("keep CAP_NET_ADMIN: {errno}"));
    }
    if args.get("userns").unwrap_or(false) {
        unshare(CloneFlags::CLONE_NEWUSER).unwrap_or_else(|errno| panic!("a user namespace: {errno}"));
    }
    if args.get("netns").unwrap_or(false) {
        unshare(CloneFlags::CLONE_NEWNET).unwrap_or_else(|errno| panic!("a network namespace: {errno}"));
    }
}

/// Becomes somebody, says `ready` and does what it is told with the library:
///
/// - `publish TOPIC [bytes=1]`, answered by `published seq= pid=`; `send TOPIC`, which publishes and flushes, by `sent`
/// - `subscribe FILTER`, by `subscribed`; what comes is said after `next`: `TOPIC SEQ`, `lost TOPIC FROM TO`,
///   `ended TOPIC REASON`, or `nothing` after [`patience`]; after `soon` that comes at once, nearly
/// - `will TOPIC`, which leaves one there, by `left`
/// - `create TOPIC [mode=0640] [uid=] [gid=] [history=]` and `set` the same, by `topic mode= uid= gid= history=`; `look
///   TOPIC`, by the same, or `absent`; `topics`, by their names; `delete TOPIC`, by `deleted`
///
/// and where that fails by `refused ERRNO TEXT`.
pub(crate) fn client(place: Place, args: &Args) {
    become_another(place, args);
    let bus = place.connect();
    let mut subscription = None;
    say(format_args!("ready"));
    loop {
        let line = hear();
        let said = match line.split_once(' ').unwrap_or((&line, "")) {
            ("subscribe", filter) => match bus.subscribe(filter) {
                Ok(opened) => {
                    subscription = Some(opened);
                    "subscribed".to_owned()
                }
                Err(error) => format!("refused {error}"),
            },
            ("next", _) => next(subscription.as_mut(), patience()),
            ("soon", _) => next(subscription.as_mut(), SOON),
            (verb, rest) => obey(&bus, verb, rest),
        };
        say(format_args!("{said}"));
    }
}

fn obey(bus: &Bus, verb: &str, rest: &str) -> String {
    let mut words = rest.split(' ').map(str::to_owned);
    let topic = words.next().unwrap_or_default();
    let args = Args::new(words);
    let settings = || options(bus, &topic, &args);
    match verb {
        "publish" => match bus.publish_acked(&topic, &vec![b'x'; args.get("bytes").unwrap_or(1)]) {
            Ok(seq) => format!("published seq={seq} pid={}", process::id()),
            Err(error) => unpublished(&error),
        },
        "send" => match bus.publish(&topic, "x").and_then(|()| bus.flush()) {
            Ok(()) => "sent".into(),
            Err(error) => unpublished(&error),
        },
        "create" => answered(settings().create(), described),
        "set" => answered(settings().set(), described),
        "look" => answered(bus.topic(&topic), |topic| topic.map_or("absent".into(), described)),
        "topics" => answered(bus.topics(), |topics| topics.into_iter().map(|topic| topic.name + " ").collect()),
        "will" => answered(bus.set_will(&topic, "x"), |()| "left".into()),
        "delete" => answered(bus.delete_topic(&topic), |()| "deleted".into()),
        _ => panic!("what does '{verb} {rest}' mean?"),
    }
}

fn options<'a>(bus: &'a Bus, topic: &str, args: &Args) -> TopicOptions<'a> {
    let mut options = bus.topic_options(topic);
    if let Some(mode) = args.get::<String>("mode") {
        options = options.mode(u32::from_str_radix(&mode, 8).unwrap_or_else(|error| panic!("{mode}: {error}")));
    }
    if let Some(uid) = args.get("uid") {
        options = options.owner(uid);
    }
    if let Some(gid) = args.get("gid") {
        options = options.group(gid);
    }
    if let Some(bytes) = args.get("history") {
        options = options.history(bytes);
    }
    options
}

fn described(topic: TopicRecord) -> String {
    format!("topic mode={:04o} uid={} gid={} history={}", topic.mode, topic.uid, topic.gid, topic.history)
}

fn answered<T>(answer: Result<T, RequestError>, say: impl FnOnce(T) -> String) -> String {
    match answer {
        Ok(answer) => say(answer),
        Err(RequestError::Refused(refusal)) => format!("refused {:?} {refusal}", refusal.errno),
        Err(error) => panic!("{error}"),
    }
}

fn unpublished(error: &PublishError) -> String {
    let errno = error.errno().unwrap_or_else(|| panic!("{error}"));
    format!("refused {errno:?} {error}")
}

fn next(subscription: Option<&mut Subscription>, wait: Duration) -> String {
    match subscription.expect("a subscription").recv_timeout(wait) {
        Ok(Delivery::Event(event)) => format!("{} {}", event.topic(), event.seq()),
        Ok(Delivery::Lost(lost)) => format!("lost {} {} {}", lost.topic, lost.from, lost.to),
        Ok(Delivery::Ended(ended)) => format!("ended {} {}", ended.topic, ended.reason.as_str()),
        Ok(other) => format!("{other:?}"),
        Err(_) => "nothing".into(),
    }
}

/// Opens a socket as the effective user and group `opener`, or as root, becomes somebody, says `ready`, and does what
/// [`OtherSocket`] tells it.
pub(crate) fn socket(place: Place, args: &Args) {
    let as_user = |id: u32| setegid(id.into()).and_then(|()| seteuid(id.into())).expect("to be somebody for a while");
    if let Some(opener) = args.get(OtherSocket::OPENER) {
        as_user(opener);
    }
    let raw = RawClient::open(place);
    if args.get::<u32>(OtherSocket::OPENER).is_some() {
        seteuid(0.into()).and_then(|()| setegid(0.into())).expect("to be root again");
    }
    become_another(place, args);
    say(format_args!("ready"));
    loop {
        let line = hear();
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("join", group) => match raw.join(group.parse().expect("a group")) {
                Ok(()) => say(format_args!("0")),
                Err(error) => say(format_args!("{}", error.raw_os_error().expect("an errno"))),
            },
            ("publish", frame) => raw.send(Endpoint::Publish, &read_hex(frame)),
            ("request", frame) => raw.send(Endpoint::Request, &read_hex(frame)),
            ("receive", _) => {
                let Datagram { bytes, port, groups } = raw.receive();
                say(format_args!("{port} {groups} {}", hex(&bytes)));
            }
            _ => panic!("what does '{line}' mean?"),
        }
    }
}

/// A raw socket of another process. The words that make it who it is: `opener=` the user who opens the socket, root unless
/// given; `uid=`, `gid=` and `groups=` who uses it then.
#[derive(Debug)]
pub struct OtherSocket {
    child: Child,
}

impl OtherSocket {
    const OPENER: &str = "opener";

    pub(crate) fn open(place: Place, who: &[&str]) -> OtherSocket {
        let mut child = place.spawn("socket", &who.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        child.expect("ready");
        OtherSocket { child }
    }

    /// Joins a group.
    ///
    /// # Errors
    /// As `setsockopt(NETLINK_ADD_MEMBERSHIP)`.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn join(&mut self, group: u32) -> Result<(), Errno> {
        self.child.say(&format!("join {group}"));
        match self.child.line().parse().expect("an errno") {
            0 => Ok(()),
            errno => Err(Errno::from_raw(errno)),
        }
    }

    /// Sends a datagram and returns the one that comes next.
    ///
    /// # Panics
    /// When none comes in time.
    pub fn ask(&mut self, to: Endpoint, frame: &[u8]) -> Datagram {
        let verb = if to == Endpoint::Publish { "publish" } else { "request" };
        self.child.say(&format!("{verb} {}", hex(frame)));
        self.receive()
    }

    /// The next datagram.
    ///
    /// # Panics
    /// When none comes in time.
    pub fn receive(&mut self) -> Datagram {
        self.child.say("receive");
        let line = self.child.line();
        let mut words = line.split(' ');
        let mut number = || words.next().and_then(|word| word.parse().ok()).expect("a number");
        let (port, groups) = (number(), number());
        Datagram { bytes: read_hex(words.next().unwrap_or_default()), port, groups }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn read_hex(text: &str) -> Vec<u8> {
    let digits = |at| text.get(at..at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
    (0..text.len()).step_by(2).map(|at| digits(at).unwrap_or_else(|| panic!("'{text}' at {at}"))).collect()
}
