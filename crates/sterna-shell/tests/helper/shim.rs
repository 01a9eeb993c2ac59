//! What the tests start: a shim that can die at any step, and a runtime that starts one and is killed.

mod corpus;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::process::{Signal, getpid, kill_process};
use sterna_shell::shim::{Helper, Plan, Run, Shims, Step, init, main_observed};

fn main() -> ExitCode {
    init();
    let mut args = std::env::args_os().skip(1);
    match args.next().as_deref().and_then(|role| role.to_str()) {
        Some("shim") => shim(args.collect()),
        Some("runtime") => runtime(args.collect()),
        Some("report") => report(args.collect()),
        Some("try") => corpus::attempt(args.filter_map(|arg| arg.into_string().ok()).collect()),
        _ => ExitCode::from(2),
    }
}

/// Dies as the file `die-at` beside the spool says.
fn shim(args: Vec<OsString>) -> ExitCode {
    let root = args.first().and_then(|dir| Path::new(dir).parent()).map(PathBuf::from).unwrap_or_default();
    let die_at = std::fs::read_to_string(root.join("die-at")).unwrap_or_default();
    main_observed(args, &|step: Step| {
        if format!("{step:?}") == die_at {
            drop(kill_process(getpid(), Signal::KILL).map_err(std::io::Error::from));
        }
    })
}

/// `STATE [FOLDER]`: which levels work here, as JSON, with the `bwrap` of that folder.
fn report(args: Vec<OsString>) -> ExitCode {
    let [state, folder @ ..] = args.as_slice() else { return ExitCode::from(2) };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    let helper = Helper::this_program(["shim"]);
    let mut prober = sterna_shell::sandbox::Prober::new(helper, PathBuf::from(state));
    if !folder.is_empty() {
        prober = prober.folders(folder);
    }
    let report = runtime.block_on(prober.report());
    match serde_json::to_writer(std::io::stdout().lock(), &report) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// `ROOT KEY bound|free FOLDER LINE`: starts the line, says so with its process id, and does nothing until it is killed.
fn runtime(args: Vec<OsString>) -> ExitCode {
    let args: Vec<String> = args.into_iter().filter_map(|arg| arg.into_string().ok()).collect();
    let [root, key, tie, folder, line] = args.as_slice() else { return ExitCode::from(2) };
    let Ok(key) = key.parse() else { return ExitCode::from(2) };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    runtime.block_on(async {
        let env = [("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())].into();
        let mut plan = Plan::new(Run::Shell { line: line.clone() }, folder, env);
        plan.bound = tie == "bound";
        plan.grace_ms = 50;
        let _handle = match Shims::new(root, Some(Helper::this_host())).start(&key, 1, &plan).await {
            Ok(handle) => handle,
            Err(_) => return ExitCode::FAILURE,
        };
        let mut stdout = std::io::stdout().lock();
        if writeln!(stdout, "started {}", std::process::id()).and_then(|()| stdout.flush()).is_err() {
            return ExitCode::FAILURE;
        }
        std::future::pending().await
    })
}
