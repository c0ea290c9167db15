use std::process::ExitCode;
fn main() -> ExitCode {
    nlbus_tests::main(&[], &[])
}
