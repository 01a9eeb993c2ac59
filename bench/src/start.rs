//! Process start to the first byte of the first request, on a new store and on one that is there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
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
    Ok(())
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
    let mut command = Command::new(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", home).env("STERNA_HOME", home).current_dir(home);
    match kind {
        Kind::Sterna => {
            let base_url = server.base_url();
            let config = format!("[providers.bench]\nwire = \"openai_chat\"\nbase_url = \"{base_url}\"\n");
            std::fs::write(home.join("config.toml"), config)?;
            let work = home.join("work");
            std::fs::create_dir_all(&work)?;
            command.current_dir(work).args(["run", "-m", "bench/x", "say hello"]);
        }
        Kind::Runtime => {
            command.arg("_start").arg(home).arg(server.base_url());
        }
        Kind::Floor(bytes) => {
            let url = format!("{}/chat/completions", server.base_url());
            command.arg(home.join("floor.db")).arg(url).arg(bytes.to_string());
        }
    }
    let started = Instant::now();
    let output = command.stdin(Stdio::null()).output().with_context(|| program.display().to_string())?;
    let whole = started.elapsed();
    ensure!(output.status.success(), "{}: {}", program.display(), String::from_utf8_lossy(&output.stderr));
    let seen = server.seen();
    let first = seen.first().context("no request came")?;
    let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
    Ok((ms(first.first_byte.saturating_duration_since(started)), first.body_bytes, ms(whole)))
}

/// A program that lies beside this one.
fn beside(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.parent().context("a program lies in a folder")?.join(name))
}
