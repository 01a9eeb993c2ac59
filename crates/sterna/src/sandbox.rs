//! The machine's sandbox for the runtime, and where things are that it names.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use sterna_model::{Bounds, Sandbox, SandboxWish, SessionId};
use sterna_runtime::Levels;
use sterna_shell::Confined;
use sterna_tool::Confine;
use sterna_tools::{Grounds, Sandboxes};

use crate::places::Places;

/// The levels of this machine.
pub(crate) struct MachineLevels(pub(crate) Arc<Sandboxes>);

impl Levels for MachineLevels {
    fn level(&self, wish: SandboxWish) -> BoxFuture<'_, Result<Sandbox, String>> {
        self.0.level(wish).boxed()
    }
}

/// A program that is no call of the model's: a hook, a server.
pub(crate) struct Beside<'a> {
    pub session: &'a SessionId,
    pub roots: &'a [PathBuf],
    pub env: &'a BTreeMap<String, String>,
    /// How the turns' commands are to be held.
    pub wish: SandboxWish,
    pub bounds: &'a Bounds,
    /// Unless the person's own file says otherwise.
    pub confined: bool,
}

/// What holds such a program. `None`: nothing, because nothing is to be had or that was wished. An error says why it must
/// not run.
pub(crate) async fn holds(sandboxes: Option<&Sandboxes>, of: Beside<'_>) -> Result<Option<Confined>, String> {
    let (strict, wish) = (of.wish.is_strict(), of.wish.word());
    let sandboxes = match sandboxes.filter(|_| of.confined) {
        Some(sandboxes) => sandboxes,
        None if !strict => return Ok(None),
        None if of.confined => return Err(format!("nothing here can confine it, and sandbox = \"{wish}\"")),
        None => return Err(format!("it is to run without a sandbox, and sandbox = \"{wish}\"")),
    };
    let level = sandboxes.level(of.wish).await;
    let level = level.map_err(|why| format!("sandbox_required: {why} (sandbox = \"{wish}\")"))?;
    let confine = Confine { level, bounds: of.bounds.clone() };
    let confined = sandboxes.confine(&confine, of.session, of.roots, of.env).await;
    confined.map_err(|why| format!("sandbox_failed: {why}"))
}

/// Our own places, for confinements. `kept`: sessions outlive this process.
pub(crate) fn grounds(places: &Places, kept: bool) -> Grounds {
    let tmp = places.tmp();
    Grounds {
        state: places.state.clone(),
        tmp: if kept { tmp } else { tmp.with_file_name(format!("tmp-{}", uuid::Uuid::now_v7())) },
        home: std::env::var_os("HOME").map(Into::into).filter(|home: &PathBuf| home.is_absolute()),
        own: vec![places.config.clone(), places.data.clone(), places.state.clone(), places.cache.clone()],
        // Logins of MCP servers, and what their configuration gives them.
        secret: vec![places.wait_key(), places.state.join("mcp"), places.config.join("mcp.json")],
        ephemeral: !kept,
    }
}
