//! Worlds of measures, by where they keep their sessions and whom they ask.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use sterna_hot::World;
use sterna_llm::SharedProvider;
use sterna_llm_http::{Endpoint, HttpProvider};
use sterna_model::EffectClass;
use sterna_sqlite::SqliteStore;

/// Where a measure keeps its sessions.
pub enum Keep<'a> {
    Memory,
    Sqlite(&'a Path),
}

/// Over HTTP to this base URL.
pub fn over_http(keep: Keep<'_>, base_url: &str, class: EffectClass) -> Result<World> {
    let endpoints = BTreeMap::from([("bench".to_owned(), Endpoint::new("openai_chat", base_url))]);
    with(keep, Arc::new(HttpProvider::new(endpoints)), class)
}

pub fn with(keep: Keep<'_>, provider: SharedProvider, class: EffectClass) -> Result<World> {
    match keep {
        Keep::Memory => World::in_memory(provider, class),
        Keep::Sqlite(dir) => {
            let store = Arc::new(SqliteStore::open(dir, sterna_sqlite::Options::default())?);
            World::new(store.clone(), store, provider, class)
        }
    }
}
