//! The kernel module: whether it is loaded, can be, and is built for this kernel.

use super::Finding;
use nix::sys::utsname::uname;
use nlbus_subscribers::holders::MODULE;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

/// What is so here.
#[derive(Debug, Clone)]
pub struct Facts {
    is_loaded: bool,
    /// Its protocol number, if it is loaded.
    protocol: Option<String>,
    release: String,
    /// Where modprobe would find it, if it would; why that can't be told.
    installed: Result<Option<String>, String>,
    /// What `dkms status` says of it, a line each; `None` without dkms.
    dkms: Option<Result<String, String>>,
    /// Whether modules can be built for this kernel here.
    has_headers: bool,
    /// Whether the kernel takes signed modules only, if that can be seen.
    signed_only: Option<bool>,
}

impl Facts {
    pub fn gather() -> Facts {
        let release = uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
        let read = |path: &str| fs::read_to_string(path).ok();
        let lockdown = read("/sys/kernel/security/lockdown").map(|modes| !modes.contains("[none]"));
        let enforced = read("/sys/module/module/parameters/sig_enforce").map(|value| value.trim() == "Y");
        Facts {
            is_loaded: Path::new(MODULE).exists(),
            protocol: read(&format!("{MODULE}/parameters/protocol")).map(|number| number.trim().to_owned()),
            installed: installed(),
            dkms: dkms(),
            has_headers: Path::new(&format!("/lib/modules/{release}/build")).exists(),
            signed_only: match (lockdown, enforced) {
                (None, None) => None,
                (lockdown, enforced) => Some(lockdown == Some(true) || enforced == Some(true)),
            },
            release,
        }
    }

    /// What that means, and whether there is another broker.
    pub fn findings(&self, has_broker: bool) -> Vec<Finding> {
        [Some(self.module(has_broker)), self.built(), self.signatures()].into_iter().flatten().collect()
    }

    fn module(&self, has_broker: bool) -> Finding {
        const CHECK: &str = "module";
        if self.is_loaded {
            let protocol = self.protocol.as_deref().unwrap_or("?");
            return Finding::ok(CHECK, format!("it is loaded, netlink protocol {protocol}"));
        }
        let instead = if has_broker { "; the user broker does its work" } else { "" };
        match &self.installed {
            Ok(Some(path)) => Finding::warning(
                CHECK,
                format!("it isn't loaded, and is installed: {path}{instead}"),
                "as root: modprobe nlbus",
            ),
            Ok(None) => Finding::warning(
                CHECK,
                format!("it isn't loaded, and isn't installed for Linux {}{instead}", self.release),
                "install nlbus-dkms; or from the sources: make kmod KDIR=/lib/modules/$(uname -r)/build && insmod \
                 target/kmod/nlbus.ko",
            ),
            Err(why) => Finding::skipped(
                CHECK,
                format!("it isn't loaded, and whether it is installed can't be told: {why}{instead}"),
            ),
        }
    }

    /// Whether DKMS has built it, where DKMS is there.
    fn built(&self) -> Option<Finding> {
        const CHECK: &str = "dkms";
        if self.is_loaded {
            return None;
        }
        let status = match self.dkms.as_ref()? {
            Ok(status) => status,
            Err(why) => return Some(Finding::skipped(CHECK, format!("dkms status failed: {why}"))),
        };
        let of_this_kernel = |line: &&str| line.contains(&self.release) && line.contains("installed");
        Some(if status.trim().is_empty() {
            Finding::skipped(CHECK, "it doesn't know nlbus")
        } else if let Some(line) = status.lines().find(of_this_kernel) {
            Finding::ok(CHECK, line.trim().to_owned())
        } else if self.has_headers {
            let what = format!("nlbus isn't built for Linux {}", self.release);
            Finding::warning(CHECK, what, format!("as root: dkms autoinstall -k {}", self.release))
        } else {
            let what = format!("nlbus isn't built for Linux {}, whose headers are missing", self.release);
            let release = &self.release;
            let remedy = format!("as root: apt-get install linux-headers-{release} && dkms autoinstall -k {release}");
            Finding::warning(CHECK, what, remedy)
        })
    }

    fn signatures(&self) -> Option<Finding> {
        if self.is_loaded || self.signed_only != Some(true) {
            return None;
        }
        Some(Finding::warning(
            "signature",
            "this kernel takes signed modules only (Secure Boot, or lockdown)",
            "as root: mokutil --import /var/lib/dkms/mok.pub, start the machine anew and enrol the key",
        ))
    }
}

/// Where modprobe would find the module.
fn installed() -> Result<Option<String>, String> {
    match Command::new("modinfo").args(["-F", "filename", "nlbus"]).output() {
        Ok(output) if output.status.success() => {
            Ok(Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()).filter(|path| !path.is_empty()))
        }
        Ok(_) => Ok(None),
        Err(error) if is_absent(&error) => Err("modinfo isn't there; install kmod".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether there is no such program, or none in those folders of PATH that this user may look into.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
}

fn dkms() -> Option<Result<String, String>> {
    match Command::new("dkms").args(["status", "nlbus"]).output() {
        Ok(output) if output.status.success() => Some(Ok(String::from_utf8_lossy(&output.stdout).into_owned())),
        Ok(output) => Some(Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        Err(error) if is_absent(&error) => None,
        Err(error) => Some(Err(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::doctor::Status;

    fn facts() -> Facts {
        let release = "6.1.0-44-amd64".into();
        let (installed, dkms, signed_only) = (Ok(None), None, None);
        Facts { is_loaded: false, protocol: None, release, installed, dkms, has_headers: false, signed_only }
    }

    fn found(facts: &Facts) -> Vec<(&'static str, Status, String)> {
        let findings = facts.findings(true).into_iter();
        findings.map(|found| (found.check, found.status, found.remedy.unwrap_or(found.what))).collect()
    }

    #[test]
    fn a_loaded_module_needs_nothing() {
        let loaded = Facts {
            is_loaded: true,
            protocol: Some("25".into()),
            signed_only: Some(true),
            dkms: Some(Ok(String::new())),
            ..facts()
        };
        assert_eq!(found(&loaded), [("module", Status::Ok, "it is loaded, netlink protocol 25".to_owned())]);
    }

    #[test]
    fn one_that_is_missing_is_got_from_where_it_can_be() {
        for (facts, word) in [
            (facts(), "nlbus-dkms"),
            (Facts { installed: Ok(Some("/lib/modules/x/nlbus.ko".into())), ..facts() }, "modprobe nlbus"),
        ] {
            let seen = found(&facts);
            assert!(matches!(&seen[..], [("module", Status::Warning, remedy)] if remedy.contains(word)), "{seen:?}");
        }
        assert_eq!(found(&Facts { installed: Err("x".into()), ..facts() })[0].1, Status::Skipped);
    }

    #[test]
    fn dkms_has_it_for_this_kernel_or_is_to_build_it() {
        let with = |status: &str, has_headers| Facts { dkms: Some(Ok(status.into())), has_headers, ..facts() };
        let built = found(&with("nlbus/0.1.0, 6.1.0-44-amd64, x86_64: installed\n", true));
        assert_eq!(built[1].1, Status::Ok);
        let other = "nlbus/0.1.0, 6.1.0-43-amd64, x86_64: installed\n";
        assert!(found(&with(other, true))[1].2.contains("dkms autoinstall"), "another kernel's");
        assert!(found(&with(other, false))[1].2.contains("linux-headers-6.1.0-44-amd64"));
        assert_eq!(found(&with("", true))[1].1, Status::Skipped);
        assert_eq!(found(&Facts { dkms: Some(Err("broken".into())), ..facts() })[1].1, Status::Skipped);
    }

    #[test]
    fn signatures_matter_while_it_is_to_be_loaded() {
        assert!(found(&Facts { signed_only: Some(true), ..facts() })[1].2.contains("mokutil"));
        assert_eq!(found(&Facts { signed_only: Some(false), ..facts() }).len(), 1);
    }
}
