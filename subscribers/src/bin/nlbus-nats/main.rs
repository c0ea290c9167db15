//! `nlbus-nats`: a bridge between the bus of this host and those of others, over NATS.

mod config;
mod courier;
mod declared;
mod inlet;
mod landing;
mod ledger;
mod login;
mod mapping;
mod mark;
mod metrics;
mod origin;
mod outlet;
mod source;
mod state;
mod stop;
mod streams;

use async_nats::Client;
use async_nats::jetstream::{self, Context};
use clap::Parser;
use config::{Config, InRule, StreamPlan};
use courier::Courier;
use crossbeam_channel::{RecvError, Sender, select, unbounded};
use inlet::{Arrivals, Inlet, Onward};
use landing::Ground;
use metrics::Metrics;
use nlbus::Bus;
use nlbus::wire::uapi::{NLBUS_BRIDGE_PORT_FIRST, NLBUS_BRIDGE_PORT_LAST};
use nlbus_subscribers::end::End;
use nlbus_subscribers::http;
use nlbus_subscribers::service::{self, Connection, Service};
use outlet::{Intake, Outlet};
use source::{Reader, Source};
use state::{Pace, State};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use stop::Stop;
use tokio::runtime::{Handle, Runtime};
use tracing::{info, warn};

/// How long the end may take: for what was published before, and then to send it.
const MOST: Duration = Duration::from_secs(30);

/// How the program ends by a mistake of its own.
const MISTAKE: &str = "a mistake in nlbus-nats; please report it, with what stands above";

/// Take events to other hosts and theirs to this one, over NATS.
///
/// What is published on a host arrives once on each other one whose rules take it, and never comes back. Topics are subjects
/// as nats-server's MQTT has them: a/b is a.b.
#[derive(Debug, Parser)]
#[command(name = env!("CARGO_BIN_NAME"), version, after_help = AFTER_HELP)]
struct Args {
    /// What to do, in TOML. The other options go before what it says, and --out and --in add rules to it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// This host's name, unique among those that share the servers [default: the host's].
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// A NATS server, like nats://host:4222 or tls://host; can be given several times [default: nats://127.0.0.1:4222].
    #[arg(long, value_name = "URL")]
    server: Vec<String>,
    /// Topics that go out, like sensors/#; can be given several times.
    #[arg(long, value_name = "FILTER", help_heading = "Rules")]
    out: Vec<String>,
    /// In front of the subjects of --out; {host} stands for this host's name.
    #[arg(long, value_name = "SUBJECT", help_heading = "Rules", requires = "out")]
    prefix: Option<String>,
    /// Subjects that come in, like site.*.sensors.>; can be given several times.
    #[arg(long, value_name = "SUBJECT", help_heading = "Rules")]
    r#in: Vec<String>,
    /// What is taken off the front of the subjects of --in; * stands for any token.
    #[arg(long, value_name = "SUBJECT", help_heading = "Rules", requires = "in")]
    strip: Option<String>,
    /// The JetStream stream that --out and --in go through [default: none, core NATS].
    #[arg(long, value_name = "STREAM", help_heading = "Rules")]
    durable: Option<String>,
    /// Where durable rules keep how far they are.
    #[arg(long, value_name = "PATH")]
    state: Option<PathBuf>,
    /// User name at the servers.
    #[arg(long, value_name = "NAME", help_heading = "Login")]
    user: Option<String>,
    /// The user's password.
    #[arg(long, value_name = "FILE", help_heading = "Login")]
    password_file: Option<PathBuf>,
    /// The seed of an NKey.
    #[arg(long, value_name = "FILE", help_heading = "Login")]
    nkey: Option<PathBuf>,
    /// A credentials file, with a JWT and the seed of its NKey.
    #[arg(long, value_name = "FILE", help_heading = "Login")]
    creds: Option<PathBuf>,
    /// Certificates of who may have signed the servers' [default: the system's].
    #[arg(long, value_name = "FILE", help_heading = "Login")]
    tls_ca: Option<PathBuf>,
    /// This bridge's own certificate.
    #[arg(long, value_name = "FILE", help_heading = "Login")]
    tls_cert: Option<PathBuf>,
    /// The key of its certificate.
    #[arg(long, value_name = "FILE", help_heading = "Login")]
    tls_key: Option<PathBuf>,
    /// Serve metrics for Prometheus at /metrics of this address; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
    #[command(flatten)]
    connection: Connection,
}

const AFTER_HELP: &str = "\
A file:
  servers = [\"nats://10.0.0.1:4222\", \"nats://10.0.0.2:4222\"]
  state = \"/var/lib/nlbus/nats.state\"
  [auth]                      # user and password_file, token_file, nkey or credentials
  credentials = \"/etc/nlbus/nats.creds\"
  [[out]]                     # the first rule that matches a topic has it
  topics = [\"sensors/#\"]
  exclude = [\"sensors/raw/#\"]
  prefix = \"site.{host}\"
  durable = \"EVENTS\"          # a stream: nothing is lost or repeated; start = \"all\": with what there is
  [[in]]
  subjects = [\"site.*.sensors.>\"]
  strip = \"site\"
  durable = \"EVENTS\"          # start = \"all\": with what the stream has
  forward = false             # true: what comes in by this goes out by [[out]], too
  [streams.EVENTS]            # how to create it; all of this may be left out
  subjects = [\"site.>\"]
  replicas = 3                # also storage, max_age, max_bytes, duplicate_window

Examples:
  nlbus-nats --server nats://hub:4222 --out 'sensors/#' --in 'sensors.>'
  nlbus-nats --config /etc/nlbus/nats.toml --metrics 127.0.0.1:9854

Environment: NLBUS_LOG is the level of this program's own log, like debug or warn [default: info]";

fn main() -> ExitCode {
    service::main(run)
}

fn run(args: Args, service: &Service) -> Result<(), End> {
    let connection = args.connection.clone();
    let config = Config::new(args)?;
    let state = config.state.as_deref().map(State::open).transpose()?.map(Arc::new);
    let metrics = Metrics::new().map_err(|error| End::Failed(format!("can't make metrics: {error}")))?;
    let metrics = Arc::new(metrics);
    if let Some(address) = config.metrics {
        let page = Arc::clone(&metrics);
        let address = http::serve(address, "--metrics", move || page.page())?;
        info!("metrics at http://{address}/metrics");
    }
    let bus = service
        .connect_as(&connection, |builder| builder.send_ports(NLBUS_BRIDGE_PORT_FIRST..=NLBUS_BRIDGE_PORT_LAST))?;
    // Before there is a server: what is published from now on waits for it.
    let open = |(number, rule): (usize, &config::OutRule)| {
        Intake::open(&bus, rule.clone(), &config.out[..number], state.as_deref())
    };
    let intakes = config.out.iter().enumerate().map(open).collect::<Result<Vec<_>, _>>()?;
    let runtime = Runtime::new().map_err(|error| End::Failed(format!("can't start the runtime: {error}")))?;
    let (stopper, stop) = stop::stop();
    let id = state.as_ref().map_or_else(state::new_id, |state| state.id());
    let bridge = Bridge { config, id, bus, state, metrics, stop, runtime: runtime.handle().clone() };
    let (report, reports) = unbounded();
    let told = service.clone();
    // Whoever waits for a server must hear of the end, too.
    spawn("start", runtime.handle(), &report.clone(), move || bridge.start(intakes, &told, &report))?;
    let mut asked = service.stop().clone();
    let mut over = crossbeam_channel::never();
    loop {
        select! {
            recv(asked) -> _ => {
                stopper.ask();
                (asked, over) = (crossbeam_channel::never(), crossbeam_channel::after(MOST));
            }
            recv(reports) -> report => match report {
                Ok(Ok(()) | Err(End::Interrupted)) => {}
                Ok(Err(end)) => return Err(end),
                // All have ended.
                Err(RecvError) => return Ok(()),
            },
            recv(over) -> _ => {
                warn!("ending though not all is done: what takes messages, or the local broker, doesn't answer");
                return Ok(());
            }
        }
    }
}

/// Starts a thread that reports how it ended.
fn spawn(
    name: &str,
    runtime: &Handle,
    report: &Sender<Result<(), End>>,
    run: impl FnOnce() -> Result<(), End> + Send + 'static,
) -> Result<(), End> {
    let (runtime, report) = (runtime.clone(), report.clone());
    // A mistake in one rule must not leave the others running as if nothing were missing.
    let entered = move || {
        // What is left of a subscription is given up by tasks.
        let _runtime = runtime.enter();
        run()
    };
    let guarded =
        || panic::catch_unwind(AssertUnwindSafe(entered)).unwrap_or_else(|_| Err(End::Failed(MISTAKE.into())));
    let thread = thread::Builder::new().name(name.into()).spawn(move || drop(report.send(guarded())));
    thread.map(drop).map_err(|error| End::Failed(format!("can't start a thread: {error}; is there too little memory?")))
}

/// What all rules have in common.
struct Bridge {
    config: Config,
    /// The bridge's name on the local bus, for what it keeps there.
    id: String,
    bus: Bus,
    state: Option<Arc<State>>,
    metrics: Arc<Metrics>,
    stop: Stop,
    runtime: Handle,
}

impl Bridge {
    /// Connects to NATS, and starts the rules.
    fn start(self, intakes: Vec<Intake>, service: &Service, report: &Sender<Result<(), End>>) -> Result<(), End> {
        let Config { host, servers, login, tls, .. } = &self.config;
        let connecting = login::connect(servers, host, login, tls, &self.metrics, &self.stop);
        let client = self.runtime.block_on(connecting)?;
        let mut onward = Vec::new();
        for rule in &self.config.out {
            let target = match &rule.durable {
                None => None,
                Some(name) => Some(self.runtime.block_on(streams::target(
                    &context(&client),
                    name,
                    self.plan(name),
                    &self.stop,
                ))?),
            };
            let (metrics, stop) = (Arc::clone(&self.metrics), self.stop.clone());
            let courier = Arc::new(Courier::new(client.clone(), target, &rule.name, metrics, stop));
            onward.push(Onward { rule: rule.clone(), courier });
        }
        let arrived = self.state.as_ref().map(|state| state.arrived()).unwrap_or_default();
        let arrivals = Arc::new(Mutex::new(Arrivals::new(arrived.into())));
        let mut inlets = Vec::new();
        for rule in &self.config.r#in {
            let mut inlet = self.inlet(rule, &client, &onward, &arrivals)?;
            inlet.begin()?;
            inlets.push(inlet);
        }
        for inlet in &mut inlets {
            inlet.catch_up()?;
        }
        for inlet in inlets {
            spawn(&inlet.rule.name.clone(), &self.runtime, report, move || inlet.run())?;
        }
        for (number, (intake, Onward { rule, courier })) in intakes.into_iter().zip(onward).enumerate() {
            let (state, metrics) = (self.state.clone(), Arc::clone(&self.metrics));
            let earlier = &self.config.out[..number];
            let host = Arc::clone(&self.config.host);
            let outlet = Outlet::new(intake, earlier, courier, host, state, metrics, self.runtime.clone());
            let (bus, service) = (self.bus.clone(), service.clone());
            spawn(&rule.name, &self.runtime, report, move || outlet.run(&bus, &service))?;
        }
        service.ready();
        Ok(())
    }

    fn plan(&self, stream: &str) -> Option<&StreamPlan> {
        self.config.streams.get(stream)
    }

    /// A rule's way in, from where it was.
    fn inlet(
        &self,
        rule: &InRule,
        client: &Client,
        onward: &[Onward],
        arrivals: &Arc<Mutex<Arrivals>>,
    ) -> Result<Inlet, End> {
        let (metrics, stop) = (Arc::clone(&self.metrics), self.stop.clone());
        let key = inlet::key(rule);
        let ground = Ground::new(&self.bus, &rule.name, &self.id, &key, metrics, stop);
        ground.own_topics()?;
        let (source, place) = match (&rule.durable, &self.state) {
            (Some(stream), Some(state)) => {
                let published = ground.place()?;
                let kept = state.in_place(&key);
                let connections = self.metrics.connections_from_now();
                let context = context(client);
                let reader = Reader::open(&context, rule, stream, self.plan(stream), kept, connections, &self.stop);
                let (reader, place, newest) = self.runtime.block_on(reader)?;
                let published =
                    published.filter(|published| published.created == place.created && published.seq <= newest);
                (Source::Stream(Box::new(reader)), Some((place, published.map_or(0, |published| published.seq))))
            }
            _ => (self.runtime.block_on(Source::live(client, &rule.subjects))?, None),
        };
        Ok(Inlet {
            rule: rule.clone(),
            host: Arc::clone(&self.config.host),
            source,
            ground,
            onward: onward.to_vec(),
            arrivals: Arc::clone(arrivals),
            state: self.state.clone(),
            metrics: Arc::clone(&self.metrics),
            stop: self.stop.clone(),
            runtime: self.runtime.clone(),
            place,
            pace: Pace::default(),
            told: HashSet::new(),
        })
    }
}

fn context(client: &Client) -> Context {
    let mut context = jetstream::new(client.clone());
    context.set_timeout(login::PATIENCE);
    context
}
