//! `sterna-shim VERSION FOLDER`: the process between the runtime and one command, as a program of its own. It does what
//! `sterna shim` does and is a twentieth of its size, so every command starts sooner.

use std::process::ExitCode;

use sterna_shell::shim;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let version = args.next().unwrap_or_default();
    if version == env!("CARGO_PKG_VERSION") {
        return shim::main(args);
    }
    shim::refuse(&format!(
        "sterna-shim beside it is of version {} and sterna of {}: install both, or remove sterna-shim",
        env!("CARGO_PKG_VERSION"),
        version.display(),
    ))
}
