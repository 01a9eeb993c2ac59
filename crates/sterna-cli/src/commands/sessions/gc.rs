//! `sessions gc`: removes what no session refers to any more.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use sterna::{Collected, SystemEnv};
use sterna_sqlite::SqliteStore;

use crate::context::Context;
use crate::failure::Failure;

#[derive(Debug, Args)]
pub struct GcArgs {
    /// One object
    #[arg(long)]
    json: bool,
}

pub async fn gc(cx: &Context, args: GcArgs) -> Result<ExitCode, Failure> {
    let Some(store) = cx.store_if_there()? else {
        cx.print.note(&format!("there is no store in {}", cx.places.data.display()));
        return Ok(ExitCode::SUCCESS);
    };
    let collected = collect(cx, &store).await?;
    if args.json {
        cx.print.json(&collected)?;
    } else {
        cx.print.note(&told(&collected));
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn collect(cx: &Context, store: &SqliteStore) -> Result<Collected, Failure> {
    let checkpoints = Arc::new(cx.checkpoints(Arc::new(store.clone())));
    let env = Arc::new(SystemEnv::new(&[], Vec::new()));
    Ok(sterna::collect(store, checkpoints, env).await?)
}

pub fn told(collected: &Collected) -> String {
    match collected {
        Collected { driven: Some(session), .. } => {
            format!(
                "nothing was collected: session `{session}` is being driven; `sterna sessions gc` does it later"
            )
        }
        Collected { busy: true, .. } => {
            "nothing was collected: other processes write all the time; `sterna sessions gc` does it later"
                .to_owned()
        }
        Collected { blobs: 0, .. } => "nothing to collect".to_owned(),
        Collected { blobs, bytes, .. } => format!("{blobs} blobs with {bytes} bytes removed"),
    }
}
