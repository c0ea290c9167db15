//! The guide's table of errors: the texts in it are the ones that programs really print.

use std::fs;
use std::path::Path;

/// The sources of a folder as one text, in which string literals that go over several lines are one line.
fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let mut lines = fs::read_to_string(&path).unwrap().replace("\\\"", "\"");
            while let Some(at) = lines.find("\\\n") {
                let rest = lines.split_off(at);
                lines.push_str(rest[2..].trim_start());
            }
            text.push_str(&lines);
        }
    }
}

#[test]
fn the_errors_of_the_guide_are_those_that_programs_print() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = fs::read_to_string(root.join("../docs/guide.md")).unwrap();
    let (_, table) = guide.split_once("## From error to remedy").unwrap();
    let errors: Vec<&str> = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(errors.len() > 10, "{errors:?}");
    let mut text = String::new();
    sources(&root.join("src"), &mut text);
    sources(&root.join("../subscribers/src"), &mut text);
    let unknown: Vec<_> = errors.iter().filter(|error| !text.contains(**error)).collect();
    assert!(unknown.is_empty(), "nowhere in the sources: {unknown:#?}");
}
