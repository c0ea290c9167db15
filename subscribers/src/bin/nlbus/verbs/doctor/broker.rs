//! Whether a broker is there that this process would use, and answers.

use super::Finding;
use nlbus::{BrokerKind, ConnectError, Info};
use nlbus_subscribers::connect;
use nlbus_subscribers::end::End;

const CHECK: &str = "broker";

/// What came of connecting.
pub struct Facts(Result<Info, Failure>);

enum Failure {
    Connect(ConnectError),
    Ask(String),
}

impl Facts {
    /// Connects as any program would, and asks what the broker says of itself.
    ///
    /// # Errors
    /// When the environment names no broker.
    pub fn gather() -> Result<Facts, End> {
        let bus = connect::builder()?.connect();
        Ok(Facts(bus.map_err(Failure::Connect).and_then(|bus| {
            let info = bus.info();
            info.map_err(|error| Failure::Ask(error.to_string()))
        })))
    }

    /// Which broker it is, if one answers.
    pub fn kind(&self) -> Option<BrokerKind> {
        self.0.as_ref().ok().map(|info| info.broker)
    }

    /// The netlink protocol of its clients' sockets, if one answers.
    pub fn protocol(&self) -> Option<u32> {
        self.0.as_ref().ok().map(|info| info.protocol)
    }

    pub fn answers(&self) -> Finding {
        let error = match &self.0 {
            Ok(info) => {
                let who = match info.broker {
                    BrokerKind::Module => "the module".to_owned(),
                    _ => format!("the user broker at port {}", info.publish_port),
                };
                let topics = info.counters.topics;
                return Finding::ok(CHECK, format!("{who} answers, version {}, {topics} topics", info.version));
            }
            Err(Failure::Ask(error)) => return Finding::problem(CHECK, error, "end the broker and start it again"),
            Err(Failure::Connect(error)) => error,
        };
        let remedy = match error {
            ConnectError::NoBroker { choice: nlbus::Choice::Module, .. } => "modprobe nlbus".to_owned(),
            ConnectError::NoBroker { port, .. } => format!("nlbus broker --port {port} &"),
            ConnectError::Untrusted { uid: Some(uid), .. } => {
                format!("if that is your broker: export NLBUS_BROKER_UID={uid}")
            }
            ConnectError::Silent { .. } => "pkill -CONT -f 'nlbus broker'".to_owned(),
            ConnectError::Version { .. } => "install the same version of the broker and of this command".to_owned(),
            ConnectError::Refused(refusal) if refusal.errno == nix::errno::Errno::ESHUTDOWN => {
                "nlbus module unload && nlbus module load".to_owned()
            }
            _ => "see what is said of it".to_owned(),
        };
        // What the error proposes is what stands below it.
        let what = error.to_string();
        let what = what.split_once("; ").map_or(&*what, |(what, _)| what);
        Finding::problem(CHECK, what, remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::doctor::Status;
    use nlbus::Choice;

    #[test]
    fn each_failure_has_a_remedy_of_its_own() {
        for (error, word) in [
            (ConnectError::NoBroker { choice: Choice::Auto, port: 7 }, "nlbus broker --port 7"),
            (ConnectError::NoBroker { choice: Choice::Module, port: 7 }, "modprobe"),
            (ConnectError::Untrusted { port: 7, uid: Some(1000) }, "NLBUS_BROKER_UID=1000"),
            (ConnectError::Silent { broker: BrokerKind::User }, "-CONT"),
            (ConnectError::Version { broker: BrokerKind::User, found: 9 }, "same version"),
        ] {
            let finding = Facts(Err(Failure::Connect(error))).answers();
            assert_eq!(finding.status, Status::Problem);
            assert!(finding.remedy.as_ref().is_some_and(|remedy| remedy.contains(word)), "{finding:?}");
        }
        assert_eq!(Facts(Ok(Info::default())).answers().status, Status::Ok);
    }
}
