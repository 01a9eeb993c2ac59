//! `cargo xtask link-order`: which functions a run takes, told by valgrind, for the linker to put side by side.
//!
//! The kernel maps sixteen pages around each that is touched. A program whose few used functions lie all over it has most of itself in
//! memory; with them in one place it holds a third less, and less of it is read at the first start.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// Builds what is shipped, runs it below valgrind as people do, and writes the names of what ran.
pub fn run(root: &Path) -> Result<()> {
    let cli = ["build", "--release", "--locked", "--package", "sterna-cli"];
    crate::cargo(&cli, &[])?;
    crate::cargo(&[&cli[..], &["--package", "sterna-bench"]].concat(), &[])?;
    let release = crate::bench::release()?;
    let sterna = release.join("sterna");
    let scratch = release.join("link-order");
    // What an earlier run left.
    let _ = std::fs::remove_dir_all(&scratch);
    let names = ran(&sterna, &release, &scratch);
    std::fs::remove_dir_all(&scratch)?;
    let own = symbols(&sterna)?;
    let ran = names?;
    let names: Vec<&String> = ran.intersection(&own).collect();
    ensure!(names.len() > LEAST, "only {} functions ran: that is no run", names.len());
    let mut text = String::new();
    for name in &names {
        text.push_str(name);
        text.push('\n');
    }
    std::fs::write(root.join(FILE), text)?;
    println!("{FILE}: {} of {} functions", names.len(), own.len());
    Ok(())
}

/// The functions of a few runs: by HTTP and by a script, of every tool that works on files, and what is asked of sessions.
fn ran(sterna: &Path, release: &Path, scratch: &Path) -> Result<BTreeSet<String>> {
    let (home, work) = (scratch.join("home"), scratch.join("work"));
    std::fs::create_dir_all(&home)?;
    std::fs::create_dir_all(&work)?;
    let lines: String = (0..100).map(|n| format!("line {n}\n")).collect();
    std::fs::write(work.join("lines.txt"), lines)?;
    let script = scratch.join("script.jsonl");
    std::fs::write(&script, SCRIPT)?;
    let server = Server::start(&release.join("sterna-bench"))?;
    let config = format!(
        "[providers.bench]\nwire = \"openai_chat\"\nbase_url = \"http://127.0.0.1:{}/v1\"\n",
        server.port
    );
    std::fs::write(home.join("config.toml"), config)?;
    let scripted = format!("scripted:{}", script.display());
    let runs: [&[&str]; 6] = [
        &["--version"],
        &["run", "-m", "bench/x", "read it line by line"],
        &["run", "-m", &scripted, "--mode", "accept-edits", "do this and that"],
        &["run", "-m", &scripted, "--mode", "bypass", "--sandbox", "none", "--json", "do this and that"],
        &["sessions"],
        &["policy", "explain", "git status && cargo test 2>&1 | tail -3"],
    ];
    let mut names = BTreeSet::new();
    for (n, args) in runs.iter().enumerate() {
        let told = scratch.join(format!("callgrind.{n}"));
        let mut command = Command::new("valgrind");
        command.arg("--tool=callgrind").arg("--demangle=no");
        command.arg(format!("--callgrind-out-file={}", told.display())).arg(sterna).args(*args);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", &home).env("STERNA_HOME", &home).current_dir(&work);
        let out = command.stdin(Stdio::null()).output().context("valgrind could not be started")?;
        let said = String::from_utf8_lossy(&out.stderr);
        ensure!(out.status.success(), "`sterna {}` failed below valgrind: {said}", args.join(" "));
        names.extend(functions(&std::fs::read_to_string(&told)?));
    }
    Ok(names)
}

/// The names in what callgrind wrote: `fn=(12) name` where one comes first, and `cfn=` where it is called.
fn functions(told: &str) -> impl Iterator<Item = String> {
    told.lines().filter_map(|line| {
        let (key, rest) = line.split_once('=')?;
        let (_, name) = rest.split_once(' ').filter(|_| key == "fn" || key == "cfn")?;
        // `'2` counts how deep a function is in itself.
        Some(name.split('\'').next().unwrap_or(name).to_owned())
    })
}

/// The functions that the program has.
fn symbols(program: &Path) -> Result<BTreeSet<String>> {
    let out = Command::new("nm").arg(program).output().context("nm could not be started")?;
    ensure!(out.status.success(), "nm cannot read {}", program.display());
    let told = String::from_utf8(out.stdout)?;
    let of = |line: &str| -> Option<String> {
        let mut words = line.split(' ').skip(1);
        words.next().filter(|kind| kind.eq_ignore_ascii_case("t"))?;
        words.next().map(str::to_owned)
    };
    Ok(told.lines().filter_map(of).collect())
}

/// The bench's server as the model.
struct Server {
    child: Child,
    port: String,
}

impl Server {
    fn start(bench: &Path) -> Result<Self> {
        let mut child = Command::new(bench).args(["_serve", "5", "read"]).stdout(Stdio::piped()).spawn()?;
        let out = child.stdout.take().context("the server's stdout is a pipe")?;
        let mut port = String::new();
        BufReader::new(out).read_line(&mut port)?;
        let port = port.trim().to_owned();
        if port.is_empty() {
            bail!("the bench's server did not say where it is");
        }
        Ok(Self { child, port })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the build script of the command line looks for it.
const FILE: &str = "crates/sterna-cli/link-order.txt";
/// A run takes some six thousand.
const LEAST: usize = 3_000;
const SCRIPT: &str = r#"{"text":"First I look.","calls":[{"name":"glob","arguments":{"pattern":"*.txt"}},{"name":"grep","arguments":{"pattern":"line 7"}}]}
{"calls":[{"name":"read","arguments":{"path":"lines.txt","limit":5}}]}
{"calls":[{"name":"write","arguments":{"path":"new.txt","content":"one\ntwo\n"}}]}
{"calls":[{"name":"edit","arguments":{"path":"new.txt","old_string":"two","new_string":"three"}}]}
{"calls":[{"name":"shell","arguments":{"command":"ls -la && cat new.txt | wc -l"}}]}
{"calls":[{"name":"todo","arguments":{"todos":[{"content":"all","status":"completed"}]}}]}
{"text":"done."}
"#;
