//! The model that runs on this machine: found, started on demand on loopback, stopped with Sterna.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Deserialize;
use sterna_llm::ladder::Timeouts;
use sterna_llm::{EncodeCache, Encoded, ModelInfo, ModelReply, Price, Provider, Request, StreamEvent};
use sterna_llm_http::{Endpoint, HttpProvider};
use sterna_model::{ErrorClass, ProviderFailure, Route};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use crate::router::failure;

/// Seconds that the server may take to load its model.
const START: Duration = Duration::from_secs(180);
/// Tokens of context that the server is started with.
const CONTEXT: u32 = 8_192;
/// Tokens that the model may write: small models that go on and on help nobody.
const MAX_OUTPUT: u32 = 1_024;

/// Says how a model is installed, with the script and by hand. An installed Sterna has neither beside it.
const PAGE: &str = "docs/local-model.md";

/// The local model's server.
pub struct LocalModel {
    dir: PathBuf,
    /// As many as there are cores, unless it is said.
    threads: Option<u32>,
    context: u32,
    notice: Arc<dyn Fn(&str) + Send + Sync>,
    running: Mutex<Option<Running>>,
    /// Encodes: the wire does not depend on where the server is.
    encoder: HttpProvider,
}

struct Running {
    /// Its stdin is ours: when we die, however it happens, it ends.
    child: Child,
    http: Arc<HttpProvider>,
}

/// The line that the server prints when it answers, or when it cannot.
#[derive(Deserialize)]
struct Ready {
    ready: bool,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    error: String,
}

impl LocalModel {
    /// `dir`: where it was installed. `notice` tells a person what takes long.
    pub fn new(
        dir: PathBuf,
        threads: Option<u32>,
        context: Option<u32>,
        notice: Arc<dyn Fn(&str) + Send + Sync>,
    ) -> Self {
        Self {
            dir,
            threads,
            context: context.unwrap_or(CONTEXT),
            notice,
            running: Mutex::default(),
            encoder: provider("http://127.0.0.1:0/v1"),
        }
    }

    fn threads(&self) -> u32 {
        let cores =
            || std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
        self.threads.unwrap_or_else(cores).max(1)
    }

    /// Whether it is installed. The text says what to do.
    pub fn ready(&self) -> Result<(), String> {
        let missing = [self.python(), self.script()].into_iter().find(|path| !path.exists());
        match (missing, self.weights()) {
            (None, Some(_)) => Ok(()),
            _ => Err(format!(
                "no local model is installed in {0}; `scripts/local-model install {0}` in a checkout of Sterna puts one there; \
                 without a checkout name a model server that you run, such as `-m ollama/MODEL`, or install by hand: {PAGE}",
                self.dir.display()
            )),
        }
    }

    pub fn info(&self) -> ModelInfo {
        let free = Price::default();
        ModelInfo {
            context: self.context,
            max_output: MAX_OUTPUT.min(self.context / 2),
            price: Some(free),
            assumed: false,
            // A grammar for the answer and one for calls cannot be had at once.
            schema_native: false,
            thinking: None,
            sight: sterna_model::Sight::default(),
        }
    }

    fn python(&self) -> PathBuf {
        self.dir.join("venv/bin/python")
    }

    fn script(&self) -> PathBuf {
        self.dir.join("local_model_server.py")
    }

    fn weights(&self) -> Option<PathBuf> {
        let entries = std::fs::read_dir(&self.dir).ok()?;
        let mut files: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "gguf"))
            .collect();
        files.sort();
        files.into_iter().next()
    }

    async fn server(&self) -> Result<Arc<HttpProvider>, String> {
        let mut running = self.running.lock().await;
        if let Some(server) = running.as_mut() {
            match server.child.try_wait() {
                Ok(None) => return Ok(server.http.clone()),
                Ok(Some(_)) | Err(_) => *running = None,
            }
        }
        self.ready()?;
        (self.notice)("starting the local model (a few seconds)");
        let started = self.start().await?;
        let http = started.http.clone();
        *running = Some(started);
        Ok(http)
    }

    async fn start(&self) -> Result<Running, String> {
        let weights = self.weights().ok_or("the local model's weights are gone")?;
        let log =
            std::fs::File::create(self.dir.join("server.log")).map_or_else(|_| Stdio::null(), Stdio::from);
        let mut child = Command::new(self.python())
            .arg(self.script())
            .arg("--model")
            .arg(weights)
            .args([
                "--port",
                "0",
                "--threads",
                &self.threads().to_string(),
                "--ctx",
                &self.context.to_string(),
            ])
            .args(["--parent-pid", &std::process::id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| format!("cannot start the local model's server: {e}"))?;
        let stdout = child.stdout.take().ok_or("the local model's server has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let hint = format!("; see {}", self.dir.join("server.log").display());
        let ready = async {
            while let Ok(Some(line)) = lines.next_line().await {
                match serde_json::from_str::<Ready>(&line) {
                    Ok(ready) if ready.ready => return Ok(ready),
                    Ok(ready) => {
                        return Err(format!("the local model's server cannot start: {}{hint}", ready.error));
                    }
                    // Not the line that counts.
                    Err(_) => {}
                }
            }
            Err(format!("the local model's server ended before it was ready{hint}"))
        };
        let ready = tokio::time::timeout(START, ready)
            .await
            .map_err(|_| format!("the local model was not ready within {} s{hint}", START.as_secs()))??;
        // What it prints later is not read by anyone: take it, so that it never blocks.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let http = Arc::new(provider(&format!("http://127.0.0.1:{}/v1", ready.port)));
        Ok(Running { child, http })
    }
}

impl Provider for LocalModel {
    fn model(&self, _route: &Route) -> Result<ModelInfo, String> {
        Ok(self.info())
    }

    fn encoder(&self, route: &Route) -> String {
        self.encoder.encoder(route)
    }

    fn encode(&self, request: &Request, cache: &mut EncodeCache) -> Encoded {
        // A small model is at its best when it does not guess.
        let request = Request { temperature: Some(0.0), ..request.clone() };
        self.encoder.encode(&request, cache)
    }

    fn send<'a>(
        &'a self,
        route: &'a Route,
        body: Encoded,
        events: &'a mut (dyn FnMut(StreamEvent) + Send),
    ) -> BoxFuture<'a, Result<ModelReply, ProviderFailure>> {
        async move {
            match self.server().await {
                Ok(http) => http.send(route, body, events).await,
                Err(message) => Err(failure(ErrorClass::InvalidRequest, message)),
            }
        }
        .boxed()
    }
}

fn provider(base_url: &str) -> HttpProvider {
    let mut endpoint = Endpoint::new("openai_chat", base_url);
    endpoint.timeouts = Timeouts::of_provider("local");
    HttpProvider::new(BTreeMap::from([("local".to_owned(), endpoint)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_local_model_is_told_what_to_do_with_a_checkout_and_without_one() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("model");
        let model = LocalModel::new(dir.clone(), None, None, Arc::new(|_: &str| {}));
        let why = model.ready().unwrap_err();
        let (what, to_do) = why.split_once("; ").unwrap();
        assert_eq!(what, format!("no local model is installed in {}", dir.display()));
        let script = format!("`scripts/local-model install {}` in a checkout", dir.display());
        for part in [script.as_str(), "without a checkout", "-m ollama/MODEL", "docs/local-model.md"] {
            assert!(to_do.contains(part), "{part}: {why}");
        }
    }
}
