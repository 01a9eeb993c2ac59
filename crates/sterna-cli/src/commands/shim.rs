//! The process between the runtime and one command: `sterna-shim` where it lies beside us, else `sterna shim FOLDER`.
//! Started by the runtime, never by a person, so it is in no help.

use std::fs::File;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::process::ExitCode;
use std::sync::LazyLock;

use sterna_shell::shim::Helper;

/// Becomes the shim, if that is what this process was started for. Before anything else: the shim has one thread, and
/// every command waits for its start.
pub fn if_asked() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    (args.next()? == WORD).then(|| sterna_shell::shim::main(args))
}

/// What becomes the shim. An update of our files does not change it while this process lives.
pub fn helper() -> Helper {
    HELPER.clone()
}

/// Held open for as long as this process lives: its file may be replaced meanwhile.
static HELPER: LazyLock<Helper> = LazyLock::new(|| match open_beside() {
    Some(program) => {
        let path = format!("/proc/self/fd/{}", program.as_raw_fd());
        let _ = program.into_raw_fd();
        Helper::new(path, [env!("CARGO_PKG_VERSION")])
    }
    None => Helper::this_program([WORD]),
});

fn open_beside() -> Option<File> {
    File::open(std::env::current_exe().ok()?.with_file_name(PROGRAM)).ok()
}

/// The subcommand.
pub const WORD: &str = "shim";
const PROGRAM: &str = "sterna-shim";
