//! One provider that serves all routes: HTTP endpoints, scripts, the local model, and what the host brings.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use sterna_llm::scripted::Scripted;
use sterna_llm::{
    EncodeCache, Encoded, ModelInfo, ModelReply, Provider, Request, SharedProvider, StreamEvent,
};
use sterna_llm_http::HttpProvider;
use sterna_model::{Billed, ErrorClass, ProviderFailure, Route};

use crate::LocalModel;

/// Finds the provider of a route.
pub struct Router {
    http: HttpProvider,
    /// Providers of the host, by name: they come first.
    own: HashMap<String, SharedProvider>,
    local: Option<Arc<LocalModel>>,
    scripts: Mutex<HashMap<String, Result<Arc<Scripted>, String>>>,
    /// Encodes for scripts that are not here any more, as replay does.
    blank: Scripted,
    cwd: PathBuf,
}

impl Router {
    pub fn new(
        http: HttpProvider,
        own: HashMap<String, SharedProvider>,
        local: Option<Arc<LocalModel>>,
        cwd: PathBuf,
    ) -> Self {
        let blank =
            Scripted::parse("", sleeper()).unwrap_or_else(|_| unreachable!("an empty script is a script"));
        Self { http, own, local, scripts: Mutex::default(), blank, cwd }
    }

    /// Whether a request on this route could be sent. The text says what to do.
    pub fn ready(&self, route: &Route) -> Result<(), String> {
        match (self.own.get(&route.provider), route.provider.as_str(), &self.local) {
            (Some(_), _, _) => Ok(()),
            (None, "scripted", _) => self.script(&route.model).map(|_| ()),
            (None, "local", Some(local)) => local.ready(),
            _ => self.http.ready(route),
        }
    }

    fn script(&self, file: &str) -> Result<Arc<Scripted>, String> {
        let mut scripts = self.scripts.lock().unwrap_or_else(PoisonError::into_inner);
        let read = || {
            let path = self.cwd.join(file);
            let text = std::fs::read_to_string(&path)
                .map_err(|e| format!("cannot read the script `{file}`: {e}"))?;
            Scripted::parse(&text, sleeper()).map(Arc::new).map_err(|e| format!("{file}: {e}"))
        };
        scripts.entry(file.to_owned()).or_insert_with(read).clone()
    }
}

impl Provider for Router {
    fn model(&self, route: &Route) -> Result<ModelInfo, String> {
        match (self.own.get(&route.provider), route.provider.as_str(), &self.local) {
            (Some(own), _, _) => own.model(route),
            (None, "scripted", _) => self.script(&route.model)?.model(route),
            (None, "local", Some(local)) => Ok(local.info()),
            _ => self.http.model(route),
        }
    }

    fn encoder(&self, route: &Route) -> String {
        match (self.own.get(&route.provider), route.provider.as_str(), &self.local) {
            (Some(own), _, _) => own.encoder(route),
            (None, "scripted", _) => self.blank.encoder(route),
            (None, "local", Some(local)) => local.encoder(route),
            _ => self.http.encoder(route),
        }
    }

    fn encode(&self, request: &Request, cache: &mut EncodeCache) -> Encoded {
        match (self.own.get(&request.route.provider), request.route.provider.as_str(), &self.local) {
            (Some(own), _, _) => own.encode(request, cache),
            (None, "scripted", _) => self.blank.encode(request, cache),
            (None, "local", Some(local)) => local.encode(request, cache),
            _ => self.http.encode(request, cache),
        }
    }

    fn send<'a>(
        &'a self,
        route: &'a Route,
        body: Encoded,
        events: &'a mut (dyn FnMut(StreamEvent) + Send),
    ) -> BoxFuture<'a, Result<ModelReply, ProviderFailure>> {
        match (self.own.get(&route.provider), route.provider.as_str(), &self.local) {
            (Some(own), _, _) => own.send(route, body, events),
            (None, "scripted", _) => match self.script(&route.model) {
                Ok(script) => async move { script.send(route, body, events).await }.boxed(),
                Err(message) => async move { Err(failure(ErrorClass::InvalidRequest, message)) }.boxed(),
            },
            (None, "local", Some(local)) => local.send(route, body, events),
            _ => self.http.send(route, body, events),
        }
    }
}

pub(crate) fn failure(class: ErrorClass, message: String) -> ProviderFailure {
    ProviderFailure { class, status: None, message, retry_after_ms: None, billed: Billed::default() }
}

/// A script's pauses, in real time.
pub(crate) fn sleeper() -> sterna_llm::scripted::Sleep {
    Arc::new(|ms| tokio::time::sleep(Duration::from_millis(ms)).boxed())
}
