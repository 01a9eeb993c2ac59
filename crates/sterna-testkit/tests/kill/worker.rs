//! The process that is killed: a host on the SDK, with the built-in tools and some that ask the server outside.
//!
//! It is started with a folder and nothing else, and does the same each time: it sends its inputs under their keys,
//! carries on, and prints the number of each record when that is durable.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use sterna::llm::scripted::Scripted;
use sterna::model::*;
use sterna::places::Places;
use sterna::runtime::Submit;
use sterna::tool::{
    Access, Plan, PlanContext, SharedTool, Tool, ToolContext, ToolDone, ToolError, ToolReturn,
};
use sterna::{Error, Sterna, Store};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

pub const SESSION: &str = "s";
/// The inputs: one that starts the turn, one that is steered into it, one that waits for its own.
const INPUTS: [(&str, Delivery); 3] =
    [("go", Delivery::NextTurn), ("and this", Delivery::AfterWork), ("then that", Delivery::NextTurn)];

/// What lies in a run's folder.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn work(&self) -> PathBuf {
        self.0.join("work")
    }
    pub fn script(&self) -> PathBuf {
        self.0.join("script.jsonl")
    }
    pub fn socket(&self) -> PathBuf {
        self.0.join("out")
    }
    pub fn spools(&self) -> PathBuf {
        self.data().join("spools")
    }
    /// Whether this file is there: policy asks about what no rule covers, and nobody answers.
    pub fn asks(&self) -> PathBuf {
        self.0.join("asks")
    }
    fn home(&self) -> PathBuf {
        self.0.join("home")
    }
    fn data(&self) -> PathBuf {
        self.home().join("data")
    }
}

/// Works in this folder until all its inputs are answered.
pub fn work(dir: &Path) -> ExitCode {
    let folder = Folder(dir.to_owned());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let done = runtime.map_err(|e| e.to_string()).and_then(|runtime| {
        runtime.block_on(async {
            let sterna = open(&folder).await.map_err(|e| e.to_string())?;
            drive(&sterna).await.map_err(|e| e.to_string())
        })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("worker: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The host over what lies in this folder.
pub async fn open(folder: &Folder) -> Result<Sterna, Error> {
    let script = std::fs::read_to_string(folder.script()).expect("the script lies in the folder");
    let pause: sterna::llm::scripted::Sleep =
        Arc::new(|ms| tokio::time::sleep(std::time::Duration::from_millis(ms)).boxed());
    let model = Scripted::parse(&script, pause).expect("the script can be played");
    let home = folder.home();
    let places = Places {
        data: folder.data(),
        state: home.join("state"),
        cache: home.join("cache"),
        managed: home.join("managed.toml"),
        config: home,
    };
    let mode = if folder.asks().exists() { Mode::Execute } else { Mode::Bypass };
    let mut builder = Sterna::builder()
        .places(places)
        .store(Store::Folder(folder.data()))
        .provider(Arc::new(model))
        .workspace(folder.work())
        .mode(mode)
        .on_ask(OnAsk::Deny);
    for (name, class, access) in [
        ("look", EffectClass::Pure, Access::Session),
        ("put", EffectClass::Idempotent, Access::Session),
        ("fire", EffectClass::AtMostOnce, Access::Session),
        ("lend", EffectClass::Compensable, Access::Session),
        // Policy asks about it.
        ("risky", EffectClass::AtMostOnce, Access::Other),
    ] {
        builder = builder.tool(remote(name, class, access, folder.socket()));
    }
    builder.build().await
}

async fn drive(sterna: &Sterna) -> Result<(), Error> {
    let id = SessionId::new(SESSION)?;
    let (runtime, config) = (sterna.runtime(), sterna.turn_config());
    let mut last = None;
    for (text, delivery) in INPUTS {
        let submit = Submit {
            session: Some(id.clone()),
            key: Some(text.into()),
            parts: vec![InputPart::Text(text.into())],
            delivery,
            origin: "worker".into(),
            config: config.clone(),
            live: false,
            drive: false,
        };
        last = Some(runtime.submit(submit).await?.input);
    }
    let mut observer = runtime.observe(&id, 0);
    runtime.resume(&id, config.clone());
    let mut told = 0;
    loop {
        let event = observer.next().await?;
        if event.seq > told {
            told = event.seq;
            let mut out = std::io::stdout().lock();
            // Whoever listened may have gone.
            let _ = writeln!(out, "{told}").and_then(|()| out.flush());
        }
        if matches!(event.kind, EventKind::Result(_)) && event.turn == Some(2) {
            break;
        }
    }
    if let Some(input) = last {
        runtime.result(&id, input).await?;
    }
    Ok(())
}

/// A tool that asks the server outside under its effect's key.
struct Remote {
    spec: ToolSpec,
    class: EffectClass,
    access: Access,
    socket: PathBuf,
}

fn remote(name: &str, class: EffectClass, access: Access, socket: PathBuf) -> SharedTool {
    let schema = json!({"type": "object", "properties": {"what": {"type": "string"}}});
    let spec = ToolSpec { name: name.into(), description: format!("Asks the server to {name}."), schema };
    Arc::new(Remote { spec, class, access, socket })
}

impl Remote {
    async fn ask(&self, verb: &str, key: &EffectKey) -> Result<String, ToolError> {
        let asked = async {
            let mut stream = UnixStream::connect(&self.socket).await?;
            stream.write_all(format!("{verb} {key}\n").as_bytes()).await?;
            let mut said = String::new();
            BufReader::new(stream).read_line(&mut said).await?;
            Ok::<_, std::io::Error>(said.trim_end().to_owned())
        };
        asked.await.map_err(ToolError::failed)
    }
}

impl Tool for Remote {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn class(&self, _: &Value) -> EffectClass {
        self.class
    }

    fn plan(&self, _: &PlanContext, _: &Value) -> Result<Plan, ToolError> {
        let summary = self.spec.description.clone();
        Ok(Plan { accesses: vec![self.access.clone()], summary, preview: None })
    }

    fn call<'a>(&'a self, cx: ToolContext, _: Value) -> BoxFuture<'a, Result<ToolReturn, ToolError>> {
        async move {
            let said = self.ask(&self.spec.name, &cx.key).await?;
            Ok(ToolReturn::Done(ToolDone::text(said)))
        }
        .boxed()
    }

    fn undo<'a>(&'a self, cx: ToolContext, _: Value) -> BoxFuture<'a, Result<(), ToolError>> {
        async move { self.ask("undo", &cx.key).await.map(drop) }.boxed()
    }
}
