//! `sterna compact`: makes what the model sees of a session smaller, now. The log keeps everything.

use std::process::ExitCode;

use clap::Args;
use sterna_log::LogError;
use sterna_model::SessionId;

use super::resume::of_session;
use crate::args::TurnArgs;
use crate::drive::Follow;
use crate::failure::Failure;
use crate::render::Output;
use crate::setup;
use crate::signals::Signals;
use crate::trust::{self, Wish};

#[derive(Debug, Args)]
pub struct CompactArgs {
    /// The session; without it the newest of this folder
    pub session: Option<String>,
    /// What the summary keeps above all
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub focus: String,
    #[command(flatten)]
    pub turn: TurnArgs,
    /// One event a line on stdout, and nothing else there
    #[arg(long)]
    pub json: bool,
}

pub async fn compact(args: CompactArgs) -> Result<ExitCode, Failure> {
    let mut cx = setup::context(&args.turn)?;
    let named = args.session.as_deref().map(SessionId::new).transpose()?;
    let mut signals = Signals::new()?;
    let (store, log) = setup::store(&cx)?;
    let id = match named {
        Some(id) => id,
        None => match setup::sessions_here(&cx, &log, None, 1).await?.into_iter().next() {
            Some(row) => row.id,
            None => {
                return Err(Failure::usage(format!("there is no session of {}", cx.cwd.display()))
                    .hint("`sterna sessions list` shows those of other folders"));
            }
        },
    };
    let Some(state) = setup::state(&log, &id).await? else { return Err(LogError::NotFound(id).into()) };
    if args.turn.cd.is_none() {
        cx = of_session(&cx, &state)?;
    }
    trust::join(&mut cx, Wish { once: args.turn.trust, ask: false }).await?;
    let sterna = setup::sterna(&cx, &args.turn, store, state.machine.route(), false).await?;
    setup::ready(&sterna)?;
    let accepted = sterna.runtime().compact(&id, &args.focus, sterna.turn_config().clone(), "cli").await?;
    let mut out = Output::of(&cx, args.json);
    let (input, seen) = (accepted.input, accepted.input.saturating_sub(1));
    let follow = Follow { sterna: &sterna, session: &id, input, seen, person: None };
    Ok(ExitCode::from(follow.until_end(&mut out, &mut signals).await.code))
}
