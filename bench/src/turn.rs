//! A turn of 100 steps in a process of its own: the time it takes of the processor, and the most memory it holds. The
//! model is a process of its own, too.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use sterna_model::EffectClass;

use crate::floor::{Growing, Kept, ask, client};
use crate::report::Report;
use crate::sessions::Server;
use crate::watch::{Taken, watched};
use crate::world::{Keep, over_http};
use crate::{Options, start, step};

pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sizes: Vec<String> =
        runtime.block_on(step::request_sizes(STEPS))?.iter().map(usize::to_string).collect();
    let (server, reading) = (Server::start(STEPS, "noop")?, Server::start(STEPS, "read")?);
    let sterna = start::binary()?;
    let (mut ours, mut cli) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds(7, 2) {
        let own = |kind: &str| -> Result<Taken> {
            let folder = options.folder()?;
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["_turn", kind, &server.base_url()]).arg(folder.path()).arg(sizes.join(","));
            watched(command.stdin(Stdio::null()))
        };
        let floor = own("floor")?;
        ours.push((own("runtime")?, floor));
        if let Some(sterna) = &sterna {
            cli.push((whole(options, sterna, &reading.base_url())?, floor));
        }
    }
    let mut tell = |name: &str, pairs: &[(Taken, Taken)]| {
        let of = |get: &dyn Fn(&Taken) -> f64| -> Vec<(f64, f64)> {
            pairs.iter().map(|(ours, floor)| (get(ours), get(floor))).collect()
        };
        let agent = name.contains('`');
        let target = |text: &'static str| if agent { text } else { "" };
        report.pairs(format!("{name}: CPU"), "s", target("≤ 0.15"), &of(&|taken| taken.cpu));
        report.pairs(format!("{name}: peak memory"), "MB", target("≤ 25"), &of(&|taken| taken.peak_mb));
        report.pairs(format!("{name}: wall"), "s", "", &of(&|taken| taken.wall));
    };
    tell("100 steps, runtime alone", &ours);
    if !cli.is_empty() {
        tell("100 steps of `sterna run`, reading a file", &cli);
    }
    Ok(())
}

/// The program as people run it, on a file of a thousand lines.
fn whole(options: &Options, sterna: &Path, base_url: &str) -> Result<Taken> {
    let home = options.folder()?;
    let config = format!("[providers.bench]\nwire = \"openai_chat\"\nbase_url = \"{base_url}\"\n");
    std::fs::write(home.path().join("config.toml"), config)?;
    let work = home.path().join("work");
    std::fs::create_dir(&work)?;
    let lines: String = (0..1_000).map(|n| format!("line {n}\n")).collect();
    std::fs::write(work.join("lines.txt"), lines)?;
    let mut command = Command::new(sterna);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", home.path()).env("STERNA_HOME", home.path()).current_dir(work);
    command.args(["run", "-m", "bench/x", "--max-steps", "200", "read it line by line"]);
    watched(command.stdin(Stdio::null()).stdout(Stdio::null()))
}

/// The parts that run as processes of their own.
pub fn child(args: &[String]) -> Result<()> {
    let [kind, base_url, folder, sizes] = args else { bail!("kind, base URL, folder, sizes") };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match kind.as_str() {
            "floor" => bare(base_url, folder.as_ref(), sizes).await,
            "runtime" => {
                over_http(Keep::Sqlite(folder.as_ref()), base_url, EffectClass::Pure)?.turn(None).await?;
                Ok(())
            }
            other => bail!("no kind `{other}`"),
        }
    })
}

/// A durable row and a request for each step, and nothing else.
async fn bare(base_url: &str, folder: &Path, sizes: &str) -> Result<()> {
    let kept = Kept::open(&folder.join("floor.db"))?;
    let (client, url) = (client()?, format!("{base_url}/chat/completions"));
    let mut growing: Option<Growing> = None;
    for (n, size) in sizes.split(',').enumerate() {
        let size: usize = size.parse()?;
        kept.keep(&[b'x'; 1_500])?;
        let body = match &mut growing {
            None => growing.insert(Growing::new(size)).body(),
            Some(growing) => {
                let mut body = growing.body().len();
                // The server counts these.
                growing.push(RESULT);
                body += RESULT.len();
                growing.grow(size.saturating_sub(body));
                growing.body()
            }
        };
        anyhow::ensure!(n == 0 || body.len() >= size, "a body of {} bytes", body.len());
        ask(&client, &url, body).await?;
    }
    Ok(())
}

const RESULT: &[u8] = b"{\"role\":\"tool\"}";
const STEPS: usize = 99;
