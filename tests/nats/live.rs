//! Core NATS: what goes out now is there now.

use nlbus_tests::cases;

cases![the_harness_works];

fn the_harness_works() {
    use crate::account::{Collector, publish};
    use crate::host::Host;
    use crate::servers::Servers;
    let mut servers = Servers::with(3, "");
    servers.wait_for_jetstream();
    let client = servers.client();
    let heard = client.listen(">");
    let host = Host::new("a", 1);
    let collector = Collector::start(&host);
    publish(&host.connect(), 1, &["x/y", "z"], 0..1000, || false);
    collector.wait(1000);
    assert_eq!((collector.seen().count(), collector.seen().late()), (1000, 0));
    let far = host.run(|| crate::plain::Plain::connect(&servers.urls(&host.way_to_servers())));
    far.publish("a.b", "hello");
    assert_eq!(heard.wait(1)[0].subject.as_str(), "a.b");
    host.cable(false);
    host.cable(true);
    servers.kill(1);
    servers.start(1);
    far.publish("a.b", "hello");
    heard.wait(2);
}
