//! `sessions delete`.

use std::io;
use std::process::ExitCode;

use clap::Args;
use sterna_log::{Log, LogError, tree_log};
use sterna_model::SessionId;
use sterna_runtime::Env;

use super::gc;
use crate::context::Context;
use crate::failure::Failure;
use crate::person::confirmed;
use crate::table::now;

#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// The sessions
    #[arg(required = true, num_args = 1..)]
    ids: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

pub async fn delete(cx: &Context, args: DeleteArgs) -> Result<ExitCode, Failure> {
    let ids = args.ids.iter().map(|id| SessionId::new(id)).collect::<Result<Vec<_>, _>>()?;
    let mut deleted = None;
    for id in ids {
        let store = cx.store_of(&id)?;
        let head = store.head(&id).await?;
        let env = sterna::SystemEnv::new(&[], Vec::new());
        let held =
            head.lease.filter(|lease| !lease.released && lease.expires > now() && !env.is_dead(&lease.owner));
        if held.is_some() {
            return Err(Failure::usage(format!("session `{id}` is being driven by another process"))
                .hint("end that process, or wait until its turn is over"));
        }
        let asked = format!("delete session `{id}` with its {} records for good?", head.seq);
        let nobody = || {
            Failure::usage(format!("deleting session `{id}` needs a yes, and nobody is at a terminal"))
                .hint("--yes deletes without asking")
        };
        if !args.yes && !confirmed(&asked, nobody)? {
            cx.print.note(&format!("session `{id}` was kept"));
            continue;
        }
        store.delete(&id).await?;
        match store.delete(&tree_log(&id)).await {
            Ok(()) | Err(LogError::NotFound(_) | LogError::Tombstone(_)) => {}
            Err(error) => return Err(error.into()),
        }
        crate::spools::end_jobs(cx, &id).await;
        remove_tmp(cx, &id);
        cx.print.note(&format!("session `{id}` is deleted"));
        deleted = Some(store);
    }
    if let Some(store) = deleted {
        // The sessions are gone, whatever becomes of what they held alone.
        match gc::collect(cx, &store).await {
            Ok(collected) => cx.print.note(&gc::told(&collected)),
            Err(failure) => cx.print.warning(&format!("nothing was collected: {}", failure.message)),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the session's commands left in their `/tmp`.
fn remove_tmp(cx: &Context, id: &SessionId) {
    let tmp = cx.places.tmp().join(id.as_str());
    if let Err(error) = std::fs::remove_dir_all(&tmp)
        && error.kind() != io::ErrorKind::NotFound
    {
        cx.print.warning(&format!("{} is still there: {error}", tmp.display()));
    }
}
