//! `Provider` over HTTP: any number of endpoints, each with its wire, key and client.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use sterna_llm::{EncodeCache, Encoded, ModelInfo, ModelReply, Provider, Request, StreamEvent, catalog};
use sterna_model::{Billed, ErrorClass, ProviderFailure, Route};

use crate::call::{Call, failure};
use crate::client::LazyClient;
use crate::{Endpoint, KeySource, Secret, builtin, not_built};

/// Serves the routes whose provider is among its endpoints.
pub struct HttpProvider {
    endpoints: BTreeMap<String, Served>,
}

struct Served {
    endpoint: Endpoint,
    client: LazyClient,
    /// What is known of models that were asked for: each step of a turn asks several times.
    known: Mutex<BTreeMap<String, ModelInfo>>,
}

impl Served {
    fn of(endpoint: Endpoint) -> Self {
        Self { endpoint, client: LazyClient::default(), known: Mutex::default() }
    }

    fn model(&self, route: &Route) -> ModelInfo {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(info) = known.get(&route.model) {
            return info.clone();
        }
        let info = catalog::lookup(route);
        let info = match self.endpoint.models.get(&route.model) {
            Some(told) => told.over(info),
            None => info,
        };
        if known.len() < KNOWN_MODELS {
            known.insert(route.model.clone(), info.clone());
        }
        info
    }
}

impl HttpProvider {
    /// Endpoints by provider name. Builds no client and reads nothing.
    pub fn new(endpoints: BTreeMap<String, Endpoint>) -> Self {
        let serve = |(name, endpoint)| (name, Served::of(endpoint));
        Self { endpoints: endpoints.into_iter().map(serve).collect() }
    }

    /// Whether a request on this route could be sent: the provider is there and so is its key. The text says what to do.
    pub fn ready(&self, route: &Route) -> Result<(), String> {
        let endpoint = &self.served(route)?.endpoint;
        if endpoint.base_url.is_empty() {
            return Err(nowhere(&route.provider));
        }
        // A server for one model, as `local` is, may need no name of it.
        if route.model.is_empty() && route.provider != "local" {
            let provider = &route.provider;
            return Err(format!("`{provider}` names no model; write it as {provider}/MODEL"));
        }
        match &endpoint.key {
            KeySource::Missing { hint } => Err(format!("no key for {}: {hint}", route.provider)),
            // Whether it is there is known when it is looked for.
            KeySource::None | KeySource::Value(..) | KeySource::Later(_) => Ok(()),
        }
    }

    /// Begins what the first call of this route would wait for and nobody else sees: an `https` client reads the system's
    /// certificates. Returns at once. Nothing is sent.
    pub fn prepare(&self, route: &Route) {
        if let Ok(Served { endpoint, client, .. }) = self.served(route) {
            client.prepare(&endpoint.base_url, connect_timeout(endpoint));
        }
    }

    fn served(&self, route: &Route) -> Result<&Served, String> {
        self.endpoints.get(&route.provider).ok_or_else(|| match not_built(&route.provider) {
            Some(why) => why.to_owned(),
            None => {
                let known: Vec<&str> = self.endpoints.keys().map(String::as_str).collect();
                let known = known.join(", ");
                let written = match route.model.is_empty() {
                    true => "; a model is written PROVIDER/MODEL",
                    false => "",
                };
                format!("there is no provider `{}`; there are: {known}{written}", route.provider)
            }
        })
    }

    async fn call(
        &self,
        route: &Route,
        body: Encoded,
        events: &mut (dyn FnMut(StreamEvent) + Send),
    ) -> Result<ModelReply, ProviderFailure> {
        let invalid = |message| failure(ErrorClass::InvalidRequest, message);
        let Served { endpoint, client, .. } = self.served(route).map_err(invalid)?;
        if endpoint.base_url.is_empty() {
            return Err(invalid(nowhere(&route.provider)));
        }
        self.ready(route).map_err(|message| failure(ErrorClass::Auth, message))?;
        let client = client.get(&endpoint.base_url, connect_timeout(endpoint)).map_err(invalid)?;
        let wire = endpoint.wire().map_err(invalid)?;
        let key = key(endpoint).await.map_err(|message| failure(ErrorClass::Auth, message))?;
        Call { client, endpoint, key: key.as_ref(), wire, route }.run(body, events).await
    }
}

fn connect_timeout(endpoint: &Endpoint) -> Duration {
    Duration::from_millis(endpoint.timeouts.connect_ms)
}

/// Nobody has said where this provider is.
fn nowhere(name: &str) -> String {
    let variable = builtin(name).map_or("its base URL", |builtin| builtin.base_url_env);
    format!("where {name} is served is not known: set {variable}, or base_url in [providers.{name}]")
}

/// The endpoint's key. Looking for one may run a program, and must not hold up others.
pub(crate) async fn key(endpoint: &Endpoint) -> Result<Option<Secret>, String> {
    match &endpoint.key {
        KeySource::Value(secret, _) => Ok(Some(secret.clone())),
        KeySource::None | KeySource::Missing { .. } => Ok(None),
        KeySource::Later(later) => {
            let later = later.clone();
            let found = tokio::task::spawn_blocking(move || later.get()).await;
            found.map_err(|error| format!("the key could not be looked for: {error}"))?.map(Some)
        }
    }
}

impl Provider for HttpProvider {
    /// A missing key is no reason to know less: `ready` and `send` tell.
    fn model(&self, route: &Route) -> Result<ModelInfo, String> {
        Ok(self.served(route)?.model(route))
    }

    fn encoder(&self, route: &Route) -> String {
        match self.served(route).and_then(|served| served.endpoint.wire()) {
            Ok(wire) => format!("{}/{}", wire.name(), wire.version()),
            Err(_) => "none/0".into(),
        }
    }

    fn encode(&self, request: &Request, cache: &mut EncodeCache) -> Encoded {
        match self.served(&request.route).and_then(|served| served.endpoint.wire()) {
            Ok(wire) => wire.encode(request, cache),
            // `model` refuses such a route before anything is encoded, and `send` refuses it again.
            Err(_) => Encoded::of(Vec::new()),
        }
    }

    fn send<'a>(
        &'a self,
        route: &'a Route,
        body: Encoded,
        events: &'a mut (dyn FnMut(StreamEvent) + Send),
    ) -> BoxFuture<'a, Result<ModelReply, ProviderFailure>> {
        Box::pin(async move {
            let price = self.model(route).ok().and_then(|info| info.price);
            let priced =
                |billed: Billed| Billed { cost: price.map(|p| catalog::cost(&p, &billed.usage)), ..billed };
            match self.call(route, body, events).await {
                Ok(reply) => Ok(ModelReply { billed: priced(reply.billed), ..reply }),
                Err(failed) => Err(ProviderFailure { billed: priced(failed.billed), ..failed }),
            }
        })
    }
}

/// Models of one endpoint that are remembered: whoever embeds us may ask for any number of names.
const KNOWN_MODELS: usize = 256;
