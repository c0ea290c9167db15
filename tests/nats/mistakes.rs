//! What is wrong in the file or the arguments is said in one line that names it, and how to mend it.

use crate::host::Host;
use crate::servers::Servers;
use nlbus_tests::cases;
use std::fs;
use std::time::Duration;

cases![a_mistake_in_the_file_is_named, a_mistake_in_the_arguments_is_named, a_state_file_that_isnt_one_stays_as_it_is];

const END: Duration = Duration::from_secs(30);

/// Asserts that a bridge ends with this status and one line, which has all these words; else says what it did instead.
fn ends_with(host: &Host, args: &[String], code: i32, words: &[&str]) -> Result<(), String> {
    let mut program = host.start("nlbus-nats", args);
    let Some(status) = program.ended(END) else { return Err(format!("it runs: {:#?}", program.said())) };
    let said = program.said();
    match &said[..] {
        [line] if status.code() == Some(code) && words.iter().all(|word| line.contains(word)) => Ok(()),
        _ => Err(format!("{status}, not {code} with the words {words:?}: {said:#?}")),
    }
}

fn a_mistake_in_the_file_is_named() {
    // Only its namespace and folder are wanted.
    let servers = Servers::none();
    let host = Host::new("a", 1);
    let folder = servers.folder();
    fs::create_dir(folder.join("folder")).expect("a folder");
    let out = "[[out]]\ntopics = [\"a/#\"]\n";
    let durable = format!("{out}durable = \"S\"\n");
    let cases: &[(&str, &str, i32, &[&str])] = &[
        ("", "", 2, &["no rule", "--out"]),
        ("host = \"a\"\n", "", 2, &["no rule"]),
        ("colour = \"red\"\n", out, 2, &["line 1", "colour"]),
        ("", "[[out]]\ntopics = [\"a\"]\nfliters = 1\n", 2, &["line 3", "fliters"]),
        ("", "[[out]]\n", 2, &["topics"]),
        ("", "[[out]]\ntopics = []\n", 2, &["out1", "no topics"]),
        ("", "[[out]]\ntopics = [\"a/#/b\"]\n", 2, &["out1", "a/#/b"]),
        ("", "[[out]]\ntopics = [\"a b\"]\n", 2, &["a b", "white space"]),
        ("", "[[out]]\ntopics = [\"$SYS/#\"]\n", 2, &["$SYS/#", "prefix"]),
        ("", "[[out]]\ntopics = [\"a\"]\nprefix = \"a..b\"\n", 2, &["prefix", "a..b"]),
        ("", "[[out]]\ntopics = [\"a\"]\nprefix = \"a.*\"\n", 2, &["prefix", "a.*"]),
        ("", "[[out]]\ntopics = [\"a\"]\nexclude = [\"#/a\"]\n", 2, &["exclude", "#/a"]),
        ("", "[[in]]\nsubjects = []\n", 2, &["in1", "no subjects"]),
        ("", "[[in]]\nsubjects = [\"a..b\"]\n", 2, &["in1", "a..b"]),
        ("", "[[in]]\nsubjects = [\"a.>.b\"]\n", 2, &["in1", "a.>.b"]),
        ("", "[[in]]\nsubjects = [\"a b\"]\n", 2, &["in1", "a b"]),
        ("", "[[in]]\nsubjects = [\"a.>\", \"a.b\"]\n", 2, &["in1", "a.>", "a.b", "twice"]),
        ("", "[[in]]\nsubjects = [\"a\"]\nprefix = \"$SYS\"\n", 2, &["prefix", "$SYS"]),
        ("", "[[in]]\nsubjects = [\"a\"]\nprefix = \"a/+\"\n", 2, &["prefix", "a/+"]),
        ("", "[[in]]\nsubjects = [\"a\"]\nstrip = \"a.>\"\n", 2, &["strip", "a.>"]),
        ("", "[[in]]\nsubjects = [\"a\"]\nstart = \"later\"\n", 2, &["line 3", "later"]),
        ("", &durable, 2, &["out1", "durable", "--state"]),
        ("state = \"{folder}/state\"\n", "[[out]]\ntopics = [\"a\"]\ndurable = \"a.b\"\n", 2, &["a.b", "stream"]),
        ("state = \"{folder}/state\"\n", &format!("{durable}[streams.S]\nreplicas = \"x\"\n"), 2, &["line 6", "\"x\""]),
        ("state = \"{folder}/state\"\n", &format!("{durable}[streams.S]\nmax_age = \"long\"\n"), 2, &["line 6", "90s"]),
        (
            "state = \"{folder}/state\"\n",
            &format!("{durable}[streams.S]\nmax_bytes = \"much\"\n"),
            2,
            &["line 6", "64MiB"],
        ),
        ("state = \"{folder}/state\"\n", &format!("{durable}[streams.T]\nsubjects = [\"a\"]\n"), 2, &["T"]),
        ("state = \"{folder}/none/state\"\n", &durable, 1, &["none/state", "--state"]),
        ("state = \"{folder}/folder\"\n", &durable, 1, &["folder", "--state"]),
        ("host = \"\"\n", out, 2, &["host", "empty"]),
        ("host = \"a/b\"\n", out, 2, &["a/b", "--host"]),
        ("host = \"a b\"\n", out, 2, &["a b", "--host"]),
        ("servers = [\"http://x:1\"]\n", out, 2, &["http://x:1", "nats://host:4222"]),
        ("servers = [\"nats://x:port\"]\n", out, 2, &["nats://x:port", "nats://host:4222"]),
        ("metrics = \"9854\"\n", out, 2, &["line 1", "address"]),
        ("", &format!("[auth]\nuser = \"u\"\n{out}"), 2, &["password"]),
        ("", &format!("[auth]\nnkey = \"x\"\ncredentials = \"y\"\n{out}"), 2, &["nkey", "credentials"]),
        ("", &format!("[tls]\ncert = \"x\"\n{out}"), 2, &["key"]),
        ("this is no TOML", "", 2, &["line 1"]),
    ];
    let mut wrong = Vec::new();
    for (top, rules, status, words) in cases {
        let file = folder.join("bridge.toml");
        let text = format!("{top}{rules}").replace("{folder}", &folder.display().to_string());
        fs::write(&file, &text).expect("to write the file");
        if let Err(why) = ends_with(&host, &["--config".into(), file.display().to_string()], *status, words) {
            wrong.push(format!("{text}{why}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn a_mistake_in_the_arguments_is_named() {
    let servers = Servers::none();
    let host = Host::new("a", 1);
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    for (line, status, expected) in [
        ("--config /none/bridge.toml", 1, "/none/bridge.toml"),
        ("--out a/# --durable S", 2, "--state"),
        ("--out a/#/b", 2, "a/#/b"),
        ("--in a..b", 2, "a..b"),
    ] {
        ends_with(&host, &words(line), status, &[expected]).unwrap_or_else(|why| panic!("{line}: {why}"));
    }
    // Nobody is to have a bridge that only seems to serve its metrics.
    let taken = servers.folder().join("taken.toml");
    fs::write(&taken, "metrics = \"192.0.2.1:9854\"\n[[out]]\ntopics = [\"a\"]\n").expect("to write the file");
    ends_with(&host, &["--config".into(), taken.display().to_string()], 1, &["192.0.2.1:9854"]).unwrap();
}

fn a_state_file_that_isnt_one_stays_as_it_is() {
    let servers = Servers::none();
    let host = Host::new("a", 1);
    let (file, state) = (servers.folder().join("bridge.toml"), servers.folder().join("state"));
    fs::write(&file, format!("state = {state:?}\n[[out]]\ntopics = [\"a/#\"]\ndurable = \"S\"\n"))
        .expect("to write the file");
    for bytes in [&b"precious"[..], b"{}", b"[]", b"{\"id\":\"../..\",\"out\":1}", b"\xff\xfe", b""] {
        fs::write(&state, bytes).expect("to write the state");
        ends_with(&host, &["--config".into(), file.display().to_string()], 1, &["no state file"]).unwrap();
        assert_eq!(fs::read(&state).expect("the state"), bytes);
    }
}
