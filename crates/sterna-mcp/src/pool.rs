//! The servers of this process: one for each configuration, whoever asks for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use sterna_model::Digest;

use crate::config::ServerConfig;
use crate::connection::{Client, Inner, Setup};

/// A set of servers that are shared. It holds none: a server lives as long as somebody has its client.
#[derive(Default)]
pub struct Pool(Mutex<HashMap<Digest, Weak<Inner>>>);

impl Pool {
    /// The pool of this process.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Pool> = OnceLock::new();
        SHARED.get_or_init(Self::default)
    }

    /// The client of a server. Two that are configured alike, with the same credentials, environment, workspace and
    /// confinement, are one. Nothing is started.
    pub fn client(&self, config: ServerConfig, setup: Setup) -> Client {
        let fingerprint = fingerprint(&config, &setup);
        let mut servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        servers.retain(|_, server| server.strong_count() > 0);
        if let Some(inner) = servers.get(&fingerprint).and_then(Weak::upgrade) {
            return Client(inner);
        }
        let client = Client::new(config, setup);
        servers.insert(fingerprint, Arc::downgrade(&client.0));
        client
    }
}

fn fingerprint(config: &ServerConfig, setup: &Setup) -> Digest {
    // Its form need not last: it never leaves the process.
    let all = format!(
        "{config:?}\0{:?}\0{:?}\0{:?}\0{:?}\0{:?}\0{:?}",
        setup.env,
        setup.helper,
        setup.root,
        setup.roots,
        setup.state,
        setup.confine.as_ref().map(|confines| confines.told())
    );
    Digest(*blake3::hash(all.as_bytes()).as_bytes())
}
