//! What scripts rely on, byte for byte: output, errors, exit statuses, help. `UPDATE_EXPECT=1` writes the files anew that these
//! are compared with; what differs each time is in angle brackets there.

use crate::host::{Host, on_a_host};
use expect_test::expect_file;
use regex::Regex;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use tempfile::tempdir;

/// What differs from one run to the next, and what stands for it.
const VARYING: [(&str, &str); 10] = [
    (r"(?m)^(port|publish port|request port)( +)\d+$", "$1$2<port>"),
    (r"(?m)^(epoch|uptime)( +).+$", "$1$2<varies>"),
    (r#""(epoch|time_ns|portid|pid|publish_port|request_port)":\d+"#, "\"$1\":<varies>"),
    (r#"("counters":\{)[^}]*\}"#, "$1<vary>}"),
    (r"(?m)^(counter [a-z ]+?)( +)\d+$", "$1$2<varies>"),
    (r"(at|with) port \d+", "$1 port <port>"),
    // What the kernel lets this user have, and whether a replay was asked for twice.
    (r"(?m)^(limit queue +)\d+$", "$1<varies>"),
    (r#""(queue|replayed)":\d+"#, "\"$1\":<varies>"),
    (r"(?m)^( +\d+(?: +\d+){7} +)\d+(  0)", "$1<varies>$2"),
    (r"/tmp/[^ '/]+/", "<folder>/"),
];

fn redacted(text: &str) -> String {
    let redact =
        |text: String, (what, with): &(&str, &str)| Regex::new(what).unwrap().replace_all(&text, *with).into_owned();
    VARYING.iter().fold(text.to_owned(), redact)
}

/// Runs lines of shell one after the other, and shows them with what they print and how they end.
fn session(host: &Host, lines: &[&str]) -> String {
    let mut shown = String::new();
    for line in lines {
        let ended = host.shell(line).end();
        let _ = writeln!(shown, "$ {line}");
        for output in &ended.output {
            let _ = writeln!(shown, "{output}");
        }
        for note in &ended.notes {
            let _ = writeln!(shown, "<stderr> {note}");
        }
        match ended.code {
            Some(0) => {}
            code => drop(writeln!(shown, "<status> {}", code.map_or("none".into(), |code| code.to_string()))),
        }
    }
    redacted(&shown)
}

#[test]
fn output_errors_and_statuses_are_what_scripts_rely_on() {
    on_a_host(|host| {
        let _broker = host.broker();
        let shown = session(
            host,
            &[
                "nlbus topic create sensors/1 --mode 0644 --owner 0 --group 0 --history 64KiB --type Reading",
                "nlbus pub sensors/1 21.5 --ack",
                "nlbus pub sensors/1 '{\"celsius\": 22}' --content json --ack",
                "printf 'one\\ntwo\\n' | nlbus pub 'a line' --lines",
                "printf '\\377\\000' | nlbus pub bytes",
                "nlbus sub sensors/1 'a line' bytes --start all --count 5 2> /dev/null | sort",
                "nlbus sub sensors/1 --start all --count 2 --json",
                "nlbus sub bytes --start last --count 1 --json",
                "nlbus sub sensors/1 --start last=2 --count 1 --raw",
                "nlbus sub nothing --timeout 100ms --count 2",
                "nlbus topics 'sensors/#'",
                "nlbus topics 'sensors/#' --json",
                "nlbus info",
                "nlbus info --json",
                "nlbus topic set sensors/1 --mode 0600 --type ''",
                "nlbus topic set sensors/1",
                "nlbus topic rm sensors/1",
                "nlbus topic rm sensors/1",
                "nlbus topic set '$SYS/topics' --mode 0666",
                "nlbus pub '$SYS/x' y",
                "nlbus pub a/+ y",
                "nlbus sub 'a#b'",
                "nlbus sub 'a/#' --start seq=3",
                "nlbus sub new --start seq=3 --count 1",
                "NLBUS_PORT=1 nlbus info",
                "NLBUS_BROKER=kernel nlbus info",
                "NLBUS_BROKER=module nlbus info",
                "nlbus play /etc/passwd",
                "nlbus broker",
            ],
        );
        expect_file!["expected/session.txt"].assert_eq(&shown);
    });
}

/// The names of all verbs, as their pages have them: `topic-create`, say.
fn verbs(host: &Host) -> Vec<String> {
    let folder = tempdir().unwrap();
    host.nlbus(&["man", folder.path().to_str().unwrap()]).succeeds();
    let pages = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let verb = |page: String| {
        page.strip_suffix(".1").unwrap().strip_prefix("nlbus").unwrap().trim_start_matches('-').to_owned()
    };
    let mut verbs: Vec<_> = pages.map(verb).collect();
    verbs.sort();
    verbs
}

#[test]
fn help_is_there_for_every_verb() {
    on_a_host(|host| {
        let mut shown = String::new();
        for verb in verbs(host) {
            let words: Vec<_> = verb.split('-').filter(|word| !word.is_empty()).chain(["--help"]).collect();
            let help = host.nlbus(&words).succeeds();
            assert!(!help.iter().any(|line| line.contains('\x1b')), "colours that nobody sees: {help:?}");
            let _ = writeln!(shown, "$ nlbus {}\n{}\n", words.join(" "), help.join("\n"));
        }
        expect_file!["expected/help.txt"].assert_eq(&shown);
    });
}

#[test]
fn pages_are_well_formed() {
    on_a_host(|host| {
        let folder = tempdir().unwrap();
        host.nlbus(&["man", folder.path().to_str().unwrap()]).succeeds();
        for page in fs::read_dir(folder.path()).unwrap() {
            let page = page.unwrap().path();
            let groff = Command::new("groff").args(["-man", "-ww", "-z", "-Tutf8"]).arg(&page).output();
            let groff = groff.expect("groff is needed: apt-get install groff-base (scripts/need programs)");
            let said = String::from_utf8_lossy(&groff.stderr);
            assert!(groff.status.success() && said.is_empty(), "{}: {said}", page.display());
            let text = fs::read_to_string(&page).unwrap();
            assert!(["SH NAME", "SH SYNOPSIS", "SH ENVIRONMENT", "EXIT STATUS"].iter().all(|part| text.contains(part)));
        }
    });
}

/// What bash offers where the last of these words is being typed.
fn completed(host: &Host, words: &[&str]) -> Vec<String> {
    let at = words.len() - 1;
    let line = format!(
        "nlbus completions bash > \"$0\"; . \"$0\"; COMP_WORDS=({}); COMP_CWORD={at}; _nlbus nlbus '{}' '{}'; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.join(" "),
        words[at],
        words[at - 1]
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut bash = host.command("bash");
    let line = format!("nlbus() {{ '{}' \"$@\"; }}; {line}", env!("CARGO_BIN_EXE_nlbus"));
    let output = bash.args(["-c", &line]).arg(file.path()).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_verbs_options_and_values() {
    on_a_host(|host| {
        assert_eq!(completed(host, &["nlbus", "re"]), ["record"]);
        assert_eq!(completed(host, &["nlbus", "topic", "cr"]), ["create"]);
        assert_eq!(completed(host, &["nlbus", "sub", "--ov"]), ["--overflow"]);
        assert!(completed(host, &["nlbus", "sub", "--overflow", "drop"]).contains(&"drop-oldest".to_owned()));
        for shell in ["zsh", "fish"] {
            let script = host.nlbus(&["completions", shell]).succeeds().join("\n");
            assert!(script.contains("record") && script.contains("drop-oldest"), "{shell}");
        }
    });
}

#[test]
fn colours_are_for_terminals_and_for_who_wants_them() {
    on_a_host(|host| {
        // script(1) gives it a terminal.
        let coloured = |variables: &str| {
            let line = format!(
                "{variables} script -qec \"$(command -v env) '{}' doctor\" /dev/null",
                env!("CARGO_BIN_EXE_nlbus")
            );
            host.shell(&line).end().output.iter().any(|line| line.contains("\x1b["))
        };
        assert!(coloured("TERM=xterm"));
        assert!(!coloured("TERM=xterm NO_COLOR=1") && !coloured("TERM=dumb"));
    });
}
