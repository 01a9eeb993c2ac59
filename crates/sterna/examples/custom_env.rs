//! An environment of the host: its own clock and its own names, so that a run can be repeated to the letter.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use sterna::log::Owner;
use sterna::model::{Millis, SessionId};
use sterna::prelude::*;
use sterna::runtime::Env;

/// A clock that stands still until somebody sleeps.
#[derive(Default)]
struct Frozen {
    now: Arc<AtomicU64>,
    names: AtomicU64,
}

impl Env for Frozen {
    fn now(&self) -> Millis {
        self.now.load(Ordering::SeqCst)
    }
    fn sleep_until(&self, at: Millis) -> BoxFuture<'static, ()> {
        let now = self.now.clone();
        // Long sleeps are renewals of leases: nobody else is here.
        let far = at.saturating_sub(now.load(Ordering::SeqCst)) > 5_000;
        async move {
            if far {
                futures::future::pending::<()>().await;
            }
            now.fetch_max(at, Ordering::SeqCst);
        }
        .boxed()
    }
    fn new_session_id(&self) -> SessionId {
        let name = format!("frozen-{}", self.names.fetch_add(1, Ordering::SeqCst));
        SessionId::new(&name).expect("a word and a number are a session id")
    }
    fn owner(&self) -> Owner {
        Owner("the only one".into())
    }
    fn is_dead(&self, _owner: &Owner) -> bool {
        false
    }
    fn child_env(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
    fn home(&self) -> Option<PathBuf> {
        None
    }
    fn resolve(&self, path: &Path) -> PathBuf {
        path.to_path_buf()
    }
    fn state_dirs(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let script = Scripted::parse(
        "{\"text\":\"at the same time as ever\"}",
        Arc::new(|_| futures::future::ready(()).boxed()),
    )?;
    let sterna = Sterna::builder()
        .env(Arc::new(Frozen::default()))
        .provider(Arc::new(script))
        .ephemeral()
        .build()
        .await?;
    let mut stream = sterna.new_session().turn("What time is it?").stream().await?;
    while let Some(event) = stream.next().await? {
        println!("{} at {}", event.seq, event.at);
        assert_eq!(event.at, 0);
    }
    println!("{}", stream.reply().await?.message());
    Ok(())
}
