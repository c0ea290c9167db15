//! Any texts, as filter and as topic's name: nothing panics, and filters match what MQTT 5 section 4.7 says, which is
//! written here once more, level by level.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nlbus::Filter;

fn matches(filter: &[&str], name: &[&str]) -> bool {
    match (filter.split_first(), name.split_first()) {
        (Some((&"#", _)), _) => true,
        (Some((&"+", filter)), Some((_, name))) => matches(filter, name),
        (Some((level, filter)), Some((first, name))) => level == first && matches(filter, name),
        (None, None) => true,
        _ => false,
    }
}

fuzz_target!(|texts: (&str, &str)| {
    let (filter, name) = texts;
    let Ok(parsed) = Filter::new(filter) else { return };
    assert_eq!(parsed.as_str(), filter);
    if name.is_empty() || name.len() > 255 || name.contains(['+', '#', '\0']) {
        return;
    }
    let (filters, names): (Vec<&str>, Vec<&str>) = (filter.split('/').collect(), name.split('/').collect());
    let hidden = name.starts_with('$') && (filter.starts_with('+') || filter.starts_with('#'));
    assert_eq!(parsed.matches(name), matches(&filters, &names) && !hidden, "{filter:?} and {name:?}");
});
