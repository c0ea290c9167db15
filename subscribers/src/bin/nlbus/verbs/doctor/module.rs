//! Whether the kernel module serves this network namespace, and if not, whether it could.

use super::finding::Finding;
use super::look::{self, Fact, as_root};
use nix::errno::Errno;
use nlbus::{Bus, Choice, ConnectError, Info};
use nlbus_subscribers::holders::MODULE;
use std::path::Path;

pub struct Facts {
    /// What the module says of itself, by its generic netlink family.
    pub answer: Result<Info, ConnectError>,
    /// Whether sysfs has it.
    pub is_loaded: bool,
    /// What modprobe would load: its version.
    pub installed: Fact<String>,
    /// Its version and its taints, as sysfs has them.
    pub version: Fact<String>,
    pub taint: Fact<String>,
}

impl Facts {
    pub fn read() -> Facts {
        let module = Path::new(MODULE);
        let connect = || Bus::builder().broker(Choice::Module).connect();
        Facts {
            // A bus that can't say what it is, has just gone.
            answer: connect().and_then(|bus| bus.info().map_err(|_| absent())),
            is_loaded: module.exists(),
            installed: look::output("modinfo", &["-F", "version", "nlbus"]),
            version: look::file(module.join("version")),
            taint: look::file(module.join("taint")),
        }
    }

    /// Whether it is the broker here.
    pub fn is_serving(&self) -> bool {
        self.answer.is_ok()
    }

    /// Whether modprobe would find it.
    pub fn is_loadable(&self) -> bool {
        self.installed.is_ok()
    }

    pub fn findings(&self) -> Vec<Finding> {
        vec![self.finding()]
    }

    fn finding(&self) -> Finding {
        let version = self.version.as_deref().unwrap_or("of unknown version");
        match &self.answer {
            Ok(info) => {
                let taint = self.taint.as_deref().unwrap_or_default();
                let taint = if taint.is_empty() { "".into() } else { format!("; taints the kernel: {taint}") };
                Finding::ok(
                    "module",
                    format!(
                        "nlbus {version} serves this network namespace: netlink protocol {}, protocol version {}{taint}",
                        info.protocol, info.version
                    ),
                )
            }
            Err(ConnectError::Refused(refusal)) if refusal.errno == Errno::ESHUTDOWN => Finding::problem(
                "module",
                format!(
                    "nlbus {version} is loaded, and retired: it serves nobody, and its users wait for the next broker"
                ),
                as_root("nlbus module unload && nlbus module load"),
            ),
            Err(ConnectError::NoBroker { .. }) => self.absent(),
            Err(error @ ConnectError::Version { .. }) => Finding::problem(
                "module",
                error.to_string(),
                as_root("dkms autoinstall && nlbus module retire && nlbus module unload && nlbus module load"),
            ),
            Err(error) => Finding::problem("module", error.to_string(), "dmesg | grep nlbus"),
        }
    }

    /// It isn't needed where a user broker runs, and so nothing here is a problem.
    fn absent(&self) -> Finding {
        match &self.installed {
            _ if self.is_loaded => Finding::warning(
                "module",
                "nlbus is loaded, and doesn't answer in this network namespace; it is just being loaded or removed",
                "nlbus doctor",
            ),
            Ok(version) => Finding::warning(
                "module",
                format!("nlbus {version} is installed, and not loaded"),
                as_root("modprobe nlbus"),
            ),
            Err(why) if why.starts_with("can't run") => {
                Finding::skipped("module", format!("nlbus is not loaded; {why}"))
            }
            Err(_) => Finding::warning(
                "module",
                "nlbus is neither loaded nor installed for this kernel; the remedy is for a checkout of its sources",
                format!("make kmod KDIR=/lib/modules/$(uname -r)/build && {}", as_root("insmod target/kmod/nlbus.ko")),
            ),
        }
    }
}

fn absent() -> ConnectError {
    ConnectError::NoBroker { choice: Choice::Module, port: 0 }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;
    use nlbus::{BrokerKind, Refusal};

    #[test]
    fn each_state_of_the_module_has_its_remedy() {
        let retired = || ConnectError::Refused(Refusal::new(Errno::ESHUTDOWN, "the module is retired"));
        let other = || ConnectError::Version { broker: BrokerKind::Module, found: 9 };
        for (answer, is_loaded, installed, status, remedy) in [
            (Ok(Info::default()), true, Ok("0.1.0"), Status::Ok, ""),
            (Err(retired()), true, Ok("0.1.0"), Status::Problem, "module unload"),
            (Err(other()), true, Ok("0.1.0"), Status::Problem, "dkms"),
            (Err(absent()), true, Ok("0.1.0"), Status::Warning, "nlbus doctor"),
            (Err(absent()), false, Ok("0.1.0"), Status::Warning, "modprobe nlbus"),
            (Err(absent()), false, Err("modinfo: not found"), Status::Warning, "make kmod"),
            (Err(absent()), false, Err("can't run modinfo"), Status::Skipped, ""),
        ] {
            let installed = installed.map(str::to_owned).map_err(str::to_owned);
            let facts = Facts { answer, is_loaded, installed, version: Ok("0.1.0".into()), taint: Ok("OE".into()) };
            let finding = &facts.findings()[0];
            assert_eq!(finding.status, status, "{finding:?}");
            assert!(finding.remedy.as_deref().unwrap_or_default().contains(remedy), "{finding:?}");
            assert_eq!(finding.remedy.is_none(), remedy.is_empty(), "{finding:?}");
        }
    }
}
