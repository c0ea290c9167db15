//! Manual pages and completions: there is one for all that can be run, and what reads them finds nothing wrong.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// All programs of this package but the command itself.
const PROGRAMS: [&str; 8] = [
    env!("CARGO_BIN_EXE_nlbus-exec"),
    env!("CARGO_BIN_EXE_nlbus-exporter"),
    env!("CARGO_BIN_EXE_nlbus-journal"),
    env!("CARGO_BIN_EXE_nlbus-links"),
    env!("CARGO_BIN_EXE_nlbus-log"),
    env!("CARGO_BIN_EXE_nlbus-nats"),
    env!("CARGO_BIN_EXE_nlbus-proc"),
    env!("CARGO_BIN_EXE_nlbus-uevent"),
];

const NLBUS: &str = env!("CARGO_BIN_EXE_nlbus");

fn output(program: &str, args: &[&str]) -> String {
    let Output { status, stdout, stderr } = Command::new(program).args(args).output().unwrap();
    assert!(status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

fn name(program: &str) -> &str {
    Path::new(program).file_name().unwrap().to_str().unwrap()
}

/// The verbs that `nlbus --help` lists.
pub fn verbs() -> Vec<String> {
    let help = output(NLBUS, &["--help"]);
    let verbs = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // What has no room beside its verb stands below it, further to the right.
    let verbs = verbs.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    verbs.filter(|verb| *verb != "help").map(str::to_owned).collect()
}

/// Has man(1) show a page, and returns that. It must have nothing to complain of.
fn shown(path: &Path) -> String {
    let mut man = Command::new("man");
    man.args(["--warnings", "-l"]).arg(path).env("LC_ALL", "C.UTF-8").env("MANWIDTH", "1000").env("MANPAGER", "cat");
    let Output { status, stdout, stderr } = man.output().expect("man, of the package man-db");
    assert!(status.success() && stderr.is_empty(), "{}: {}", path.display(), String::from_utf8_lossy(&stderr));
    let text = String::from_utf8(stdout).unwrap();
    for heading in ["NAME", "SYNOPSIS", "DESCRIPTION", "ENVIRONMENT", "EXIT STATUS"] {
        assert!(text.lines().any(|line| line == heading), "{} has no {heading}:\n{text}", path.display());
    }
    text
}

#[test]
fn each_verb_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    output(NLBUS, &["man", "--dir", folder.path().join("new").to_str().unwrap()]);
    let page = |name: &str| shown(&folder.path().join("new").join(format!("{name}.1")));
    let top = page("nlbus");
    let verbs = verbs();
    assert!(verbs.len() >= 9, "{verbs:?}");
    for verb in verbs {
        let text = page(&format!("nlbus-{verb}"));
        assert!(text.contains(&format!("nlbus-{verb} - ")), "{text}");
        assert!(top.contains(&format!("nlbus-{verb}(1)")), "{top}");
    }
    assert!(page("nlbus-topic-create").contains("--history"));
    let pages = fs::read_dir(folder.path().join("new")).unwrap();
    for path in pages.map(|entry| entry.unwrap().path()) {
        shown(&path);
        assert!(!path.ends_with("nlbus-man.1"), "it is hidden");
    }
}

#[test]
fn each_program_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    for program in PROGRAMS {
        let path = folder.path().join(name(program));
        fs::write(&path, output(program, &["--generate", "man"])).unwrap();
        let text = shown(&path);
        assert!(text.contains(&format!("{} - ", name(program))), "{text}");
        assert!(text.contains("NLBUS_LOG") && text.contains("NOTES"), "{text}");
        assert!(!output(program, &["--help"]).contains("--generate"));
    }
}

/// What bash offers when the last of these words is to be completed.
fn offered(program: &str, script: &str, words: &[&str]) -> Vec<String> {
    let name = name(program);
    let line = format!(
        "{script}\nCOMP_WORDS=({name} {}); COMP_CWORD={}; \
         \"$(complete -p {name} | grep -o '_[^ ]* ' | head -n 1 | tr -d ' ')\" {name} '{}' '{}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.join(" "),
        words.len(),
        words.last().unwrap(),
        words.iter().nth_back(1).unwrap_or(&name),
    );
    let mut bash = Command::new("bash").arg("-s").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
    let output = bash.wait_with_output().unwrap();
    let mut offered: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    offered.sort_unstable();
    offered
}

#[test]
fn bash_completes_verbs_options_and_values() {
    let script = output(NLBUS, &["completions", "bash"]);
    let offered = |words: &[&str]| offered(NLBUS, &script, words);
    assert_eq!(offered(&["to"]), ["top", "topic", "topics"]);
    for verb in verbs() {
        assert!(offered(&[&verb[..2]]).contains(&verb), "{verb}");
        assert!(offered(&[&verb, "--h"]).contains(&"--help".into()), "{verb}");
    }
    assert_eq!(offered(&["topic", "cr"]), ["create"]);
    assert_eq!(offered(&["sub", "--time"]), ["--timeout", "--timestamps"]);
    assert_eq!(offered(&["pub", "--content", "j"]), ["json"]);
}

#[test]
fn each_program_has_completions() {
    for program in PROGRAMS {
        let script = output(program, &["--generate", "bash"]);
        assert_eq!(offered(program, &script, &["--vers"]), ["--version"], "{program}");
        for shell in ["zsh", "fish"] {
            assert!(output(program, &["--generate", shell]).contains(name(program)), "{program} {shell}");
        }
    }
}
