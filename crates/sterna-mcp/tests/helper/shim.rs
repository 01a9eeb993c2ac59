//! The shim that the tests of background jobs start.

fn main() -> std::process::ExitCode {
    sterna_shell::shim::main(std::env::args_os().skip(1))
}
