//! One subscription, as the client holds it, and what is said about it when it begins.

use super::turns::Backlog;
use crate::inlet::Inlet;
use crate::positions::Positions;
use crate::topic::Filter;
use crate::type_name::{TypeMismatch, TypeName};
use crate::wire::Refusal;
use crossbeam_channel::Sender;
use nix::errno::Errno;
use std::collections::HashMap;

/// Names a subscription within its client. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SubId(pub(super) u64);

/// Where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Start {
    /// With events published after [`crate::Subscriber::open`] returned, and the first one of each topic created later.
    #[default]
    Live,
    /// With the last `n` events that each topic keeps; 0 is `Live`.
    Last(u64),
    /// With this sequence number of the one topic that the filter names. What history no longer keeps is
    /// reported as lost; beyond the newest event + 1 is an error.
    From(u64),
    /// With everything that each topic keeps.
    All,
}

/// What a handle asks for when it subscribes.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) filter: Filter,
    pub(crate) start: Start,
    /// Where to go on, in place of `start` for the topics that these positions know.
    pub(crate) resume: Option<Positions>,
    /// What its topics' values have to be called, where that is known of them.
    pub(crate) type_name: Option<TypeName>,
    pub(crate) inlet: Inlet,
    pub(crate) opener: Opener,
}

/// Where a handle waits for its subscription.
pub(crate) type Opener = Sender<Result<Opened, Refused>>;

/// The subscription can miss nothing any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) id: SubId,
    /// Where it begins.
    pub(crate) positions: Positions,
}

/// The subscription can't be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The broker refused a look-up.
    Broker(Refusal),
    /// The kernel refused to let the event socket join a group.
    Join(Errno),
    /// `Start::From`, or a position to resume from, lies beyond the topic's newest event + 1.
    Beyond { topic: String, head: u64 },
    /// A topic's values are of another type than the subscription's.
    OtherType(Box<TypeMismatch>),
    /// The broker didn't answer.
    TimedOut,
}

/// One subscription.
#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) filter: Filter,
    pub(super) start: Start,
    pub(super) resume: Option<Positions>,
    /// Where it begins, as far as that is known.
    pub(super) positions: Positions,
    pub(super) inlet: Inlet,
    /// Told once the subscription can miss nothing any more; gone after that.
    pub(super) opener: Option<Opener>,
    /// All that it matches is followed.
    pub(super) resolved: bool,
    /// Topics with a higher id are newer than the subscription and are read from 1. `None` until the broker has said.
    pub(super) watermark: Option<u32>,
    /// A topic that it matches was listed as new before its watermark was known, or became readable before it was open.
    pub(super) overtaken: bool,
    /// What it is behind in.
    pub(super) backlog: Backlog,
    /// The broker restarted: all of its topics are newer than the subscription.
    pub(super) from_the_beginning: bool,
    /// As [`Opening::type_name`].
    type_name: Option<TypeName>,
    /// Topics that it was told are over for it, though they are there: denied, or of another type. How far they had come: it
    /// goes on behind that.
    pub(super) over: HashMap<u32, u64>,
}

impl Subscriber {
    pub(super) fn new(opening: Opening, epoch: u64) -> Subscriber {
        Subscriber {
            filter: opening.filter,
            start: opening.start,
            resume: opening.resume,
            positions: Positions::new(epoch),
            inlet: opening.inlet,
            opener: Some(opening.opener),
            resolved: false,
            watermark: None,
            overtaken: false,
            backlog: Backlog::default(),
            from_the_beginning: false,
            type_name: opening.type_name,
            over: HashMap::new(),
        }
    }

    /// The type that its topics' values are to be of, where they are of this one instead.
    pub(super) fn wants_another(&self, has: Option<TypeName>) -> Option<TypeName> {
        self.type_name.filter(|wanted| has.is_some_and(|has| has != *wanted))
    }
}
