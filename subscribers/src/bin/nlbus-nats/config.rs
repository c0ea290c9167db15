//! What the bridge is to do: the file, and the arguments, which go before it.

use crate::Args;
use crate::login::{Login, Tls};
use crate::mapping::{self, check_subject};
use crate::origin::HOST_MAX;
use nlbus::Filter;
use nlbus_subscribers::end::End;
use nlbus_subscribers::values;
use serde::{Deserialize, Deserializer, de};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Stands in a prefix for the host's name.
const HOST: &str = "{host}";

/// What the bridge keeps on the local bus for itself. It never goes out, and filters that begin with a wildcard don't match it.
pub const OWN_TOPICS: &str = "$nlbus-nats";

/// A file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    host: Option<String>,
    servers: Vec<String>,
    state: Option<PathBuf>,
    metrics: Option<SocketAddr>,
    auth: Login,
    tls: Tls,
    out: Vec<OutEntry>,
    r#in: Vec<InEntry>,
    streams: BTreeMap<String, StreamEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OutEntry {
    name: Option<String>,
    topics: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
    prefix: Option<String>,
    durable: Option<String>,
    #[serde(default)]
    start: OutStart,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InEntry {
    name: Option<String>,
    subjects: Vec<String>,
    strip: Option<String>,
    prefix: Option<String>,
    durable: Option<String>,
    #[serde(default)]
    start: InStart,
    #[serde(default)]
    forward: bool,
}

/// Where a durable rule begins the first time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutStart {
    /// With what is published from now on.
    #[default]
    Live,
    /// With all that the local history has.
    All,
}

/// Where a durable rule begins the first time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InStart {
    /// With what comes into the stream from now on.
    #[default]
    New,
    /// With all that the stream has.
    All,
}

/// How to create a stream.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct StreamEntry {
    subjects: Vec<String>,
    replicas: Option<usize>,
    storage: Storage,
    #[serde(deserialize_with = "time")]
    max_age: Option<Duration>,
    #[serde(deserialize_with = "bytes")]
    max_bytes: Option<i64>,
    #[serde(deserialize_with = "time")]
    duplicate_window: Option<Duration>,
}

/// Where a stream is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// On disk.
    #[default]
    File,
    /// In memory.
    Memory,
}

fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    values::duration(&text).map(Some).map_err(|why| de::Error::custom(format!("a time, like 90s or 1day: {why}")))
}

fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    let text = String::deserialize(from)?;
    let size = values::size(&text).and_then(|size| i64::try_from(size).map_err(|error| error.to_string()));
    size.map(Some).map_err(|why| de::Error::custom(format!("a size, like 64MiB: {why}")))
}

/// What the bridge is to do, checked.
#[derive(Debug)]
pub struct Config {
    pub host: Arc<str>,
    pub servers: Vec<String>,
    pub state: Option<PathBuf>,
    pub metrics: Option<SocketAddr>,
    pub login: Login,
    pub tls: Tls,
    pub out: Vec<OutRule>,
    pub r#in: Vec<InRule>,
    pub streams: BTreeMap<String, StreamPlan>,
}

/// Local topics that go out.
#[derive(Debug, Clone)]
pub struct OutRule {
    pub name: String,
    pub topics: Vec<Filter>,
    pub exclude: Vec<Filter>,
    /// In front of the subject; empty, or with a dot behind it.
    pub prefix: String,
    /// The stream that they go to.
    pub durable: Option<String>,
    pub start: OutStart,
}

impl OutRule {
    /// Whether a topic goes out by this rule, unless one before it has it.
    pub fn matches(&self, topic: &str) -> bool {
        let is_one_of = |filters: &[Filter]| filters.iter().any(|filter| filter.matches(topic));
        is_one_of(&self.topics) && !is_one_of(&self.exclude)
    }
}

/// Subjects that come in.
#[derive(Debug, Clone)]
pub struct InRule {
    pub name: String,
    pub subjects: Vec<String>,
    /// Tokens that are taken off the front of the subject.
    pub strip: String,
    /// In front of the topic; empty, or with a slash behind it.
    pub prefix: String,
    /// The stream that they come from.
    pub durable: Option<String>,
    pub start: InStart,
    /// Whether what comes in goes out again, by the rules that match.
    pub forward: bool,
}

/// How to create a stream that isn't there.
#[derive(Debug, Clone)]
pub struct StreamPlan {
    pub subjects: Vec<String>,
    pub replicas: usize,
    pub storage: Storage,
    pub max_age: Option<Duration>,
    pub max_bytes: Option<i64>,
    pub duplicate_window: Option<Duration>,
}

impl Config {
    /// Reads the file, if there is one, and what the arguments add.
    ///
    /// # Errors
    /// [`End::Usage`] where something in them is wrong, [`End::Failed`] where the file can't be read.
    pub fn new(args: Args) -> Result<Config, End> {
        let (file, place) = match &args.config {
            None => (File::default(), "the arguments".to_owned()),
            Some(path) => (read(path)?, path.display().to_string()),
        };
        let wrong = |what: String| End::Usage(format!("{place}: {what}"));
        let host = match args.host.clone().or(file.host) {
            Some(host) => host,
            None => host_name()?,
        };
        let host_level = check_host(&host).map_err(&wrong)?;
        let (mut out, mut incoming) = (Vec::new(), Vec::new());
        if !args.out.is_empty() {
            let (topics, prefix, durable) = (args.out, args.prefix.clone(), args.durable.clone());
            out.push(OutEntry { name: None, topics, exclude: vec![], prefix, durable, start: OutStart::default() });
        }
        if !args.r#in.is_empty() {
            let (subjects, strip, durable) = (args.r#in, args.strip, args.durable);
            let (prefix, start) = (None, InStart::default());
            incoming.push(InEntry { name: None, subjects, strip, prefix, durable, start, forward: false });
        }
        out.extend(file.out);
        incoming.extend(file.r#in);
        if out.is_empty() && incoming.is_empty() {
            return Err(wrong("there is no rule, so nothing to do; add an [[out]] or [[in]], or --out or --in".into()));
        }
        let mut rules = Vec::new();
        let mut derived = BTreeMap::<String, Vec<String>>::new();
        for (number, entry) in out.into_iter().enumerate() {
            let name = entry.name.clone().unwrap_or_else(|| format!("out{}", number + 1));
            let (rule, subjects) =
                out_rule(entry, &name, &host_level).map_err(|what| wrong(format!("rule {name}: {what}")))?;
            if let Some(stream) = &rule.durable {
                derived.entry(stream.clone()).or_default().extend(subjects);
            }
            rules.push(rule);
        }
        let mut in_rules = Vec::new();
        for (number, entry) in incoming.into_iter().enumerate() {
            let name = entry.name.clone().unwrap_or_else(|| format!("in{}", number + 1));
            in_rules.push(in_rule(entry, &name).map_err(|what| wrong(format!("rule {name}: {what}")))?);
        }
        let state = args.state.or(file.state);
        let durable = rules.iter().map(|rule| (&rule.name, &rule.durable));
        let mut durable = durable.chain(in_rules.iter().map(|rule| (&rule.name, &rule.durable)));
        if let (None, Some((name, _))) = (&state, durable.find(|(_, durable)| durable.is_some())) {
            return Err(wrong(format!(
                "rule {name} is durable, which needs a file to keep the position in; give --state or state"
            )));
        }
        let used = in_rules.iter().filter_map(|rule| rule.durable.as_deref());
        let used: BTreeSet<_> = used.chain(derived.keys().map(String::as_str)).collect();
        if let Some(name) = file.streams.keys().find(|name| !used.contains(name.as_str())) {
            return Err(wrong(format!("streams.{name}: no rule is durable by that name; is it spelled right?")));
        }
        let streams = streams(file.streams, derived).map_err(&wrong)?;
        let servers = match (args.server, file.servers) {
            (given, _) if !given.is_empty() => given,
            (_, listed) if !listed.is_empty() => listed,
            _ => vec!["nats://127.0.0.1:4222".to_owned()],
        };
        for server in &servers {
            server.parse::<async_nats::ServerAddr>().map_err(|error| {
                wrong(format!("server '{server}': {error}; it is like nats://host:4222 or tls://host"))
            })?;
        }
        let login = Login {
            user: args.user.or(file.auth.user),
            password_file: args.password_file.or(file.auth.password_file),
            nkey: args.nkey.or(file.auth.nkey),
            credentials: args.creds.or(file.auth.credentials),
            ..file.auth
        };
        login.check().map_err(&wrong)?;
        let tls = Tls {
            ca: args.tls_ca.or(file.tls.ca),
            cert: args.tls_cert.or(file.tls.cert),
            key: args.tls_key.or(file.tls.key),
            ..file.tls
        };
        tls.check().map_err(&wrong)?;
        let metrics = args.metrics.or(file.metrics);
        Ok(Config { host: host.into(), servers, state, metrics, login, tls, out: rules, r#in: in_rules, streams })
    }
}

fn read(path: &Path) -> Result<File, End> {
    let name = path.display();
    let text = fs::read_to_string(path)
        .map_err(|error| End::Failed(format!("can't read {name}: {error}; choose another --config")))?;
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(0, |span| text[..span.start].matches('\n').count()) + 1;
        End::Usage(format!("{name}, line {line}: {}; nlbus-nats --help shows what a file looks like", error.message()))
    })
}

fn host_name() -> Result<String, End> {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.ok_or_else(|| End::Failed("the host has no name that is UTF-8; give one with --host".into()))
}

/// The host's name as a level of a subject.
fn check_host(host: &str) -> Result<String, String> {
    let bad =
        |why: String| format!("the host's name '{host}': {why}; give another one with --host, unique among the hosts");
    if host.len() > HOST_MAX || host.contains(['/', ':', '+', '#']) {
        return Err(bad("it takes 1 to 64 bytes without '/', ':', '+' and '#'".into()));
    }
    if host.is_empty() {
        return Err(bad("it is empty".into()));
    }
    mapping::subject_of(host).map_err(|why| bad(why.to_string()))
}

fn filters(what: &str, texts: &[String]) -> Result<Vec<Filter>, String> {
    texts.iter().map(|text| Filter::new(text).map_err(|why| format!("{what} '{text}': {why}"))).collect()
}

/// A rule, and the subjects that a stream needs for it.
fn out_rule(entry: OutEntry, name: &str, host: &str) -> Result<(OutRule, Vec<String>), String> {
    let topics = filters("filter", &entry.topics)?;
    if topics.is_empty() {
        return Err("it has no topics; '#' is all".into());
    }
    let written = entry.prefix.unwrap_or_default();
    let prefix = front(&written.replace(HOST, host));
    if !prefix.is_empty() {
        check_subject(prefix.trim_end_matches('.'), false).map_err(|why| format!("prefix '{written}': {why}"))?;
    }
    // The stream is for all hosts.
    let tokens = written.split_inclusive('.').map(|token| if token.contains(HOST) { "*." } else { token });
    let any_host = front(&tokens.collect::<String>());
    let mut subjects = Vec::new();
    for filter in &topics {
        let mapped = mapping::subjects_of(filter).map_err(|why| format!("filter '{filter}': {why}"))?;
        // Of what begins with '$', NATS has a use of its own.
        if prefix.is_empty() && filter.as_str().starts_with('$') {
            return Err(format!("filter '{filter}': subjects that begin with '$' are the server's own; give a prefix"));
        }
        subjects.extend(mapped.iter().map(|subject| format!("{any_host}{subject}")));
    }
    check_stream(entry.durable.as_deref())?;
    let exclude = filters("exclude", &entry.exclude)?;
    let (durable, start) = (entry.durable, entry.start);
    Ok((OutRule { name: name.to_owned(), topics, exclude, prefix, durable, start }, subjects))
}

fn in_rule(entry: InEntry, name: &str) -> Result<InRule, String> {
    if entry.subjects.is_empty() {
        return Err("it has no subjects; '>' is all".into());
    }
    for subject in &entry.subjects {
        check_subject(subject, true).map_err(|why| format!("subject '{subject}': {why}"))?;
    }
    for (number, subject) in entry.subjects.iter().enumerate() {
        if let Some(other) = entry.subjects[..number].iter().find(|other| mapping::overlap(other, subject)) {
            return Err(format!(
                "subjects '{other}' and '{subject}' overlap, so messages would come twice; leave one out"
            ));
        }
    }
    let strip = entry.strip.unwrap_or_default();
    if !strip.is_empty() {
        check_subject(&strip, true).map_err(|why| format!("strip '{strip}': {why}"))?;
        if strip.ends_with('>') {
            return Err(format!("strip '{strip}': nothing would be left; '*' stands for one token"));
        }
    }
    let prefix = entry.prefix.unwrap_or_default();
    if !prefix.is_empty() {
        values::topic(&prefix).map_err(|why| format!("prefix '{prefix}': {why}"))?;
        if nlbus::is_reserved(&prefix) {
            return Err(format!("prefix '{prefix}': nobody may publish there; choose another one"));
        }
    }
    let prefix = if prefix.is_empty() || prefix.ends_with('/') { prefix } else { prefix + "/" };
    check_stream(entry.durable.as_deref())?;
    let InEntry { subjects, durable, start, forward, .. } = entry;
    Ok(InRule { name: name.to_owned(), subjects, strip, prefix, durable, start, forward })
}

/// What stands in front of a subject, with a dot behind it.
fn front(text: &str) -> String {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() { String::new() } else { format!("{text}.") }
}

/// JetStream's rule for names of streams.
fn check_stream(name: Option<&str>) -> Result<(), String> {
    let bad = |name: &&str| {
        name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control() || ".*>/\\".contains(c))
    };
    match name.filter(bad) {
        None => Ok(()),
        Some(name) => Err(format!("durable '{name}': a stream's name has no white space, '.', '*', '>' and slashes")),
    }
}

fn streams(
    written: BTreeMap<String, StreamEntry>,
    mut derived: BTreeMap<String, Vec<String>>,
) -> Result<BTreeMap<String, StreamPlan>, String> {
    let mut plans = BTreeMap::new();
    for (name, entry) in written {
        check_stream(Some(&name))?;
        for subject in &entry.subjects {
            check_subject(subject, true).map_err(|why| format!("stream {name}: subject '{subject}': {why}"))?;
        }
        let of_rules = derived.remove(&name).unwrap_or_default();
        let subjects = if entry.subjects.is_empty() { of_rules } else { entry.subjects };
        let StreamEntry { storage, max_age, max_bytes, duplicate_window, .. } = entry;
        let replicas = entry.replicas.unwrap_or(1);
        if !(1..=5).contains(&replicas) {
            return Err(format!("stream {name}: replicas are 1 to 5"));
        }
        plans.insert(name, StreamPlan { subjects, replicas, storage, max_age, max_bytes, duplicate_window });
    }
    for (name, subjects) in derived {
        let (storage, max_age, max_bytes, duplicate_window) = (Storage::default(), None, None, None);
        plans.insert(name, StreamPlan { subjects, replicas: 1, storage, max_age, max_bytes, duplicate_window });
    }
    Ok(plans)
}
