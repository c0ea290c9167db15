//! `nlbus-links`: what ip(8) does in a network namespace comes out typed at a subscriber.

use crate::host::{Host, in_a_network_of_its_own};
use nlbus::{Start, TypedDelivery, TypedSubscription};
use nlbus_subscribers::sources::links::{Address, Change, Link, Route};
use serde::de::DeserializeOwned;
use std::ffi::OsStr;
use std::fs;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::time::Duration;

const LINKS: &str = env!("CARGO_BIN_EXE_nlbus-links");

pub fn ip(line: &str) {
    let ran = Command::new("ip").args(line.split_whitespace()).output().expect("ip(8), of the package iproute2");
    assert!(ran.status.success(), "ip {line}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// Many lines, at the speed of one ip(8).
fn ip_lines(lines: &str) {
    let batch = tempfile::NamedTempFile::new().unwrap();
    fs::write(batch.path(), lines).unwrap();
    ip(&format!("-batch {}", batch.path().display()));
}

/// A kind of link that leads nowhere, of which a kernel may lack the one or the other.
pub fn kind() -> &'static str {
    let has = |kind: &&str| {
        let probe = Command::new("ip").args(["link", "add", "probe", "type", kind]).output();
        probe.expect("ip(8), of the package iproute2").status.success()
    };
    let kind = ["dummy", "ifb"].into_iter().find(has).expect("a kernel with links of the kind dummy or ifb");
    ip("link del probe");
    kind
}

/// The first value from here on that is looked for.
pub fn find<T: DeserializeOwned + std::fmt::Debug>(from: &mut TypedSubscription<T>, wanted: impl Fn(&T) -> bool) -> T {
    let mut seen = Vec::new();
    loop {
        match from.recv_timeout(Duration::from_secs(20)) {
            Ok(TypedDelivery::Value(value, _)) if wanted(&value) => return value,
            Ok(other) => seen.push(other),
            Err(error) => panic!("{error}; seen: {seen:#?}"),
        }
    }
}

fn changes_come_typed(host: &Host, content: &str) {
    let _broker = host.broker();
    let kind = kind();
    let _links = host.service(LINKS, &["--content", content]);
    let bus = host.connect();
    let mut links = bus.subscribe_as::<Link>("links/link/+").unwrap();
    let mut addresses = bus.subscribe_as::<Address>("links/address/+").unwrap();
    let mut routes = bus.subscribe_as::<Route>("links/route/#").unwrap();

    ip(&format!("link add d0 type {kind}"));
    let link = find(&mut links, |link| link.name == "d0");
    assert_eq!((link.change, link.up, link.loopback, link.mtu), (Change::Added, false, false, 1500), "{link:?}");
    assert_eq!((link.kind.as_deref(), link.address.len()), (Some(kind), 17), "{link:?}");

    ip("link set d0 up");
    let up = find(&mut links, |link| link.name == "d0" && link.up);
    assert_eq!((up.change, up.index), (Change::Changed, link.index), "{up:?}");

    ip("addr add 192.0.2.1/24 dev d0");
    let v4: IpAddr = "192.0.2.1".parse().unwrap();
    let address = find(&mut addresses, |address| address.address == v4);
    assert_eq!((address.change, address.prefix_len, address.link.as_str()), (Change::Added, 24, "d0"), "{address:?}");

    ip("route add 198.51.100.0/24 via 192.0.2.254");
    let route = find(&mut routes, |route| route.gateway.is_some());
    assert_eq!(
        (route.change, route.destination, route.prefix_len),
        (Change::Added, "198.51.100.0".parse().unwrap(), 24)
    );
    assert_eq!((route.gateway, route.link.as_str()), (Some("192.0.2.254".parse().unwrap()), "d0"), "{route:?}");

    // The kernel doesn't say that this takes the route away.
    ip("link set d0 down");
    find(&mut links, |link| link.name == "d0" && !link.up);
    find(&mut routes, |route| route.gateway.is_some() && route.change == Change::Removed);

    ip("link set d0 name d1");
    let renamed = find(&mut links, |link| link.name == "d1");
    assert_eq!((renamed.change, renamed.renamed_from.as_deref()), (Change::Changed, Some("d0")), "{renamed:?}");

    // Who follows its address finds it at the new name.
    let ended = find(&mut addresses, |address| address.address == v4);
    assert_eq!((ended.change, ended.link.as_str()), (Change::Removed, "d0"), "{ended:?}");
    let moved = find(&mut addresses, |address| address.link == "d1");
    assert_eq!((moved.change, moved.address), (Change::Changed, v4), "{moved:?}");

    ip("link del d1");
    let gone = find(&mut links, |link| link.name == "d1" && link.change == Change::Removed);
    assert_eq!(gone.index, link.index);
    find(&mut addresses, |address| address.address == v4 && address.change == Change::Removed);
}

#[test]
fn changes_come_typed_as_json() {
    in_a_network_of_its_own(|host| changes_come_typed(host, "json"));
}

#[test]
fn changes_come_typed_as_bincode() {
    in_a_network_of_its_own(|host| changes_come_typed(host, "bincode"));
}

#[test]
fn what_is_there_is_told_at_the_start_and_to_a_new_broker() {
    in_a_network_of_its_own(|host| {
        let broker = host.broker();
        ip(&format!("link add d0 type {}", kind()));
        let _links = host.service(LINKS, &["--prefix", "here"]);
        let current = |wait: bool| {
            let bus = host.connect();
            let start = if wait { Start::Live } else { Start::All };
            let mut links = bus.subscriber("here/links/link/d0").start(start).open_as::<Link>().unwrap();
            find(&mut links, |link| link.change == Change::Current)
        };
        let first = current(false);
        drop(broker);
        let _broker = host.broker();
        assert_eq!(current(true), first);
    });
}

#[test]
fn more_than_the_socket_holds_is_listed_anew() {
    in_a_network_of_its_own(|host| {
        let _broker = host.broker();
        let links = host.service(LINKS, &[]);
        let bus = host.connect();
        let mut subscription = bus.subscribe_as::<Link>("links/link/+").unwrap();
        // While it is stopped, more is said than its socket keeps.
        links.signal("STOP");
        ip(&format!("link add d0 type {}", kind()));
        let lines: String = (0..8000).map(|n| format!("link set d0 mtu {}\n", 1000 + n % 2)).collect();
        ip_lines(&(lines + "link set d0 mtu 1234\n"));
        links.signal("CONT");
        find(&mut subscription, |link| link.name == "d0" && link.mtu == 1234);
        links.signal("TERM");
        let ended = links.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.notes.iter().any(|note| note.contains("listing everything anew")), "{ended:?}");
    });
}

#[test]
fn what_stays_is_not_said_to_be_gone_whatever_else_happens() {
    in_a_network_of_its_own(|host| {
        let _broker = host.broker();
        let kind = kind();
        // More than one datagram of each listing, so that what comes between them tears it.
        let links: String = (0..100).map(|n| format!("link add d{n} type {kind}\n")).collect();
        let routes: String = (0..3000).map(|n| format!("route add 10.{}.{}.0/24 dev d0\n", n / 256, n % 256)).collect();
        ip_lines(&(links + "link set d0 up\n" + &routes));
        let service = host.service(LINKS, &[]);
        let mut subscription = host.connect().subscribe_as::<Route>("links/route/d0").unwrap();
        for round in 0..5 {
            service.signal("STOP");
            ip_lines(&(0..4000).map(|n| format!("link set d1 mtu {}\n", 1000 + n % 2)).collect::<String>());
            service.signal("CONT");
            let churn = format!("link add c type {kind}\nlink del c\n").repeat(100);
            ip_lines(&churn);
            ip(&format!("route add 192.0.2.{round} dev d0"));
        }
        loop {
            let route = find(&mut subscription, |route| route.change != Change::Current);
            assert_eq!(route.change, Change::Added, "{route:?}");
            if route.destination == IpAddr::from([192, 0, 2, 4]) {
                break;
            }
        }
    });
}

#[test]
fn a_link_that_leaves_a_bridge_stays_a_link() {
    in_a_network_of_its_own(|host| {
        let _broker = host.broker();
        ip("link add v0 type veth peer name v1");
        ip("link add b0 type bridge");
        ip("link set v0 master b0");
        let _links = host.service(LINKS, &[]);
        let mut subscription = host.connect().subscribe_as::<Link>("links/link/v0").unwrap();
        ip("link set v0 nomaster");
        ip("link set v0 mtu 1234");
        loop {
            let link = find(&mut subscription, |_| true);
            assert_eq!(link.change, Change::Changed, "{link:?}");
            if link.mtu == 1234 {
                break;
            }
        }
    });
}

#[test]
fn a_name_of_any_bytes_is_published() {
    in_a_network_of_its_own(|host| {
        let (_broker, kind) = (host.broker(), kind());
        let _links = host.service(LINKS, &[]);
        let bus = host.connect();
        let mut links = bus.subscribe_as::<Link>("links/link/+").unwrap();
        let mut addresses = bus.subscribe_as::<Address>("links/address/+").unwrap();
        let name = OsStr::from_bytes(b"a\xff");
        let ran = Command::new("ip").args(["link", "add"]).arg(name).args(["type", kind]).status().unwrap();
        assert!(ran.success());
        assert_eq!(find(&mut links, |link| link.change == Change::Added).name, "a%FF");
        // Its label is the link's name.
        let ran = Command::new("ip").args(["addr", "add", "192.0.2.1/24", "dev"]).arg(name).status().unwrap();
        assert!(ran.success());
        assert_eq!(find(&mut addresses, |address| address.prefix_len == 24).link, "a%FF");
    });
}

#[test]
fn routes_come_and_go_as_the_kernel_has_them() {
    in_a_network_of_its_own(|host| {
        let (_broker, kind) = (host.broker(), kind());
        let _links = host.service(LINKS, &[]);
        let mut subscription = host.connect().subscribe_as::<Route>("links/route/d0").unwrap();
        let mut hears = |gateway: &str, change: Change| {
            let gateway = Some(gateway.parse::<IpAddr>().unwrap());
            find(&mut subscription, |route| route.gateway == gateway && route.change == change);
        };
        ip_lines(&format!("link add d0 type {kind}\nlink set d0 up\naddr add 192.0.2.1/24 dev d0\n"));
        ip("addr add 2001:db8::1/64 dev d0 nodad");
        for (family, to, hops) in [
            ("-4", "198.51.100.0/24", ["192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5"]),
            ("-6", "2001:db8:1::/64", ["2001:db8::2", "2001:db8::3", "2001:db8::4", "2001:db8::5"]),
        ] {
            ip(&format!("{family} route add {to} via {}", hops[0]));
            hears(hops[0], Change::Added);
            ip(&format!("{family} route replace {to} via {}", hops[1]));
            hears(hops[0], Change::Removed);
            hears(hops[1], Change::Added);
            // By several, of which each is a route; and these by one.
            ip(&format!("{family} route replace {to} nexthop via {} nexthop via {}", hops[2], hops[3]));
            hears(hops[1], Change::Removed);
            hears(hops[2], Change::Added);
            hears(hops[3], Change::Added);
            ip(&format!("{family} route replace {to} via {}", hops[0]));
            hears(hops[0], Change::Added);
            hears(hops[2], Change::Removed);
            hears(hops[3], Change::Removed);
        }
        // The kernel doesn't say that this takes the route away.
        ip("addr del 192.0.2.1/24 dev d0");
        hears("192.0.2.2", Change::Removed);
    });
}
