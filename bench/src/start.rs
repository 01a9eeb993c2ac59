//! Process start to the first byte of the first request, on a new store and on one that is there.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use sterna_model::EffectClass;

use crate::Options;
use crate::report::Report;
use crate::server::{TimedServer, text_reply};
use crate::world::{Keep, over_http};

pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let server = TimedServer::start(Arc::new(|_| text_reply("done")))?;
    let sterna = binary()?;
    let mut kinds = vec![(Kind::Runtime, std::env::current_exe()?)];
    kinds.extend(sterna.map(|path| (Kind::Sterna, path)));
    for (kind, program) in kinds {
        // A run of ours tells how large the floor's request is.
        let bytes = once(options, kind, &program, &server, None)?.1;
        let (mut fresh, mut again, mut whole) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..options.rounds(21, 5) {
            let ours = options.folder()?;
            let floor = options.folder()?;
            let floor_program = beside("floor-start")?;
            let ours_at = |at: &Path| once(options, kind, &program, &server, Some(at));
            let floor_at = |at: &Path| once(options, Kind::Floor(bytes), &floor_program, &server, Some(at));
            fresh.push((ours_at(ours.path())?.0, floor_at(floor.path())?.0));
            let (a, b) = (ours_at(ours.path())?, floor_at(floor.path())?);
            again.push((a.0, b.0));
            whole.push((a.2, b.2));
        }
        let (name, target) = match kind {
            Kind::Sterna => ("`sterna run`", "≤ 2 × floor, ≤ 15"),
            Kind::Runtime | Kind::Floor(_) => ("runtime alone", ""),
        };
        report.pairs(format!("start, {name}, store there"), "ms", target, &again);
        report.pairs(format!("start, {name}, new store"), "ms", "", &fresh);
        report.pairs(format!("start to exit, {name}, store there"), "ms", "", &whole);
    }
    match binary()? {
        Some(sterna) => elsewhere(options, &sterna, report),
        None => Ok(()),
    }
}

/// With a provider on another machine, as far as this one is concerned: up to the first byte of TLS. Both read the system's
/// certificates before it.
fn elsewhere(options: &Options, sterna: &Path, report: &mut Report) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let base_url = format!("https://{}/v1", listener.local_addr()?);
    let floor_program = beside("floor-start")?;
    let (ours, floor) = (options.folder()?, options.folder()?);
    let (ours, floor) = (ours.path(), floor.path());
    let run = || to_hello(sterna_at(sterna, ours, &base_url)?, &listener);
    let least = || to_hello(floor_at(&floor_program, floor, &base_url, REQUEST_BYTES), &listener);
    // The stores are there.
    run()?;
    least()?;
    let pairs: Result<Vec<(f64, f64)>> = (0..options.rounds(21, 5)).map(|_| Ok((run()?, least()?))).collect();
    report.pairs("start to TLS, `sterna run`, https, store there", "ms", "", &pairs?);
    Ok(())
}

/// Milliseconds from the process's start to the first byte that comes.
fn to_hello(mut command: Command, listener: &TcpListener) -> Result<f64> {
    let at = listener.local_addr()?;
    let started = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let pid = Pid::from_child(&child);
    // One that ends without a word must not leave us waiting.
    let watch = std::thread::spawn(move || {
        let ended = child.wait();
        drop(TcpStream::connect(at));
        ended
    });
    let (mut connection, _) = listener.accept()?;
    let read = connection.read(&mut [0])?;
    let ms = started.elapsed().as_secs_f64() * 1_000.0;
    ensure!(read == 1, "{command:?} ended before it sent anything");
    kill_process(pid, Signal::KILL)?;
    // The watcher's connection is the last that comes.
    drop(connection);
    listener.accept()?;
    watch.join().map_err(|_| anyhow!("the watcher panicked"))??;
    Ok(ms)
}

/// The runtime without a command line: opens the store, runs one turn.
pub fn child(args: &[String]) -> Result<()> {
    let [home, base_url] = args else { bail!("folder, base URL") };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let data = Path::new(home).join("data");
        over_http(Keep::Sqlite(&data), base_url, EffectClass::Pure)?.turn(None).await?;
        Ok(())
    })
}

/// The release build of `sterna`, which `cargo xtask bench` has made. `None` when it is not there.
pub fn binary() -> Result<Option<PathBuf>> {
    let sterna = beside("sterna")?;
    if sterna.exists() {
        return Ok(Some(sterna));
    }
    eprintln!("{} is not there: its command line is not measured", sterna.display());
    Ok(None)
}

#[derive(Clone, Copy)]
enum Kind {
    Sterna,
    /// The bench itself, as a process without a command line.
    Runtime,
    /// With the size of its request.
    Floor(usize),
}

/// Milliseconds to the first byte, bytes of the first request, and milliseconds to the exit.
fn once(
    options: &Options,
    kind: Kind,
    program: &Path,
    server: &TimedServer,
    home: Option<&Path>,
) -> Result<(f64, usize, f64)> {
    let own = options.folder()?;
    let home = home.unwrap_or(own.path());
    server.clear();
    let mut command = match kind {
        Kind::Sterna => sterna_at(program, home, &server.base_url())?,
        Kind::Runtime => {
            let mut command = bare(program, home);
            command.arg("_start").arg(home).arg(server.base_url());
            command
        }
        Kind::Floor(bytes) => floor_at(program, home, &server.base_url(), bytes),
    };
    let started = Instant::now();
    let output = command.stdin(Stdio::null()).output().with_context(|| program.display().to_string())?;
    let whole = started.elapsed();
    ensure!(output.status.success(), "{}: {}", program.display(), String::from_utf8_lossy(&output.stderr));
    let seen = server.seen();
    let first = seen.first().context("no request came")?;
    let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
    Ok((ms(first.first_byte.saturating_duration_since(started)), first.body_bytes, ms(whole)))
}

/// `sterna run` with this provider.
fn sterna_at(program: &Path, home: &Path, base_url: &str) -> Result<Command> {
    let config = format!("[providers.bench]\nwire = \"openai_chat\"\nbase_url = \"{base_url}\"\n");
    std::fs::write(home.join("config.toml"), config)?;
    let work = home.join("work");
    std::fs::create_dir_all(&work)?;
    let mut command = bare(program, home);
    command.current_dir(work).args(["run", "-m", "bench/x", "say hello"]);
    Ok(command)
}

fn floor_at(program: &Path, home: &Path, base_url: &str, bytes: usize) -> Command {
    let mut command = bare(program, home);
    command.arg(home.join("floor.db")).arg(format!("{base_url}/chat/completions")).arg(bytes.to_string());
    command
}

/// With an environment that says nothing.
fn bare(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", home).env("STERNA_HOME", home).current_dir(home);
    command
}

/// A program that lies beside this one.
fn beside(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.parent().context("a program lies in a folder")?.join(name))
}

/// Of the floor's request where none of ours is seen: about as many as a first request has.
const REQUEST_BYTES: usize = 40_000;
