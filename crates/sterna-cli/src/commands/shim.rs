//! `sterna shim FOLDER`: the process between the runtime and one command. Started by the runtime, never by a person,
//! so it is in no help.

use std::process::ExitCode;

/// Becomes the shim, if that is what this process was started for. Before anything else: the shim has one thread, and
/// every command waits for its start.
pub fn if_asked() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    (args.next()? == WORD).then(|| sterna_shell::shim::main(args))
}

/// The subcommand.
pub const WORD: &str = "shim";
