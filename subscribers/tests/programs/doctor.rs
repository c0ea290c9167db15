//! `nlbus doctor`: each lack is named, and what it says mends it.

use crate::command::json;
use crate::host::{Ended, Host, Running, on_a_host};
use nix::unistd::geteuid;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::{TempDir, tempdir};

/// What it found at a check.
fn found<'a>(findings: &'a [Value], check: &str) -> &'a Value {
    findings.iter().find(|finding| finding["check"] == check).unwrap_or_else(|| panic!("{check}: {findings:?}"))
}

fn findings(ended: &Ended) -> Vec<Value> {
    ended.output.iter().map(|line| json(line)).collect()
}

fn doctor(host: &Host) -> Ended {
    host.nlbus(&["doctor", "--json"]).end()
}

#[test]
fn without_a_broker_it_says_how_to_get_one_and_that_works() {
    on_a_host(|host| {
        let without = doctor(host);
        assert!(without.code == Some(1) && without.notes[0].ends_with("mend it as said above"), "{without:?}");
        let findings = findings(&without);
        let broker = found(&findings, "broker");
        assert_eq!(broker["status"], "problem");
        assert_ne!(found(&findings, "module")["status"], "ok", "{findings:?}");
        let remedy = broker["remedy"].as_str().unwrap();
        assert!(remedy.starts_with("nlbus broker --port "), "{remedy}");
        let _broker: Running = host.shell(remedy.trim_end_matches('&'));
        let start = Instant::now();
        let mended = loop {
            let ended = doctor(host);
            if ended.code == Some(0) || start.elapsed() > Duration::from_secs(30) {
                break ended;
            }
            thread::yield_now();
        };
        assert_eq!(mended.code, Some(0), "{mended:?}");
        let findings = self::findings(&mended);
        assert!(
            found(&findings, "broker")["what"].as_str().unwrap().contains("the user broker at port"),
            "{findings:?}"
        );
        assert_eq!(found(&findings, "sockets")["status"], "ok");
        // As text, in lines without colours: this is no terminal.
        let text = host.nlbus(&["doctor"]).succeeds();
        assert!(text[0].starts_with("ok       broker     the user broker at port "), "{text:?}");
        assert!(!text.iter().any(|line| line.contains('\x1b')), "{text:?}");
    });
}

/// The command where anybody may run it, and the folder that it is in.
fn for_anybody() -> (TempDir, PathBuf) {
    let folder = tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let command = folder.path().join("nlbus");
    fs::copy(env!("CARGO_BIN_EXE_nlbus"), &command).unwrap();
    (folder, command)
}

/// A line of shell as nobody, in which `nlbus` is the command.
fn as_nobody(host: &Host, command: &Path, line: &str) -> Ended {
    let mut setpriv = host.command("setpriv");
    let path = format!("PATH={}:/usr/bin:/bin:/usr/sbin:/sbin", command.parent().unwrap().display());
    setpriv.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "env", &path, "sh", "-c", line]);
    Running::start(setpriv.current_dir("/"), &[line]).end()
}

#[test]
fn an_ordinary_user_is_told_what_he_lacks_and_how_to_do_without() {
    if !geteuid().is_root() {
        return;
    }
    on_a_host(|host| {
        let (_folder, command) = for_anybody();
        let _broker = host.broker();
        let plain = as_nobody(host, &command, "nlbus doctor --json");
        assert_eq!(plain.code, Some(1), "{plain:?}");
        let findings = findings(&plain);
        let subscribe = found(&findings, "subscribe");
        assert_eq!(subscribe["status"], "problem");
        assert!(subscribe["what"].as_str().unwrap().contains("CAP_NET_ADMIN"), "{subscribe}");
        let remedy = subscribe["remedy"].as_str().unwrap();
        assert!(remedy.contains("unshare -Urn sh -c 'nlbus broker & …'"), "{remedy}");
        // Whatever becomes of the broker at the end, it goes with the namespace's init.
        let line = "unshare -Urn --kill-child --fork --pid --mount-proc sh -c \
            'nlbus broker > /dev/null & until nlbus info > /dev/null 2>&1; do :; done; nlbus doctor --json'";
        let mended = as_nobody(host, &command, line);
        let findings = self::findings(&mended);
        assert_eq!(found(&findings, "subscribe")["status"], "ok", "{mended:?}");
        assert_eq!(found(&findings, "broker")["status"], "ok", "{mended:?}");
    });
}

/// Puts it back when the test is over.
struct ReceiveBuffer(String);

const RMEM_MAX: &str = "/proc/sys/net/core/rmem_max";

impl ReceiveBuffer {
    fn limit_to(bytes: u64) -> Option<ReceiveBuffer> {
        let before = fs::read_to_string(RMEM_MAX).ok()?;
        fs::write(RMEM_MAX, bytes.to_string()).ok()?;
        Some(ReceiveBuffer(before))
    }
}

impl Drop for ReceiveBuffer {
    fn drop(&mut self) {
        let _ = fs::write(RMEM_MAX, &self.0);
    }
}

#[test]
fn small_receive_buffers_are_named_and_made_large() {
    if !geteuid().is_root() {
        return;
    }
    on_a_host(|host| {
        let (_folder, command) = for_anybody();
        // No sockets of root's are bound by it, so no other test is.
        let Some(_limit) = ReceiveBuffer::limit_to(212_992) else { return };
        let small = findings(&as_nobody(host, &command, "nlbus doctor --json"));
        let small = found(&small, "rmem_max");
        assert_eq!(small["status"], "warning");
        assert!(small["what"].as_str().unwrap().contains("212992"), "{small}");
        let remedy = small["remedy"].as_str().unwrap();
        let setting = remedy.strip_prefix("as root: sysctl -w net.core.rmem_max=").unwrap().split(';').next().unwrap();
        // What sysctl(8) does, which a small machine may lack.
        fs::write(RMEM_MAX, setting).unwrap();
        let large = findings(&as_nobody(host, &command, "nlbus doctor --json"));
        assert_eq!(found(&large, "rmem_max")["status"], "ok", "{large:?}");
    });
}
