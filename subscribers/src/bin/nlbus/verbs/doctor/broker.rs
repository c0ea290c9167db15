//! Whether there is a user broker, whose it is, and which broker this process would use.

use super::finding::Finding;
use netlink_sys::protocols::NETLINK_USERSOCK;
use nlbus::wire::uapi::NLBUS_USER_PORT;
use nlbus::{BrokerKind, Bus, Choice, ConnectError, Info};
use nlbus_subscribers::clients::clients;
use nlbus_subscribers::connect;
use nlbus_subscribers::end::End;

pub struct Facts {
    /// Whether the module serves this network namespace, where no user broker should be.
    pub module_serves: bool,
    /// Where a user broker would be.
    pub port: u32,
    /// What answers there.
    pub user: Result<Info, ConnectError>,
    /// Process id and command of who has that port, as far as this user may see that.
    pub holder: Option<(i32, String)>,
    /// What this process gets, as its environment says; `None` where that names no broker.
    pub chosen: Result<Info, Unusable>,
}

/// Why this process gets no broker.
#[derive(Debug)]
pub enum Unusable {
    /// The environment is wrong.
    Environment(String),
    Connect(ConnectError),
}

impl Facts {
    pub fn read(module_serves: bool) -> Facts {
        let port = connect::port().ok().flatten().unwrap_or(NLBUS_USER_PORT);
        let holder = clients(NETLINK_USERSOCK as u32).unwrap_or_default();
        let holder = holder.into_iter().find(|client| client.socket.portid == port);
        let user = connect::builder_or(Some(Choice::User), Some(port));
        let user = user.unwrap_or_else(|_| Bus::builder().broker(Choice::User).port(port));
        Facts {
            module_serves,
            port,
            user: ask(user),
            holder: holder.and_then(|client| client.process),
            chosen: match connect::builder() {
                Ok(builder) => ask(builder).map_err(Unusable::Connect),
                Err(End::Usage(line) | End::Failed(line)) => Err(Unusable::Environment(line)),
                Err(_) => Err(Unusable::Environment("the environment names no broker".into())),
            },
        }
    }

    /// The broker that this process would use.
    pub fn reached(&self) -> Option<&Info> {
        self.chosen.as_ref().ok()
    }

    pub fn findings(&self) -> Vec<Finding> {
        vec![self.user(), self.chosen()]
    }

    fn user(&self) -> Finding {
        let check = "user broker";
        let who = self.holder.as_ref().map_or_else(
            || "a process that this user can't see".into(),
            |(pid, command)| format!("process {pid} ({command})"),
        );
        match &self.user {
            Ok(info) => Finding::ok(
                check,
                format!(
                    "at port {}: {who}, who is believed; protocol version {}, epoch {}",
                    self.port, info.version, info.epoch
                ),
            ),
            Err(ConnectError::NoBroker { .. }) => Finding::skipped(check, format!("none is at port {}", self.port)),
            Err(error) => {
                let what = format!("{who} has its port: {error}");
                match self.module_serves {
                    // Nobody looks for it.
                    true => Finding::warning(check, what, self.remedy(error)),
                    false => Finding::problem(check, what, self.remedy(error)),
                }
            }
        }
    }

    fn remedy(&self, error: &ConnectError) -> String {
        let pid = self.holder.as_ref().map_or("PID".into(), |(pid, _)| pid.to_string());
        match error {
            ConnectError::Silent { .. } => format!("kill -CONT {pid}"),
            ConnectError::Untrusted { uid: Some(uid), .. } => format!("export NLBUS_BROKER_UID={uid}"),
            ConnectError::NoBroker { choice: Choice::Module, .. } => "modprobe nlbus".into(),
            ConnectError::NoBroker { .. } => "nlbus broker &".into(),
            _ if self.module_serves => "nlbus doctor".into(),
            _ => format!("kill {pid} && nlbus broker &"),
        }
    }

    fn chosen(&self) -> Finding {
        let check = "broker";
        match &self.chosen {
            Ok(info) if info.broker == BrokerKind::Module => Finding::ok(check, "this process uses the module"),
            Ok(info) => Finding::ok(check, format!("this process uses the user broker at port {}", info.publish_port)),
            Err(Unusable::Environment(line)) => {
                let variable = line.split(' ').next().unwrap_or_default();
                Finding::problem(check, line, format!("unset {variable}"))
            }
            Err(Unusable::Connect(ConnectError::NoBroker { choice, port })) => {
                let what = match choice {
                    Choice::Module => "NLBUS_BROKER asks for the module, which isn't loaded".into(),
                    Choice::User => format!("no user broker runs at port {port} in this network namespace"),
                    _ => format!(
                        "neither is the module loaded nor runs a user broker at port {port} in this network namespace"
                    ),
                };
                let error = ConnectError::NoBroker { choice: *choice, port: *port };
                Finding::problem(check, what, self.remedy(&error))
            }
            // It stands above, with its remedy.
            Err(Unusable::Connect(_)) => Finding::skipped(check, "this process gets none, for the reason above"),
        }
    }
}

fn ask(builder: nlbus::Builder) -> Result<Info, ConnectError> {
    let bus = builder.connect()?;
    // One that can't say what it is any more, has just gone.
    bus.info().map_err(|_| ConnectError::NoBroker { choice: Choice::Auto, port: bus_port() })
}

fn bus_port() -> u32 {
    connect::port().ok().flatten().unwrap_or(NLBUS_USER_PORT)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    fn facts(error: fn() -> ConnectError) -> Facts {
        Facts {
            module_serves: false,
            port: 7,
            user: Err(error()),
            holder: Some((42, "nlbus".into())),
            chosen: Err(Unusable::Connect(error())),
        }
    }

    #[test]
    fn each_user_broker_that_does_not_serve_has_its_remedy() {
        let absent = || ConnectError::NoBroker { choice: Choice::Auto, port: 7 };
        let silent = || ConnectError::Silent { broker: BrokerKind::User };
        let untrusted = || ConnectError::Untrusted { port: 7, uid: Some(997) };
        let other = || ConnectError::Version { broker: BrokerKind::User, found: 9 };
        let stranger = || ConnectError::NotABroker { why: "no attributes" };
        for (error, remedy) in [
            (silent as fn() -> ConnectError, "kill -CONT 42"),
            (untrusted, "export NLBUS_BROKER_UID=997"),
            (other, "kill 42 && nlbus broker &"),
            (stranger, "kill 42 && nlbus broker &"),
        ] {
            let findings = facts(error).findings();
            assert_eq!(findings[0].status, Status::Problem, "{findings:?}");
            assert_eq!(findings[0].remedy.as_deref(), Some(remedy));
            assert!(findings[0].what.contains("process 42 (nlbus)"), "{findings:?}");
            assert_eq!(findings[1].status, Status::Skipped, "told once: {findings:?}");
            let beside = Facts { module_serves: true, ..facts(error) }.findings();
            assert_eq!(beside[0].status, Status::Warning, "{beside:?}");
        }
        let none = facts(absent).findings();
        assert_eq!((none[0].status, none[1].status), (Status::Skipped, Status::Problem));
        assert_eq!(none[1].remedy.as_deref(), Some("nlbus broker &"));
    }

    #[test]
    fn what_the_environment_asks_for_is_judged() {
        let absent = || ConnectError::NoBroker { choice: Choice::Module, port: 7 };
        assert_eq!(facts(absent).findings()[1].remedy.as_deref(), Some("modprobe nlbus"));
        let wrong = Unusable::Environment("NLBUS_PORT is 'x': not a number".into());
        let wrong = Facts { chosen: Err(wrong), ..facts(absent) }.findings();
        assert_eq!(wrong[1].remedy.as_deref(), Some("unset NLBUS_PORT"));
        let found = Facts { user: Ok(Info::default()), chosen: Ok(Info::default()), ..facts(absent) }.findings();
        assert!(found.iter().all(|finding| finding.status == Status::Ok), "{found:?}");
    }
}
