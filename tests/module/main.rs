//! What loads and unloads the kernel module: run after the suite, where root may, and never beside it
//! (`NLBUS_SUITE_BROKER=module`). The modules lie in `/lib/nlbus` (`NLBUS_MODULES`). The module is loaded when this ends.

mod access;
mod burst;
mod direct;
mod discovery;
mod failures;
mod faults;
mod kernel;
mod parameters;
mod publishers;
mod quotas;
mod retire;
mod unload;

use std::process::ExitCode;

fn main() -> ExitCode {
    let status = nlbus_tests::main(
        &[
            access::CASES,
            burst::CASES,
            direct::CASES,
            discovery::CASES,
            unload::CASES,
            parameters::CASES,
            publishers::CASES,
            quotas::CASES,
            retire::CASES,
            failures::CASES,
        ],
        quotas::ROLES,
    );
    if nlbus_tests::broker_kind() == nlbus::BrokerKind::Module {
        kernel::reload("");
    }
    status
}
