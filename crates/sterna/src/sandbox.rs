//! The machine's sandbox for the runtime, and where things are that it names.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use sterna_model::{Sandbox, SandboxWish};
use sterna_runtime::Levels;
use sterna_tools::{Grounds, Sandboxes};

use crate::places::Places;

/// The levels of this machine.
pub(crate) struct MachineLevels(pub(crate) Arc<Sandboxes>);

impl Levels for MachineLevels {
    fn level(&self, wish: SandboxWish) -> BoxFuture<'_, Result<Sandbox, String>> {
        self.0.level(wish).boxed()
    }
}

/// Our own places, for confinements. `kept`: sessions outlive this process.
pub(crate) fn grounds(places: &Places, kept: bool) -> Grounds {
    let tmp = places.tmp();
    Grounds {
        state: places.state.clone(),
        tmp: if kept { tmp } else { tmp.with_file_name(format!("tmp-{}", uuid::Uuid::now_v7())) },
        home: std::env::var_os("HOME").map(Into::into).filter(|home: &std::path::PathBuf| home.is_absolute()),
        own: vec![places.config.clone(), places.data.clone(), places.state.clone(), places.cache.clone()],
        secret: vec![places.wait_key()],
        ephemeral: !kept,
    }
}
