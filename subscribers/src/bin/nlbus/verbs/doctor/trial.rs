//! Whether an event that is published here arrives here.

use super::finding::Finding;
use nix::errno::Errno;
use nlbus::{Bus, Delivery, SubscribeReason};
use nlbus_subscribers::connect;
use std::time::Duration;

/// How long the broker and the kernel may take for each step.
const PATIENCE: Duration = Duration::from_secs(2);

pub struct Facts {
    /// Whether the broker took the event.
    pub published: Result<(), String>,
    pub heard: Result<(), Deaf>,
}

/// Why the event wasn't heard.
#[derive(Debug)]
pub enum Deaf {
    /// The kernel doesn't let this process join groups.
    MayNot,
    /// Anything else.
    Because(String),
    /// There was none.
    NonePublished,
}

impl Facts {
    pub fn read() -> Facts {
        let bus = connect::builder().ok().and_then(|builder| builder.patience(PATIENCE).connect().ok());
        bus.map_or_else(
            || Facts { published: Err("the broker is gone".into()), heard: Err(Deaf::NonePublished) },
            |bus| try_out(&bus),
        )
    }

    pub fn findings(&self) -> Vec<Finding> {
        let published = match &self.published {
            Ok(()) => Finding::ok("publish", "the broker took an event"),
            Err(why) => Finding::problem("publish", why, "nlbus info"),
        };
        let heard = match &self.heard {
            Ok(()) => Finding::ok("subscribe", "it arrived"),
            Err(Deaf::NonePublished) => Finding::skipped("subscribe", "there was no event to hear of"),
            Err(Deaf::MayNot) => Finding::problem(
                "subscribe",
                "the kernel doesn't let this process join a user broker's groups, which takes CAP_NET_ADMIN; it has that as root, \
                 and so has whoever is inside one 'unshare -Urn' together with the broker",
                "sudo -E nlbus doctor",
            ),
            Err(Deaf::Because(why)) => Finding::problem("subscribe", why, "nlbus info --clients"),
        };
        vec![published, heard]
    }
}

/// Publishes to a topic that only this process has asked for, and deletes it.
fn try_out(bus: &Bus) -> Facts {
    let topic = format!("$doctor/{}", std::process::id());
    // Before, for it is the way of a live event that is of interest.
    let subscription = bus.subscribe(&topic);
    let published = bus.publish_acked(&topic, "nlbus doctor").map(drop).map_err(|error| error.to_string());
    let heard = match subscription {
        _ if published.is_err() => Err(Deaf::NonePublished),
        Err(error) if matches!(error.reason(), SubscribeReason::Join(Errno::EPERM)) => Err(Deaf::MayNot),
        Err(error) => Err(Deaf::Because(error.to_string())),
        Ok(mut subscription) => match subscription.recv_timeout(PATIENCE) {
            Ok(Delivery::Event(_)) => Ok(()),
            Ok(other) => Err(Deaf::Because(format!("in place of the event came {other:?}"))),
            Err(error) => Err(Deaf::Because(format!("the event didn't arrive: {error}"))),
        },
    };
    if published.is_ok() {
        // A broker that is gone has no topics either.
        let _ = bus.delete_topic(&topic);
    }
    Facts { published, heard }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    #[test]
    fn what_does_not_arrive_is_a_problem_told_once() {
        let why = || "full".to_owned();
        for (published, heard, statuses) in [
            (Ok(()), Ok(()), [Status::Ok, Status::Ok]),
            (Err(why()), Err(Deaf::NonePublished), [Status::Problem, Status::Skipped]),
            (Ok(()), Err(Deaf::MayNot), [Status::Ok, Status::Problem]),
            (Ok(()), Err(Deaf::Because(why())), [Status::Ok, Status::Problem]),
        ] {
            let findings = Facts { published, heard }.findings();
            assert_eq!([findings[0].status, findings[1].status], statuses, "{findings:?}");
        }
    }
}
