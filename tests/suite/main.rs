//! The conformance suite: a file for each promise, on either broker (`NLBUS_SUITE_BROKER=user|module`).

mod access;
mod backpressure;
mod bounds;
mod buffered;
mod discovery;
mod embedding;
mod ending;
mod faults;
mod flood;
mod forks;
mod groups;
mod history;
mod identity;
mod isolation;
mod late_joiners;
mod loops;
mod loss;
mod lost_numbers;
mod malformed;
mod many;
mod order;
mod ordinary;
mod overflow;
mod publish;
mod quota;
mod replay;
mod restart;
mod resume;
mod slow;
mod spoof;
mod topics;
mod types;
mod wills;

use std::process::ExitCode;

fn main() -> ExitCode {
    nlbus_tests::main(
        &[
            topics::CASES,
            types::CASES,
            order::CASES,
            loss::CASES,
            lost_numbers::CASES,
            faults::CASES,
            late_joiners::CASES,
            history::CASES,
            slow::CASES,
            overflow::CASES,
            backpressure::CASES,
            identity::CASES,
            access::CASES,
            ordinary::CASES,
            groups::CASES,
            ending::CASES,
            isolation::CASES,
            restart::CASES,
            bounds::CASES,
            quota::CASES,
            flood::CASES,
            publish::CASES,
            buffered::CASES,
            malformed::CASES,
            replay::CASES,
            resume::CASES,
            spoof::CASES,
            discovery::CASES,
            embedding::CASES,
            loops::CASES,
            forks::CASES,
            wills::CASES,
            many::CASES,
        ],
        &[forks::ROLES, quota::ROLES, flood::ROLES, types::ROLES, wills::ROLES].concat(),
    )
}
