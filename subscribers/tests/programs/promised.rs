//! What scripts and people read of the command, byte for byte: output, errors, exit statuses and help texts. What differs from run
//! to run is replaced. After a change that is meant, `INSTA_UPDATE=always cargo test -p nlbus-subscribers promised` writes the
//! files in snapshots/ anew, for review.

use crate::host::{Host, in_a_network_of_its_own};
use crate::pages::verbs;
use std::process::Stdio;

const NLBUS: &str = env!("CARGO_BIN_EXE_nlbus");

/// What differs from run to run, and what stands in its place. The queue is a receive buffer, as large as the kernel allows.
const FILTERS: [(&str, &str); 8] = [
    (r#""(time_ns|portid|pid|epoch)":\d+"#, r#""$1":[N]"#),
    (r"(?m)^(epoch|uptime|publish port|request port|limit queue|counter \w+( \w+)*)  ( *)\S+.*$", "$1  $3[N]"),
    (r#""(publish_port|request_port|queue)":\d+"#, r#""$1":[N]"#),
    (r#""counters":\{[^}]*\}"#, r#""counters":{[N]}"#),
    (r"at port \d+", "at port [N]"),
    (r"with port \d+", "with port [N]"),
    (r"epoch (is now )?\d+", "epoch $1[N]"),
    (r"(?m)^\d{4}-\d\d-\d\dT[0-9:.]+Z ", "[TIME] "),
];

/// A transcript of commands on one bus.
struct Transcript<'a> {
    host: &'a Host,
    text: String,
}

impl Transcript<'_> {
    fn run(&mut self, args: &[&str]) {
        self.run_with(args, &[]);
    }

    fn run_with(&mut self, args: &[&str], variables: &[(&str, &str)]) {
        let mut command = self.host.command(NLBUS);
        let output = command.args(args).envs(variables.iter().copied()).stdin(Stdio::null()).output().unwrap();
        for (name, value) in variables {
            self.text += &format!("{name}={value} ");
        }
        self.text += &format!("nlbus {}\n", args.join(" "));
        for (stream, bytes) in [("stdout", output.stdout), ("stderr", output.stderr)] {
            if !bytes.is_empty() {
                self.text += &format!("--- {stream}\n{}", String::from_utf8(bytes).unwrap());
            }
        }
        self.text += &format!("--- status {}\n\n", output.status.code().unwrap());
    }
}

/// Compares with snapshots/NAME.snap what a transcript on a bus of its own has.
fn compare(name: &'static str, play: impl FnOnce(&mut Transcript<'_>) + Send) {
    in_a_network_of_its_own(|host| {
        let mut transcript = Transcript { host, text: String::new() };
        play(&mut transcript);
        snapshot(name, &transcript.text);
    });
}

fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (pattern, replacement) in FILTERS {
        settings.add_filter(pattern, replacement);
    }
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn events_are_printed_as_text_and_as_json() {
    compare("events", |transcript| {
        let _broker = transcript.host.broker();
        transcript.run(&["pub", "a/b", "hello", "--count", "2", "--ack"]);
        transcript.run(&["pub", "a b", "two\nlines", "--content", "opaque"]);
        transcript.run(&["pub", "a/b", r#"{"a":1}"#, "--content", "json", "--ack", "-q"]);
        transcript.run(&["sub", "a/b", "--start", "all", "--count", "3"]);
        transcript.run(&["sub", "a b", "--start", "last", "--count", "1"]);
        transcript.run(&["sub", "a b", "--start", "last", "--count", "1", "--raw"]);
        transcript.run(&["sub", "a b", "--start", "last", "--count", "1", "--timestamps"]);
        transcript.run(&["sub", "a b", "--start", "last", "--count", "1", "--json"]);
        transcript.run(&["sub", "a/b", "--start", "all", "--count", "3", "--json"]);
        transcript.run(&["sub", "a/b", "--start", "all", "--overflow", "latest", "--count", "1", "--json"]);
    });
}

#[test]
fn bytes_that_are_no_text_are_base64_in_json() {
    compare("bytes", |transcript| {
        let _broker = transcript.host.broker();
        transcript.host.nlbus_reads(&["pub", "x"], b"\xff\0".to_vec()).succeeds();
        transcript.run(&["sub", "x", "--start", "last", "--count", "1"]);
        transcript.run(&["sub", "x", "--start", "last", "--count", "1", "--json"]);
    });
}

#[test]
fn losses_are_told_in_line() {
    compare("losses", |transcript| {
        let _broker = transcript.host.broker();
        transcript.run(&["topic", "create", "x", "--history", "0"]);
        transcript.run(&["pub", "x", "hi", "--count", "5"]);
        transcript.run(&["sub", "x", "--start", "seq=1", "--count", "1"]);
        transcript.run(&["sub", "x", "--start", "seq=1", "--count", "1", "--json"]);
        transcript.run(&["sub", "x", "--start", "seq=1", "--count", "1", "--fail-on-loss"]);
    });
}

#[test]
fn restarts_are_told_in_line() {
    compare("restarts", |transcript| {
        let broker = transcript.host.broker();
        let (mut text, mut json) =
            (transcript.host.sub(&["x", "--count", "1"]), transcript.host.sub(&["x", "--json", "--count", "1"]));
        broker.signal("TERM");
        broker.end();
        let _broker = transcript.host.broker();
        transcript.text = format!("{}\n{}\n", text.next_note(), json.next_line());
        transcript.run(&["pub", "x", "after"]);
        transcript.text += &format!("{}\n{}\n", text.succeeds().join("\n"), json.succeeds().join("\n"));
    });
}

#[test]
fn topics_are_listed_and_changed() {
    compare("topics", |transcript| {
        let _broker = transcript.host.broker();
        transcript.run(&["pub", "a b/c", "hello", "--count", "2"]);
        transcript.run(&["topic", "create", "x", "--mode", "0640", "--history", "64KiB"]);
        transcript.run(&["topic", "create", "x", "--mode", "0600"]);
        transcript.run(&["topic", "set", "x", "--mode", "622"]);
        transcript.run(&["topics", "+/#"]);
        transcript.run(&["topics", "+/#", "--json"]);
        transcript.run(&["topics", "y"]);
        transcript.run(&["topics", "y", "--json"]);
        transcript.run(&["topic", "rm", "x"]);
    });
}

#[test]
fn the_broker_is_described() {
    compare("info", |transcript| {
        let _broker = transcript.host.broker();
        transcript.run(&["info"]);
        transcript.run(&["info", "--json"]);
    });
}

#[test]
fn errors_are_one_line_with_a_remedy() {
    compare("errors", |transcript| {
        transcript.run(&["info"]);
        transcript.run_with(&["pub", "x", "hi"], &[("NLBUS_BROKER", "auto")]);
        transcript.run_with(&["sub", "x"], &[("NLBUS_BROKER", "module")]);
        transcript.run(&["sub", "x", "--wait", "--timeout", "1ms"]);
        let _broker = transcript.host.broker();
        transcript.run(&["broker"]);
        transcript.run(&["sub", "x", "--timeout", "1ms"]);
        transcript.run(&["sub", "x", "--count", "2", "--timeout", "1ms"]);
        transcript.run(&["sub", "x", "--start", "seq=9"]);
        transcript.run(&["pub", "$SYS/x", "hi"]);
        transcript.run(&["pub", "$SYS/x", "hi", "-q"]);
        transcript.run(&["topic", "rm", "x"]);
        transcript.run(&["topic", "set", "$SYS/topics", "--mode", "0666"]);
        transcript.run(&["topic", "create", "x", "--history", "1TiB"]);
        transcript.run(&["man", "--dir", "/proc/nowhere"]);
    });
}

#[test]
fn wrong_usage_says_what_would_be_right() {
    compare("usage", |transcript| {
        for args in [
            &[][..],
            &["publish"],
            &["pub"],
            &["pub", "a/+", "hi"],
            &["pub", "", "hi"],
            &["pub", "x", "hi", "--count", "0"],
            &["pub", "x", "hi", "--lines"],
            &["pub", "x", "hi", "--interval", "soon"],
            &["pub", "x", "hi", "--content", "xml"],
            &["sub"],
            &["sub", "a#"],
            &["sub", "x", "--json", "--raw"],
            &["sub", "x", "--start", "first"],
            &["sub", "x/#", "--start", "seq=3"],
            &["sub", "x", "--overflow", "oldest"],
            &["sub", "x", "--capacity", "0"],
            &["broker", "--port", "0"],
            &["broker", "--port", "4294967295"],
            &["topic"],
            &["topic", "set", "x"],
            &["topic", "set", "x", "--mode", "0755"],
            &["topic", "set", "x", "--owner", "no such user"],
            &["completions", "tcsh"],
        ] {
            transcript.run(args);
        }
        for (name, value) in [("NLBUS_BROKER", "kernel"), ("NLBUS_PORT", "x"), ("NLBUS_BROKER_UID", "root")] {
            transcript.run_with(&["info"], &[(name, value)]);
        }
    });
}

/// A verb that is new has no snapshot yet, and fails here until it has.
#[test]
fn help_texts_are_as_they_were_reviewed() {
    in_a_network_of_its_own(|host| {
        let help = |args: &[&str]| {
            let mut transcript = Transcript { host, text: String::new() };
            transcript.run(args);
            snapshot(&args.join("_").replace("--", ""), &transcript.text);
        };
        help(&["--help"]);
        for verb in verbs() {
            help(&[&verb, "--help"]);
        }
        for (verb, subs) in [("topic", &["create", "set", "rm"][..]), ("module", &["load", "retire", "unload"])] {
            for sub in subs {
                help(&[verb, sub, "--help"]);
            }
        }
    });
}

/// What a program prints on a terminal that script(1) plays.
fn on_a_terminal(host: &Host, program: &str, args: &str, variables: &[(&str, &str)]) -> String {
    let mut command = host.command("script");
    command.args(["-qec", &format!("'{program}' {args}"), "/dev/null"]).stdin(Stdio::null());
    command.env_remove("NO_COLOR").env("TERM", "xterm").envs(variables.iter().copied());
    String::from_utf8(command.output().expect("script, of the package bsdutils").stdout).unwrap()
}

#[test]
fn colours_are_for_terminals_that_may_have_them() {
    in_a_network_of_its_own(|host| {
        let _broker = host.broker();
        assert!(on_a_terminal(host, NLBUS, "--help", &[]).contains('\x1b'), "no colours at all");
        for args in ["pub", "--help", "pub --help", "doctor", "info", "topics", "topic rm x", "sub x --timeout 1ms"] {
            for plain in [("NO_COLOR", "1"), ("TERM", "dumb")] {
                let text = on_a_terminal(host, NLBUS, args, &[plain, ("CI", "true")]);
                assert!(!text.is_empty() && !text.contains('\x1b'), "{args} with {plain:?}: {text:?}");
            }
            let piped = host.command(NLBUS).args(args.split(' ')).env("TERM", "xterm").output().unwrap();
            assert!(!piped.stdout.contains(&0x1b) && !piped.stderr.contains(&0x1b), "{args}: {piped:?}");
        }
    });
}

#[test]
fn the_programs_logs_are_coloured_for_such_terminals_only() {
    in_a_network_of_its_own(|host| {
        let log = |variables: &[(&str, &str)]| {
            on_a_terminal(host, env!("CARGO_BIN_EXE_nlbus-proc"), "--wait 50ms", variables)
        };
        assert!(log(&[]).contains('\x1b'), "no colours at all");
        for plain in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let text = log(&[plain]);
            assert!(text.contains("waiting") && !text.contains('\x1b'), "with {plain:?}: {text:?}");
        }
    });
}
