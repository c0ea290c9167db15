//! What the demo does, in its order; and whether it went well.

use crate::heartbeats::Heartbeats;
use crate::report::{Heads, Received, Report};
use crate::table::{self, Row};
use crate::team::Team;
use crate::{BrokerArg, Role, Stage, namespace};
use anyhow::{Context, bail};
use nlbus::{Broker, BrokerHandle, BrokerKind, Bus, Choice, ConnectError, Filter};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// How long anything may take that isn't publishing: starting processes on a busy machine, catching up.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn direct(mut stage: Stage) -> anyhow::Result<()> {
    stage.broker = choose(stage.broker)?;
    // First, because there must be no threads yet. Anybody may join the module's groups.
    let namespace = stage.broker == BrokerArg::User && namespace::ensure_may_join()?;
    let mut broker = start_broker(&mut stage)?;
    let bus = stage.connect()?;
    introduce(&stage, &bus, namespace)?;
    let mut heartbeats = Heartbeats::subscribe(&bus)?;

    let mut team = Team::new();
    let deadline = Instant::now() + PATIENCE;
    for role in Role::SUBSCRIBERS {
        team.start(role, &stage)?;
    }
    team.hear(
        &Role::SUBSCRIBERS,
        deadline,
        || watch(&mut broker),
        |report| match report {
            Report::Subscribed => Some(()),
            _ => None,
        },
    )?;
    let before = heads(&bus)?;

    let deadline = Instant::now() + stage.duration() + PATIENCE;
    for role in Role::PUBLISHERS {
        team.start(role, &stage)?;
    }
    let published = team.hear(
        &Role::PUBLISHERS,
        deadline,
        || watch(&mut broker),
        |report| match report {
            Report::Published(events) => Some(events),
            _ => None,
        },
    )?;
    let after = heads(&bus)?;

    let deadline = Instant::now() + PATIENCE;
    let mut expected = BTreeMap::new();
    for role in Role::SUBSCRIBERS {
        let heads = matching(role.filter(), &before, &after)?;
        team.tell(role, &heads)?;
        expected.insert(role.name(), heads.values().map(|(before, after)| after - before).sum::<u64>());
    }
    let received = team.hear(
        &Role::SUBSCRIBERS,
        deadline,
        || watch(&mut broker),
        |report| match report {
            Report::Received(received) => Some(received),
            _ => None,
        },
    )?;
    team.dismiss(deadline)?;

    let mut rows: Vec<Row> =
        received.into_iter().map(|(role, received)| Row { role, published: expected[role.name()], received }).collect();
    rows.sort_by_key(|row| Role::SUBSCRIBERS.iter().position(|role| *role == row.role));
    let (subscribers, publishers) = (table::of_subscribers(&rows), table::of_publishers(&published, stage.duration()));
    show(&format!("{subscribers}\n{publishers}{}\n", heartbeats.told()?));
    judge(&rows, &published)
}

/// One of the two.
fn choose(broker: BrokerArg) -> anyhow::Result<BrokerArg> {
    if broker != BrokerArg::Auto {
        return Ok(broker);
    }
    match Bus::builder().broker(Choice::Module).connect() {
        Ok(_) => Ok(BrokerArg::Module),
        Err(ConnectError::NoBroker { .. }) => Ok(BrokerArg::User),
        Err(error) => Err(error.into()),
    }
}

/// Starts a broker in this process, at a port of its own. The module is there already, or isn't.
fn start_broker(stage: &mut Stage) -> anyhow::Result<Option<BrokerHandle>> {
    if stage.broker == BrokerArg::Module {
        return Ok(None);
    }
    // Below 2^31 and above the process ids: the kernel gives such a port to nobody unasked.
    stage.port = 0x5000_0000 + std::process::id() % (1 << 24) * 2;
    Ok(Some(Broker::builder().port(stage.port).spawn()?))
}

fn introduce(stage: &Stage, bus: &Bus, namespace: bool) -> anyhow::Result<()> {
    let info = bus.info()?;
    let place = if namespace { " in a user and network namespace" } else { "" };
    let broker = match info.broker {
        BrokerKind::User => format!("user broker over NETLINK_USERSOCK at port {}{place}", info.publish_port),
        _ => format!("kernel module, netlink protocol {}", info.protocol),
    };
    show(&format!("{broker}, epoch {:x}; {} s, please\n\n", info.epoch, stage.seconds));
    Ok(())
}

/// Prints. If nobody reads it, the exit status still tells how it went.
fn show(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// There is no point in going on without a broker.
fn watch(broker: &mut Option<BrokerHandle>) -> anyhow::Result<()> {
    match broker.take_if(|broker| broker.is_finished()) {
        Some(broker) => Ok(broker.stop()?),
        None => Ok(()),
    }
}

/// The newest sequence number of each of the demo's topics.
fn heads(bus: &Bus) -> anyhow::Result<BTreeMap<String, u64>> {
    let topics = bus.topics().context("can't list the topics")?;
    Ok(topics.into_iter().map(|topic| (topic.name, topic.head)).filter(|(name, _)| name.starts_with("demo/")).collect())
}

/// What was published to the topics that a filter matches.
fn matching(filter: &str, before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> anyhow::Result<Heads> {
    let filter: Filter = filter.parse()?;
    let matching = after.iter().filter(|(name, _)| filter.matches(name));
    Ok(matching.map(|(name, head)| (name.clone(), (before.get(name).copied().unwrap_or(0), *head))).collect())
}

/// Whether everybody got what he should.
fn judge(rows: &[Row], published: &[(Role, u64)]) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for (role, events) in published {
        if *events == 0 {
            wrong.push(format!("'{}' published nothing", role.name()));
        }
    }
    for Row { role, published, received } in rows {
        let Received { events, lost, missing, out_of_order, undecodable, restarts, .. } = received;
        let mut complain = |bad: bool, what: String| {
            if bad {
                wrong.push(format!("'{}' {what}", role.name()));
            }
        };
        complain(*events == 0, "received nothing".into());
        complain(*missing > 0, format!("misses {missing} events that nobody reported as lost"));
        complain(events + lost < *published, format!("accounts for {} of {published} events", events + lost));
        complain(*out_of_order > 0, format!("received {out_of_order} events out of order"));
        complain(*undecodable > 0, format!("couldn't decode {undecodable} events"));
        complain(*restarts > 0, "saw the broker restart".into());
    }
    match wrong.as_slice() {
        [] => Ok(()),
        _ => bail!("{}", wrong.join("; ")),
    }
}
