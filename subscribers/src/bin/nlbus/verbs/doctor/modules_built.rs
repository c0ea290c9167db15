//! Whether the module can be built for the running kernel, and may then be loaded: DKMS, headers, signatures. All of it is
//! beside the point where the module is there already.

use super::finding::Finding;
use super::look::{self, Fact, as_root};
use std::path::Path;

pub struct Facts {
    /// Whether the module is loaded, or installed for this kernel.
    pub is_there: bool,
    pub release: Fact<String>,
    /// What `dkms status nlbus` prints.
    pub dkms: Fact<String>,
    /// Whether what modules are built with is there.
    pub headers: bool,
    /// `/sys/kernel/security/lockdown`: what is in force stands in brackets.
    pub lockdown: Fact<String>,
    /// `module.sig_enforce`: Y where unsigned modules are refused.
    pub sig_enforce: Fact<String>,
    /// `kernel.modules_disabled`: 1 where none is loaded until the next boot.
    pub modules_disabled: Fact<String>,
}

impl Facts {
    pub fn read(is_there: bool) -> Facts {
        let release = look::release();
        let build = format!("/lib/modules/{}/build/Makefile", release.as_deref().unwrap_or("-"));
        Facts {
            is_there,
            headers: Path::new(&build).exists(),
            release,
            dkms: look::output("dkms", &["status", "nlbus"]),
            lockdown: look::file("/sys/kernel/security/lockdown"),
            sig_enforce: look::file("/sys/module/module/parameters/sig_enforce"),
            modules_disabled: look::file("/proc/sys/kernel/modules_disabled"),
        }
    }

    pub fn findings(&self) -> Vec<Finding> {
        let Ok(release) = &self.release else { return Vec::new() };
        vec![self.dkms(release), self.headers(release), self.loading()]
    }

    fn dkms(&self, release: &str) -> Finding {
        match &self.dkms {
            Err(why) => Finding::skipped("dkms", why),
            Ok(status) if status.is_empty() => Finding::skipped("dkms", "it doesn't know nlbus"),
            Ok(status) if is_installed(status, release) => {
                Finding::ok("dkms", format!("nlbus is installed for {release}"))
            }
            Ok(status) => Finding::warning(
                "dkms",
                format!("nlbus isn't installed for the running kernel {release}: {}", status.replace('\n', "; ")),
                as_root(&format!("dkms autoinstall -k {release}")),
            ),
        }
    }

    fn headers(&self, release: &str) -> Finding {
        match self.headers {
            true => Finding::ok("kernel headers", format!("those of {release} are there")),
            false if self.is_there => Finding::skipped("kernel headers", "the module is there, and need not be built"),
            false => Finding::warning(
                "kernel headers",
                format!("no /lib/modules/{release}/build: the module can't be built for the running kernel"),
                as_root(&format!("apt-get install linux-headers-{release}")),
            ),
        }
    }

    /// What keeps modules from being loaded.
    fn loading(&self) -> Finding {
        let check = "module loading";
        if self.modules_disabled.as_deref() == Ok("1") && !self.is_there {
            let what = "kernel.modules_disabled is 1: no module is loaded any more until the next boot";
            return Finding::warning(check, what, as_root("reboot"));
        }
        let locked = self.lockdown.as_ref().is_ok_and(|modes| !modes.is_empty() && !modes.contains("[none]"));
        let enforced = self.sig_enforce.as_deref() == Ok("Y");
        match (locked || enforced, &self.sig_enforce, &self.lockdown) {
            (true, ..) if self.is_there => Finding::ok(check, "the kernel takes signed modules only; nlbus is there"),
            (true, ..) => Finding::warning(
                check,
                "the kernel takes signed modules only (lockdown, as with Secure Boot, or module.sig_enforce): the key that DKMS \
                 signs with has to be enrolled, which the next boot asks for",
                as_root("mokutil --import /var/lib/dkms/mok.pub && reboot"),
            ),
            (false, Err(why), Err(also)) => {
                Finding::skipped(check, format!("whether modules must be signed: {why}; {also}"))
            }
            _ => Finding::ok(check, "the kernel takes modules that aren't signed"),
        }
    }
}

/// Whether a line like `nlbus/0.1.0, 6.1.0-47-amd64, x86_64: installed` is of this kernel (older DKMS: `nlbus, 0.1.0, …`).
fn is_installed(status: &str, release: &str) -> bool {
    status.lines().any(|line| {
        let Some((built, state)) = line.split_once(": ") else { return false };
        built.split(", ").any(|part| part == release) && state.starts_with("installed")
    })
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    fn host() -> Facts {
        Facts {
            is_there: false,
            release: Ok("6.1.0-47-amd64".into()),
            dkms: Err("can't run dkms".into()),
            headers: true,
            lockdown: Ok("[none] integrity confidentiality".into()),
            sig_enforce: Ok("N".into()),
            modules_disabled: Ok("0".into()),
        }
    }

    #[test]
    fn dkms_has_to_have_installed_it_for_the_running_kernel() {
        for (status, expected) in [
            ("nlbus/0.1.0, 6.1.0-47-amd64, x86_64: installed", Status::Ok),
            ("nlbus, 0.1.0, 6.1.0-47-amd64, x86_64: installed (WARNING! Diff)", Status::Ok),
            ("nlbus/0.1.0, 6.1.0-47-amd64, x86_64: built", Status::Warning),
            ("nlbus/0.1.0, 6.1.0-46-amd64, x86_64: installed", Status::Warning),
            ("nlbus/0.1.0: added", Status::Warning),
            ("", Status::Skipped),
        ] {
            let finding = Facts { dkms: Ok(status.into()), ..host() }.findings().remove(0);
            assert_eq!(finding.status, expected, "{status}: {finding:?}");
            assert_eq!(finding.remedy.is_some(), expected == Status::Warning);
        }
        assert_eq!(host().findings()[0].status, Status::Skipped);
    }

    #[test]
    fn without_headers_nothing_is_built() {
        let at = |headers, is_there| Facts { headers, is_there, ..host() }.findings().remove(1);
        assert_eq!(at(true, false).status, Status::Ok);
        assert_eq!(at(false, true).status, Status::Skipped);
        assert!(at(false, false).remedy.unwrap().contains("linux-headers-6.1.0-47-amd64"));
    }

    #[test]
    fn what_keeps_modules_out_is_told() {
        let loading = |facts: Facts| facts.findings().remove(2);
        let remedy = |facts| loading(facts).remedy.unwrap_or_default();
        let locked = || Ok("none [integrity] confidentiality".to_owned());
        assert_eq!(loading(host()).status, Status::Ok);
        assert!(remedy(Facts { lockdown: locked(), ..host() }).contains("mokutil"));
        assert!(remedy(Facts { sig_enforce: Ok("Y".into()), ..host() }).contains("mokutil"));
        assert!(remedy(Facts { modules_disabled: Ok("1".into()), ..host() }).contains("reboot"));
        assert_eq!(loading(Facts { lockdown: locked(), is_there: true, ..host() }).status, Status::Ok);
        let unknown = Facts { lockdown: Err("a".into()), sig_enforce: Err("b".into()), ..host() };
        assert_eq!(loading(unknown).status, Status::Skipped);
        assert_eq!(loading(Facts { lockdown: Err("a".into()), ..host() }).status, Status::Ok);
    }
}
