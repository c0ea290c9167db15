//! What the long-running programs have in common: they wait for a broker, log what they do, tell systemd when they are
//! ready, and put things in order before SIGINT, SIGTERM or SIGHUP ends them.

use crate::colours;
use crate::connect::{self, LOOK};
use crate::end::End;
use crate::pages;
use crate::values;
use clap::{Arg, ColorChoice, Parser};
use clap_complete::Shell;
use crossbeam_channel::{Receiver, bounded};
use nlbus::{Builder, Bus, Choice, ConnectError};
use procfs::process::Process;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use std::convert::Infallible;
use std::env;
use std::io::{self, IsTerminal, Write as _};
use std::process::{self, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

/// Which broker to connect to.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// Which broker: the module where it is loaded and else the user broker (auto), module or user [default: what
    /// NLBUS_BROKER says, or auto].
    #[arg(long, value_name = "WHICH", value_parser = values::broker)]
    broker: Option<Choice>,
    /// Netlink port id of the user broker [default: what NLBUS_PORT says, or 1852596852].
    #[arg(long, value_name = "N", value_parser = values::port)]
    port: Option<u32>,
    /// How long to wait for a broker where there is none yet, like 500ms, 30s or 5m.
    #[arg(long, value_name = "DUR", default_value = "30s", value_parser = values::duration)]
    wait: Duration,
}

/// What SIGHUP means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hangup {
    /// The end, as SIGTERM: the terminal is gone.
    End,
    /// Files are to be opened anew, after logrotate.
    Reopen,
}

/// A program that runs until it is stopped.
#[derive(Debug, Clone)]
pub struct Service {
    stop: Receiver<Infallible>,
    reopen: Arc<AtomicBool>,
    last_words: Arc<OnceLock<fn()>>,
}

/// Parses the arguments and runs a program to its end: SIGINT, SIGTERM and SIGHUP are a good one.
pub fn main<A: Parser>(run: fn(A, &Service) -> Result<(), End>) -> ExitCode {
    start(run, Hangup::End)
}

/// As [`main`], for a program that opens its files anew on SIGHUP.
pub fn main_reopening<A: Parser>(run: fn(A, &Service) -> Result<(), End>) -> ExitCode {
    start(run, Hangup::Reopen)
}

fn start<A: Parser>(run: fn(A, &Service) -> Result<(), End>, hangup: Hangup) -> ExitCode {
    let args = match parse::<A>() {
        Ok(args) => args,
        Err(end) => return end.map_or(ExitCode::SUCCESS, |end| end.report(false)),
    };
    start_log();
    let end = match Service::start(hangup) {
        Ok(service) => run(args, &service),
        Err(error) => Err(End::signals(error)),
    };
    match end {
        Ok(()) | Err(End::Interrupted) => ExitCode::SUCCESS,
        Err(end) => end.report(false),
    }
}

/// The arguments; or an early end, when the manual page or completions were asked for.
fn parse<A: Parser>() -> Result<A, Option<End>> {
    const GENERATE: &str = "generate";
    // What is exclusive needs none of the arguments that the program can't do without.
    let generate =
        Arg::new(GENERATE).long(GENERATE).hide(true).exclusive(true).value_parser(["man", "bash", "zsh", "fish"]);
    let command = A::command().color(colours::choice()).arg(generate);
    let matches = command.clone().get_matches();
    let Some(what) = matches.get_one::<String>(GENERATE) else {
        return A::from_arg_matches(&matches).map_err(|error| error.exit());
    };
    let mut command = command;
    command.build();
    let text = match what.parse::<Shell>() {
        Ok(shell) => pages::completions(shell, command),
        // The one that is no shell is the page.
        Err(_) => pages::PROGRAMS.page(&command).map_err(|error| Some(End::output(error)))?,
    };
    Err(io::stdout().write_all(&text).map_err(End::output).err())
}

/// Logs to standard error, from `info` up unless `NLBUS_LOG` says otherwise. The journal has a clock of its own.
fn start_log() {
    let filter = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into());
    // What the NATS client says of the connection, the bridge says, too.
    let quiet = "async_nats=warn".parse().into_iter();
    let filter = quiet.fold(filter.with_env_var("NLBUS_LOG").from_env_lossy(), EnvFilter::add_directive);
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    let colours = io::stderr().is_terminal() && colours::choice() == ColorChoice::Auto;
    let log = log.with_ansi(colours);
    match env::var_os("JOURNAL_STREAM") {
        Some(_) => log.without_time().init(),
        None => log.init(),
    }
}

/// Whether whoever started this program had it ignore a signal.
fn is_ignored(signal: i32) -> bool {
    let status = Process::myself().and_then(|process| process.status());
    status.is_ok_and(|status| status.sigign & 1 << (signal - 1) != 0)
}

impl Service {
    fn start(hangup: Hangup) -> io::Result<Service> {
        let reopen = Arc::new(AtomicBool::new(false));
        let mut ends = vec![SIGINT, SIGTERM];
        match hangup {
            Hangup::Reopen => drop(flag::register(SIGHUP, Arc::clone(&reopen))?),
            // nohup(1) has it ignored, and means it.
            Hangup::End if is_ignored(SIGHUP) => {}
            Hangup::End => ends.push(SIGHUP),
        }
        let mut signals = Signals::new(ends)?;
        let (stopper, stop) = bounded(0);
        let last_words = Arc::new(OnceLock::<fn()>::new());
        let at_once = Arc::clone(&last_words);
        thread::Builder::new().name("signals".into()).spawn(move || {
            let mut signals = signals.forever();
            signals.next();
            drop(stopper);
            // Whoever asks twice doesn't want to wait.
            signals.next();
            if let Some(act) = at_once.get() {
                act();
            }
            process::exit(crate::end::INTERRUPTED.into());
        })?;
        Ok(Service { stop, reopen, last_words })
    }

    /// What to do in any case, and quickly, when a second signal ends the program at once. The first one said counts.
    pub fn at_once(&self, act: fn()) {
        let _ = self.last_words.set(act);
    }

    /// Whether files are to be opened anew. It is asked for once a signal.
    pub fn is_to_reopen(&self) -> bool {
        self.reopen.swap(false, Ordering::Relaxed)
    }

    /// Closes when the program is to end. Nothing ever comes out of it.
    pub fn stop(&self) -> &Receiver<Infallible> {
        &self.stop
    }

    /// Whether the program is to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.try_recv() == Err(crossbeam_channel::TryRecvError::Disconnected)
    }

    /// Waits, unless the program is to end before the time is over.
    ///
    /// # Errors
    /// [`End::Interrupted`] when it is.
    pub fn sleep(&self, time: Duration) -> Result<(), End> {
        match self.stop.recv_timeout(time) {
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => Err(End::Interrupted),
            _ => Ok(()),
        }
    }

    /// Connects, and waits for a broker as long as the arguments say.
    ///
    /// # Errors
    /// [`End::Interrupted`], [`End::Usage`] where the environment names no broker, and any [`ConnectError`].
    pub fn connect(&self, to: &Connection) -> Result<Bus, End> {
        self.connect_as(to, |builder| builder)
    }

    /// The same, with a connection as `how` makes it out of the plain one.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_as(&self, to: &Connection, how: impl FnOnce(Builder) -> Builder) -> Result<Bus, End> {
        let builder = how(connect::builder_or(to.broker, to.port)?);
        let (start, patience) = (Instant::now(), to.wait);
        let mut error = match builder.clone().connect() {
            Err(error @ ConnectError::NoBroker { .. }) if !patience.is_zero() => error,
            found => return Ok(found?),
        };
        warn!("waiting: {error}");
        while start.elapsed() < patience {
            self.sleep(Duration::ZERO)?;
            error = match builder.clone().wait(LOOK.min(patience.saturating_sub(start.elapsed()))).connect() {
                Err(error @ ConnectError::NoBroker { .. }) => error,
                found => return Ok(found?),
            };
        }
        Err(error.into())
    }

    /// Says that from now on nothing is missed, to the log and to systemd.
    pub fn ready(&self) {
        info!("ready");
        // Without systemd there is nobody to tell.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }
}
