//! What every command is given: places, settings, the working directory, and a way to the store.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sterna::config::{self, Settings};
use sterna::places::Places;
use sterna::trust::Trust;
use sterna::{LocalCheckpoints, LocalModel, Router, SystemEnv, secrets_of};
use sterna_llm_http::HttpProvider;
use sterna_log::SharedBlobs;
use sterna_model::SessionId;
use sterna_runtime::{Env, Parts, Runtime, Secrets, SharedCheckpoints, Toolbox};
use sterna_sqlite::{Options, SqliteStore};

use crate::failure::Failure;
use crate::print::Print;

/// One command's surroundings.
#[derive(Clone)]
pub struct Context {
    pub places: Places,
    pub settings: Settings,
    /// Absolute, symlinks resolved.
    pub cwd: PathBuf,
    pub print: Print,
    /// Why the configuration could not be read. Only contexts made by `lenient` have it.
    pub broken: Option<Failure>,
    /// Nothing is to be kept.
    pub ephemeral: bool,
    /// Somebody waits for what is to begin: what is slow may come later.
    pub hasty: bool,
    /// Whether files of the folder count. `Nothing` until somebody looks: `trust::join`.
    pub trust: Trust,
}

impl Context {
    /// Reads places and configuration. `cd`: the folder to work in instead of the current one.
    pub fn load(cd: Option<&Path>) -> Result<Self, Failure> {
        let context = Self::lenient(cd)?;
        match context.broken {
            Some(failure) => Err(failure),
            None => Ok(context),
        }
    }

    /// The same, for commands that help with a broken configuration: they get the defaults and the reason.
    pub fn lenient(cd: Option<&Path>) -> Result<Self, Failure> {
        let get = |name: &str| std::env::var(name).ok();
        let places = Places::from_env(&get).map_err(|error| {
            Failure::usage(error.to_string()).hint("set HOME, or STERNA_HOME to an absolute path")
        })?;
        let wanted = cd.unwrap_or(Path::new("."));
        let cwd = std::fs::canonicalize(wanted).map_err(|error| {
            Failure::usage(format!("cannot work in `{}`: {error}", wanted.display()))
                .hint("name a folder that exists")
        })?;
        if !cwd.is_dir() {
            let message = format!("`{}` is not a folder", wanted.display());
            return Err(Failure::usage(message).hint("name a folder that exists"));
        }
        let (settings, broken) = match config::load(&places, &get) {
            Ok(settings) => (settings, None),
            Err(error) => (Settings::from_env(&get), Some(error.into())),
        };
        Ok(Self {
            places,
            settings,
            cwd,
            print: Print::from_env(),
            broken,
            ephemeral: false,
            hasty: false,
            trust: Trust::Nothing,
        })
    }

    /// The store, made if there is none.
    pub fn store(&self) -> Result<SqliteStore, Failure> {
        Ok(SqliteStore::open(&self.places.data, Options::default())?)
    }

    /// The store, if there is one. Nothing is made; a store that cannot be written is opened for reading.
    pub fn store_if_there(&self) -> Result<Option<SqliteStore>, Failure> {
        if !self.places.store_file().exists() {
            return Ok(None);
        }
        let options = Options { may_be_read_only: true, ..Options::default() };
        Ok(Some(SqliteStore::open(&self.places.data, options)?))
    }

    /// The store that must hold this session.
    pub fn store_of(&self, session: &SessionId) -> Result<SqliteStore, Failure> {
        match self.store_if_there()? {
            Some(store) => Ok(store),
            None => Err(sterna_log::LogError::NotFound(session.clone()).into()),
        }
    }

    /// A runtime for commands that append facts and derive requests, and call no model. No key is looked for.
    pub fn quiet_runtime(&self, store: SqliteStore) -> Runtime {
        let get = |name: &str| std::env::var(name).ok();
        let endpoints = self.settings.endpoints_without_keys();
        let own_local = endpoints.contains_key("local");
        let local = (!own_local).then(|| {
            let dir = self.settings.local.dir.clone().unwrap_or_else(|| self.places.local_model(&get));
            Arc::new(LocalModel::new(dir, None, None, Arc::new(|_: &str| {})))
        });
        let router = Router::new(HttpProvider::new(endpoints), HashMap::new(), local, self.cwd.clone());
        let store = Arc::new(store);
        let checkpoints: SharedCheckpoints = Arc::new(self.checkpoints(store.clone()));
        let env = Arc::new(SystemEnv::new(&[], Vec::new()).secret_in(self.places.wait_key()));
        let secrets = self.secrets(env.clone());
        let blobs: SharedBlobs = store.clone();
        let hooks = self.settings.hooks.shared(&blobs, &self.places, &self.settings.web);
        Runtime::new(Parts {
            log: store.clone(),
            blobs,
            provider: Arc::new(router),
            env,
            tools: Toolbox::default(),
            checkpoints: Some(checkpoints),
            secrets,
            hooks,
            levels: None,
            memory: None,
            worktrees: None,
        })
    }

    /// What a command that calls no model knows of secrets: the keys that cost nothing, and the environment.
    pub fn secrets(&self, env: Arc<dyn Env>) -> Secrets {
        let keyed = self.settings.endpoints("").unwrap_or_default();
        secrets_of(&self.settings, &keyed, Some(self.places.wait_key()), env)
    }

    /// The checkpoints that this store holds.
    pub fn checkpoints(&self, store: Arc<SqliteStore>) -> LocalCheckpoints {
        let Places { config, data, state, .. } = &self.places;
        let own = vec![config.clone(), data.clone(), state.clone()];
        let home = std::env::var_os("HOME").map(PathBuf::from);
        LocalCheckpoints::new(store, state.join("checkpoints"), own, home)
    }
}
