//! `sterna replay`: derives each request of a session again and compares, without a model call.

use std::process::ExitCode;

use clap::Args;
use sterna_model::SessionId;
use sterna_runtime::{Replayed, RuntimeError};

use crate::context::Context;
use crate::failure::{FAILED, Failure};
use crate::print::Style;

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The session
    id: String,
    /// One object
    #[arg(long)]
    json: bool,
}

pub async fn replay(cx: &Context, args: ReplayArgs) -> Result<ExitCode, Failure> {
    let id = SessionId::new(&args.id)?;
    let store = cx.store_of(&id)?;
    sterna_log::Log::head(&store, &id).await?;
    let runtime = cx.quiet_runtime(store);
    let found = sterna_runtime::replay(runtime.parts(), &id).await.map_err(|error| match error {
        // What is stored cannot be derived from: nobody asked for anything wrong.
        RuntimeError::Refused(message) => {
            Failure::failed(message).hint(format!("`sterna sessions fsck {id}` says what is whole"))
        }
        other => other.into(),
    })?;
    let Replayed { records, requests, imported, difference, .. } = &found;
    if args.json {
        cx.print.json(&found)?;
    } else {
        let line = match difference {
            None => {
                let same = cx.print.paint("the same", Style::Green);
                format!(
                    "{id}  {same}  {requests} requests derived again from {records} records, byte for byte"
                )
            }
            Some(difference) => {
                let other = cx.print.paint("different", Style::Red);
                format!("{id}  {other} at record {}, {}: {}", difference.seq, difference.key, difference.what)
            }
        };
        cx.print.line(&line)?;
        for broken in &found.prefix_breaks {
            let (seq, why) = (broken.seq, broken.changed.join(", "));
            cx.print.line(&format!("{id}  the prompt cache started anew at record {seq}: {why}"))?;
        }
        if *imported > 0 {
            cx.print.note(&format!("{imported} requests were made by another program, and are not compared"));
        }
    }
    Ok(if difference.is_some() { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}
