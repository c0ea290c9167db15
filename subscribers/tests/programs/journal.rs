//! `nlbus-journal`: what it writes to a real journal, a private one, is found by the journal's own reader.

use crate::host::{Host, Running, on_a_host};
use nlbus::Content;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const JOURNAL: &str = env!("CARGO_BIN_EXE_nlbus-journal");

/// systemd-journald in a mount namespace of its own, with a folder of ours as its /run.
struct Journald {
    folder: TempDir,
    process: Child,
}

impl Journald {
    fn start() -> Journald {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("run/log/journal")).unwrap();
        fs::create_dir_all(folder.path().join("run/systemd/journal")).unwrap();
        fs::create_dir_all(folder.path().join("log")).unwrap();
        let process = Journald::spawn(folder.path());
        Journald { folder, process }
    }

    fn spawn(folder: &Path) -> Child {
        const SCRIPT: &str =
            "mount --make-rprivate / && mount --bind \"$0/run\" /run && mount --bind \"$0/log\" /var/log &&
            for path in /usr/lib/systemd/systemd-journald /lib/systemd/systemd-journald; do
                [ -x $path ] && exec $path; done; echo 'no systemd-journald: install the package systemd' >&2; exit 1";
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", SCRIPT]).arg(folder).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap();
        let socket = folder.join("run/systemd/journal/socket");
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::os::unix::net::UnixDatagram::unbound().unwrap().send_to(&[], &socket).is_err() {
            assert!(Instant::now() < deadline, "no journald at {}", socket.display());
            std::thread::yield_now();
        }
        process
    }

    fn restart(&mut self) {
        self.process = Journald::spawn(self.folder.path());
    }

    fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn socket(&self) -> String {
        self.folder.path().join("run/systemd/journal/socket").display().to_string()
    }

    /// What journalctl finds, once there are so many entries.
    fn find(&self, matching: &str, count: usize) -> Vec<Value> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let mut command = Command::new("journalctl");
            let output =
                command.args(["-o", "json", "--all", "--directory"]).arg(self.machine()).arg(matching).output();
            let output = output.expect("journalctl, of the package systemd");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let entries: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            if entries.len() >= count {
                return entries;
            }
            assert!(Instant::now() < deadline, "{matching}: {entries:#?} {output:?}");
        }
    }

    /// The folder that is named after the machine.
    fn machine(&self) -> std::path::PathBuf {
        let mut machines = fs::read_dir(self.folder.path().join("run/log/journal")).unwrap();
        machines.next().expect("a journal").unwrap().path()
    }
}

impl Drop for Journald {
    fn drop(&mut self) {
        self.stop();
    }
}

fn start(host: &Host, journald: &Journald, args: &[&str]) -> Running {
    host.service(JOURNAL, &[&["--socket", &journald.socket()], args].concat())
}

#[test]
fn the_journals_reader_finds_the_fields() {
    on_a_host(|host| {
        let _broker = host.broker();
        let journald = Journald::start();
        let journal = start(host, &journald, &["--priority", "notice", "--identifier", "bus"]);
        let bus = host.connect();
        bus.publish_content_acked("x", Content::Text, "21.5 °C").unwrap();
        bus.publish_acked("x", "two\nlines = 2").unwrap();
        bus.publish_acked("x", b"\x00\xff\n\x01").unwrap();
        bus.publish_acked("large", &vec![b'L'; 60_000]).unwrap();
        journal.signal("TERM");
        journal.succeeds();
        let entries = journald.find("NLBUS_TOPIC=x", 3);
        assert_eq!(entries.len(), 3, "{entries:#?}");
        let first = &entries[0];
        for (field, value) in [
            ("MESSAGE", "21.5 °C"),
            ("PRIORITY", "5"),
            ("SYSLOG_IDENTIFIER", "bus"),
            ("NLBUS_TOPIC", "x"),
            ("NLBUS_SEQ", "1"),
            ("NLBUS_ORIGIN", "user"),
            ("NLBUS_CONTENT", "text"),
            ("NLBUS_PID", &std::process::id().to_string()),
            ("_COMM", "nlbus-journal"),
        ] {
            assert_eq!(first[field], value, "{field}: {first:#}");
        }
        assert!(first["NLBUS_TIME_NS"].as_str().unwrap().parse::<u64>().unwrap() > 0, "{first:#}");
        assert_eq!(entries[1]["MESSAGE"], "two\nlines = 2");
        // journalctl prints bytes as numbers.
        assert_eq!(entries[2]["NLBUS_PAYLOAD"], serde_json::json!([0, 255, 10, 1]), "{:#}", entries[2]);
        assert_eq!(entries[2]["MESSAGE"], "\\x00\\xff\\n\\x01");
        assert_eq!(journald.find("NLBUS_TOPIC=large", 1)[0]["MESSAGE"].as_str().unwrap().len(), 60_000);
    });
}

#[test]
fn a_journal_that_is_away_is_waited_for() {
    on_a_host(|host| {
        let _broker = host.broker();
        let mut journald = Journald::start();
        let mut journal = start(host, &journald, &["x"]);
        let bus = host.connect();
        bus.publish_acked("x", "before").unwrap();
        journald.find("NLBUS_SEQ=1", 1);
        journald.stop();
        for _ in 0..3 {
            bus.publish_acked("x", "meanwhile").unwrap();
        }
        while !journal.next_note().contains("the journal is away") {}
        journald.restart();
        let entries = journald.find("NLBUS_TOPIC=x", 4);
        let numbers: Vec<_> = entries.iter().map(|entry| entry["NLBUS_SEQ"].as_str().unwrap()).collect();
        assert_eq!(numbers, ["1", "2", "3", "4"]);
    });
}

#[test]
fn a_journal_that_does_not_read_puts_the_end_off_for_a_while_only() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        let args = ["--socket", path.to_str().unwrap(), "x"];
        let bus = host.connect();
        let more_than_it_holds = || {
            for _ in 0..2000 {
                bus.publish("x", &[b'x'; 1000]).unwrap();
            }
            bus.flush().unwrap();
        };
        let journal = host.service(JOURNAL, &args);
        more_than_it_holds();
        journal.signal("TERM");
        let ended = journal.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.notes.last().unwrap().contains("the journal doesn't read"), "{ended:?}");
        // One that reads in time gets all that was published before the signal.
        let journal = host.service(JOURNAL, &args);
        more_than_it_holds();
        journal.signal("TERM");
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (mut buffer, newest) = ([0; 4096], bus.topic("x").unwrap().unwrap().head);
        let newest = format!("NLBUS_SEQ={newest}\n");
        loop {
            let length = socket.recv(&mut buffer).unwrap();
            if String::from_utf8_lossy(&buffer[..length]).contains(&newest) {
                break;
            }
        }
        journal.succeeds();
    });
}

#[test]
fn without_a_journal_it_says_so() {
    on_a_host(|host| {
        let args = ["--socket", "/no/such/socket"];
        let error = Running::start(host.command(JOURNAL).args(args), &args).fails(1);
        assert!(error.contains("no journal listens at /no/such/socket") && error.contains("Start it"), "{error}");
        let args = ["--priority", "loud"];
        assert_eq!(Running::start(host.command(JOURNAL).args(args), &args).end().code, Some(2));
    });
}
