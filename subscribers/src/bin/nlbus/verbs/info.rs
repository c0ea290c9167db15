//! `nlbus info`: what the broker says of itself.

use nlbus::{BrokerKind, Info};
use nlbus_subscribers::clients::{Client, clients};
use nlbus_subscribers::connect::connect;
use nlbus_subscribers::end::End;
use nlbus_subscribers::text::Escaped;
use nlbus_subscribers::values;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

/// Show which broker this is, its limits and its counters.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Show who has sockets of the bus's netlink protocol open in this network namespace: what waits in each to be read,
    /// and how many datagrams didn't fit. Processes show as far as this user may look into them.
    #[arg(long)]
    clients: bool,
}

pub fn run(args: &Args) -> Result<(), End> {
    let bus = connect()?;
    let info = bus.info()?;
    let clients = if args.clients { Some(others(info.protocol)?) } else { None };
    let shown = if args.json {
        as_json(&info, clients.as_deref()).to_string() + "\n"
    } else {
        as_text(&info, clients.as_deref())
    };
    std::io::stdout().write_all(shown.as_bytes()).map_err(End::output)
}

/// The clients but this process, while it has its sockets open and is known by them.
fn others(protocol: u32) -> Result<Vec<Client>, End> {
    let listed = clients(protocol)
        .map_err(|error| End::Failed(format!("can't read /proc/net/netlink: {error}; is /proc mounted?")))?;
    let own = i32::try_from(std::process::id()).ok();
    Ok(listed.into_iter().filter(|client| client.process.as_ref().map(|(pid, _)| *pid) != own).collect())
}

/// The keys are a promise to scripts.
fn as_json(info: &Info, clients: Option<&[Client]>) -> Value {
    let mut object = json!({
        "broker": broker_name(info.broker),
        "version": info.version,
        "epoch": info.epoch,
        "protocol": info.protocol,
        "publish_port": info.publish_port,
        "request_port": info.request_port,
        "groups": info.groups,
        "limits": limits(info),
        "counters": counters(info),
    });
    if let Some(clients) = clients {
        object["clients"] = clients.iter().map(client_json).collect();
    }
    object
}

fn client_json(client: &Client) -> Value {
    json!({
        "portid": client.socket.portid,
        "queued": client.socket.queued,
        "drops": client.socket.drops,
        "pid": client.process.as_ref().map(|(pid, _)| pid),
        "command": client.process.as_ref().map(|(_, command)| command),
    })
}

fn as_text(info: &Info, clients: Option<&[Client]>) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| writeln!(text, "{key:<27}{value}").unwrap_or_default();
    line("broker", broker_name(info.broker));
    line("version", &info.version.to_string());
    line("epoch", &info.epoch.to_string());
    line("protocol", &info.protocol.to_string());
    line("publish port", &info.publish_port.to_string());
    line("request port", &info.request_port.to_string());
    line("groups", &info.groups.to_string());
    line("uptime", &humantime::format_duration(Duration::from_secs(info.uptime_ns / 1_000_000_000)).to_string());
    line("heartbeat", &heartbeat(info.heartbeat_ms));
    for (part, numbers) in [("limit", limits(info)), ("counter", counters(info))] {
        for (key, number) in numbers {
            let key = format!("{part} {}", key.replace('_', " "));
            line(&key, number.as_str().unwrap_or(&number.to_string()));
        }
    }
    if let Some(clients) = clients {
        let _ = writeln!(text, "\n{:>10}  {:>10}  {:>10}  PROCESS", "PORT", "QUEUED", "DROPS");
        for Client { socket, process } in clients {
            let process = process
                .as_ref()
                .map_or("-".into(), |(pid, command)| format!("{pid} {}", Escaped::text(command.as_bytes())));
            let _ = writeln!(text, "{:>10}  {:>10}  {:>10}  {process}", socket.portid, socket.queued, socket.drops);
        }
    }
    text
}

fn heartbeat(ms: u32) -> String {
    match ms {
        0 => "off".into(),
        ms => format!("every {}", humantime::format_duration(Duration::from_millis(ms.into()))),
    }
}

fn broker_name(broker: BrokerKind) -> &'static str {
    match broker {
        BrokerKind::Module => "module",
        // BrokerKind is non-exhaustive; there are two.
        _ => "user",
    }
}

fn limits(info: &Info) -> Map<String, Value> {
    let limits = &info.limits;
    let mut numbers = object(&[
        ("topics", limits.topics.into()),
        ("payload", limits.payload.into()),
        ("datagram", limits.datagram.into()),
        ("pack", limits.pack.into()),
        ("queue", limits.queue),
        ("history", limits.history),
        ("topic_history", limits.topic_history),
        ("private_groups", limits.private_groups.into()),
        ("user_topics", limits.user_topics.into()),
        ("user_queue", limits.user_queue),
        ("user_history", limits.user_history),
        ("user_private_groups", limits.user_private_groups.into()),
        ("wills", limits.wills.into()),
        ("user_wills", limits.user_wills.into()),
    ]);
    numbers.insert("topic_mode".into(), values::mode_name(limits.topic_mode).into());
    numbers
}

fn counters(info: &Info) -> Map<String, Value> {
    let counters = &info.counters;
    object(&[
        ("published", counters.published),
        ("refused", counters.refused),
        ("broadcasts", counters.broadcasts),
        ("overruns", counters.overruns),
        ("replayed", counters.replayed),
        ("evicted", counters.evicted),
        ("topics", counters.topics),
        ("queue", counters.queue),
        ("history", counters.history),
        ("moved", counters.moved),
        ("private_groups", counters.private_groups),
        ("kernel_dropped", counters.kernel_dropped),
        ("clients", counters.clients),
        ("wills", counters.wills),
        ("lost", counters.lost),
    ])
}

fn object(numbers: &[(&str, u64)]) -> Map<String, Value> {
    numbers.iter().map(|(key, number)| ((*key).to_owned(), (*number).into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_promised_keys() {
        let json = as_json(&Info::default(), None);
        let keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            ["broker", "version", "epoch", "protocol", "publish_port", "request_port", "groups", "limits", "counters"]
        );
        assert_eq!(json["broker"], "module");
        let keys: Vec<&str> = json["limits"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "topics",
                "payload",
                "datagram",
                "pack",
                "queue",
                "history",
                "topic_history",
                "private_groups",
                "user_topics",
                "user_queue",
                "user_history",
                "user_private_groups",
                "wills",
                "user_wills",
                "topic_mode"
            ]
        );
    }

    #[test]
    fn text_is_a_line_a_fact() {
        let text = as_text(&Info::default(), None);
        assert!(text.contains("broker                     module\n"), "{text}");
        assert!(text.contains("heartbeat                  off\n"), "{text}");
        assert!(text.contains("limit topic history        0\n"), "{text}");
        assert!(text.contains("limit topic mode           0000\n"), "{text}");
        assert!(text.contains("limit user private groups  0\n"), "{text}");
    }
}
