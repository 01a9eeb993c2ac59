//! Many sessions at once in one process. The model server is another process, so that memory and CPU are ours alone.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use sterna_model::EffectClass;

use crate::floor::{ask, client};
use crate::report::Report;
use crate::server::SESSION_STEPS;
use crate::world::{Keep, over_http};
use crate::{Options, step};
use sterna_hot::World;

pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sizes = runtime.block_on(step::request_sizes(SESSION_STEPS))?;
    let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
    let sizes = sizes.join(",");
    let run = |kind: &str, sessions: usize, server: &Server| -> Result<Run> {
        let folder = options.folder()?;
        let folder = folder.path().display().to_string();
        Run::of(&[kind, &sessions.to_string(), &server.port, &folder, &sizes])
    };
    for sessions in [100, 1_000] {
        let mut rounds: Vec<[Run; 3]> = Vec::new();
        for _ in 0..options.rounds(5, 1) {
            let server = Server::start(SESSION_STEPS, "noop")?;
            let of = |kind: &str| run(kind, sessions, &server);
            rounds.push([of("floor")?, of("sqlite")?, of("memory")?]);
        }
        let steps = (sessions * (SESSION_STEPS + 1)) as f64;
        for (at, kind) in [(1, "SQLite FULL"), (2, "nothing kept")] {
            let name = format!("{sessions} sessions × 10, {kind}");
            let pairs = |of: &dyn Fn(&Run) -> f64| -> Vec<(f64, f64)> {
                rounds.iter().map(|round| (of(&round[at]), of(&round[0]))).collect()
            };
            let durable = at == 1 && sessions == 1_000;
            let target = |text: &'static str| if durable { text } else { "" };
            report.pairs(format!("{name}: wall"), "s", target("≤ 3"), &pairs(&|run| run.wall));
            report.pairs(format!("{name}: steps a second"), "1/s", "", &pairs(&|run| steps / run.wall));
            report.pairs(format!("{name}: CPU"), "s", "", &pairs(&|run| run.cpu));
            report.pairs(format!("{name}: peak memory"), "MB", target("≤ 100"), &pairs(&|run| run.peak_mb));
        }
    }
    if !options.quick {
        // Each has a connection, on both sides: not every system allows so many.
        match many(&run) {
            Ok((durable, kept_nowhere)) => {
                let steps = (MANY * (SESSION_STEPS + 1)) as f64;
                let name = format!("{MANY} sessions × 10, SQLite FULL, beside nothing kept");
                let mut tell = |what: &str, unit: &'static str, of: &dyn Fn(&Run) -> f64| {
                    report.pairs(format!("{name}: {what}"), unit, "", &[(of(&durable), of(&kept_nowhere))]);
                };
                tell("steps a second", "1/s", &|run| steps / run.wall);
                tell("CPU", "s", &|run| run.cpu);
                tell("peak memory", "MB", &|run| run.peak_mb);
            }
            Err(error) => eprintln!("{MANY} sessions at once: not measured: {error:#}"),
        }
    }
    Ok(())
}

/// One run of each kind, each with a server of its own.
fn many(run: &dyn Fn(&str, usize, &Server) -> Result<Run>) -> Result<(Run, Run)> {
    let of = |kind: &str| run(kind, MANY, &Server::start(SESSION_STEPS, "noop")?);
    Ok((of("sqlite")?, of("memory")?))
}

const MANY: usize = 10_000;

struct Run {
    wall: f64,
    cpu: f64,
    peak_mb: f64,
}

impl Run {
    fn of(args: &[&str]) -> Result<Self> {
        let output = Command::new(std::env::current_exe()?).arg("_sessions").args(args).output()?;
        ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        let told: Value = serde_json::from_slice(&output.stdout)?;
        let number = |name: &str| told[name].as_f64().with_context(|| format!("no {name} in {told}"));
        Ok(Self { wall: number("wall")?, cpu: number("cpu")?, peak_mb: number("peak_mb")? })
    }
}

/// The model server of many connections, as a process that ends with its value.
pub struct Server {
    child: Child,
    port: String,
}

impl Server {
    /// Asks for this tool so often, then answers.
    pub fn start(steps: usize, tool: &str) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["_serve", &steps.to_string(), tool]);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let out = child.stdout.take().context("the server's stdout is a pipe")?;
        let mut port = String::new();
        BufReader::new(out).read_line(&mut port)?;
        Ok(Self { child, port: port.trim().to_owned() })
    }

    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One run, in a process of its own. Says its figures on stdout.
pub fn child(args: &[String]) -> Result<()> {
    let [kind, sessions, port, folder, sizes] = args else { bail!("kind, sessions, port, folder, sizes") };
    let sessions: usize = sessions.parse()?;
    let sizes: Vec<usize> = sizes.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let base_url = format!("http://127.0.0.1:{port}/v1");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let started = Instant::now();
    runtime.block_on(async {
        match kind.as_str() {
            "floor" => bare(sessions, &base_url, &sizes).await,
            "memory" => drive(over_http(Keep::Memory, &base_url, EffectClass::Pure)?, sessions).await,
            "sqlite" => {
                let keep = Keep::Sqlite(folder.as_ref());
                drive(over_http(keep, &base_url, EffectClass::Pure)?, sessions).await
            }
            other => bail!("no kind `{other}`"),
        }
    })?;
    let wall = started.elapsed().as_secs_f64();
    println!("{}", json!({ "wall": wall, "cpu": cpu_seconds(), "peak_mb": peak_mb() }));
    Ok(())
}

async fn drive(world: World, sessions: usize) -> Result<()> {
    let turns = (0..sessions).map(|_| async {
        let (_, result) = world.turn(None).await?;
        ensure!(result.steps as usize == SESSION_STEPS + 1, "{} steps", result.steps);
        Ok(())
    });
    futures::future::try_join_all(turns).await?;
    Ok(())
}

async fn bare(sessions: usize, base_url: &str, sizes: &[usize]) -> Result<()> {
    let url = format!("{base_url}/chat/completions");
    let client = client()?;
    let mut tasks = Vec::with_capacity(sessions);
    for _ in 0..sessions {
        let (client, url, sizes) = (client.clone(), url.clone(), sizes.to_vec());
        tasks.push(tokio::spawn(async move {
            let mut body: Vec<u8> = Vec::new();
            for (n, size) in sizes.into_iter().enumerate() {
                if n > 0 {
                    // The server counts these.
                    body.extend_from_slice(b"{\"role\":\"tool\"}");
                }
                body.resize(size.max(body.len()), b'x');
                ask(&client, &url, body.clone().into()).await?;
            }
            anyhow::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// CPU time of this process, in user and kernel.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = after.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
    // A tick is 10 ms on every Linux that we know.
    ticks / 100.0
}

fn peak_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kb = peak.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
    kb.unwrap_or(f64::NAN) / 1_024.0
}
