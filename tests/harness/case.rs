//! A test, and how it is run: in a thread and a network namespace of its own, with a deadline, and left out with a
//! reason where it has no meaning for the broker at hand.

use crate::fixture::broker_kind;
use crate::{Role, child, namespace, patience};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use nlbus::BrokerKind;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{PoisonError, RwLock};
use std::thread;

/// Held for reading by tests that run beside each other, for writing by those that need the machine.
static MACHINE: RwLock<()> = RwLock::new(());

/// One test.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    name: &'static str,
    run: fn(),
    only: Option<BrokerKind>,
    alone: bool,
    patient: bool,
    faults: bool,
    tracepoints: bool,
}

impl Case {
    /// A test for both brokers that runs beside others. The name begins with the binary's, which is left out.
    pub const fn new(name: &'static str, run: fn()) -> Case {
        Case { name, run, only: None, alone: false, patient: false, faults: false, tracepoints: false }
    }

    /// Has no meaning for the module.
    pub const fn user_only(self) -> Case {
        Case { only: Some(BrokerKind::User), ..self }
    }

    /// Has no meaning for the user broker.
    pub const fn module_only(self) -> Case {
        Case { only: Some(BrokerKind::Module), ..self }
    }

    /// Runs while no other test does.
    pub const fn alone(self) -> Case {
        Case { alone: true, ..self }
    }

    /// Takes minutes.
    pub const fn patient(self) -> Case {
        Case { patient: true, ..self }
    }

    /// Has allocations fail, which a kernel must be built for.
    pub const fn needs_fault_injection(self) -> Case {
        Case { faults: true, ..self }
    }

    /// Reads tracepoints, which a kernel must be built for.
    pub const fn needs_tracepoints(self) -> Case {
        Case { tracepoints: true, ..self }
    }

    /// Its name, without the binary's.
    pub fn name(&self) -> &'static str {
        self.name.split_once("::").map_or(self.name, |(_, name)| name)
    }

    fn trial(self) -> Trial {
        let name = self.name();
        Trial::ignorable_test(name, move || self.perform(name))
    }

    fn perform(self, name: &str) -> Result<Completion, Failed> {
        match (self.only, broker_kind()) {
            (Some(BrokerKind::User), BrokerKind::Module) => return Ok(Completion::ignored_with("user broker only")),
            (Some(BrokerKind::Module), BrokerKind::User) => return Ok(Completion::ignored_with("module only")),
            _ => {}
        }
        if self.faults && !Path::new("/proc/self/fail-nth").exists() {
            return Ok(Completion::ignored_with("needs a kernel with fault injection"));
        }
        if self.tracepoints && !Path::new("/sys/kernel/tracing").exists() {
            return Ok(Completion::ignored_with("needs a kernel with tracepoints"));
        }
        let (_write, _read);
        if self.alone {
            _write = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
        } else {
            _read = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
        }
        let (ended, end) = sync_channel::<()>(0);
        let thread = thread::Builder::new().name(name.into()).spawn(move || {
            // Dropped when the test has ended, also by a panic.
            let _ended = ended;
            namespace::enter_new();
            (self.run)();
        });
        let thread = thread?;
        // Longer than each single wait in a test: those say what they waited for.
        let deadline = patience() * if self.patient { 20 } else { 3 };
        if end.recv_timeout(deadline) == Err(RecvTimeoutError::Timeout) {
            return Err(format!("not ended after {deadline:?}").into());
        }
        match thread.join() {
            Ok(()) => Ok(Completion::Completed),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                Err(text.unwrap_or_else(|| "a panic without words".into()).into())
            }
        }
    }
}

/// Lists a file's tests as its `CASES`, each by name, with the words for where and how it runs behind it.
#[macro_export]
macro_rules! cases {
    ($($name:ident $($how:ident)*),* $(,)?) => {
        pub(crate) const CASES: &[$crate::Case] =
            &[$($crate::Case::new(concat!(module_path!(), "::", stringify!($name)), $name)$(.$how())*),*];
    };
}

/// Runs the tests, or the role that this process was started for.
pub fn main(files: &[&[Case]], roles: &[(&str, Role)]) -> ExitCode {
    if child::play(roles) {
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::from_args();
    if !arguments.list
        && let Err(why) = namespace::prepare()
    {
        eprintln!("{why}");
        return ExitCode::FAILURE;
    }
    let trials = files.iter().flat_map(|cases| cases.iter()).map(|case| case.trial()).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
