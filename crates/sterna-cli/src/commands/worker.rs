//! `sterna worker`: runs what is due while nobody is there, and tells sessions what happened. One pass with `--once`, for
//! crontab; else until a signal.

mod wakes;

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use sterna::automation::BoardError;
use sterna::watch::{Watch, Work, Worked};
use sterna::{Claim, Claims, Sterna, Store, SystemEnv};
use sterna_model::{AutomationChange, Given, Millis, ResultEvent};
use sterna_runtime::RuntimeError;
use tokio::task::JoinSet;

use self::wakes::Wakes;
use super::automation::{failure, outcome, watch, watch_if_there};
use super::goal::next_input;
use crate::args::TurnArgs;
use crate::context::Context;
use crate::failure::{FAILED, Failure};
use crate::print::one_line;
use crate::setup;
use crate::signals::Signals;
use crate::spools::shims;
use crate::table::{moment, now};
use crate::trust::{self, Wish};

/// The exit code when something waits for a person.
const PARKED: u8 = 8;
/// How late a change that another process made is heard at most.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// Run what is due now, wait for its end, and exit
    #[arg(long)]
    once: bool,
    /// Tell nobody how background jobs ended
    #[arg(long)]
    no_jobs: bool,
    /// List what reached nobody, because its session was gone or it was too old, and exit
    #[arg(long, conflicts_with = "once")]
    discarded: bool,
    /// One object a line
    #[arg(long)]
    json: bool,
}

pub async fn worker(args: WorkerArgs) -> Result<ExitCode, Failure> {
    let cx = Context::load(None)?;
    if args.discarded {
        return discarded(&cx, args.json).await;
    }
    let mut signals = Signals::new()?;
    let (store, log) = setup::store(&cx)?;
    let wakes = (!args.no_jobs).then(|| Wakes::new(log.clone(), shims(&cx)));
    let claims = Claims::new(log.clone(), Arc::new(SystemEnv::new(&[], Vec::new())));
    let watch = watch(&cx, log);
    let mut worker = Worker {
        out: Out { cx: cx.clone(), json: args.json },
        hosts: Hosts { store, made: HashMap::new() },
        tasks: JoinSet::new(),
        watch,
        wakes,
        claims,
        code: 0,
    };
    worker.run(args.once, &mut signals).await
}

struct Worker {
    out: Out,
    watch: Watch,
    wakes: Option<Wakes>,
    claims: Claims,
    hosts: Hosts,
    tasks: JoinSet<Done>,
    /// What `--once` exits with: the worst that a run came to.
    code: u8,
}

/// What was driven as far as it goes here.
enum Done {
    Run { work: Work, worked: Result<Worked, BoardError> },
    Turn { claim: Claim, sterna: Sterna, result: Result<ResultEvent, RuntimeError> },
}

impl Worker {
    async fn run(&mut self, once: bool, signals: &mut Signals) -> Result<ExitCode, Failure> {
        loop {
            let decided = self.watch.decide(now()).await.map_err(failure)?;
            for change in &decided {
                self.out.decided(change)?;
            }
            self.wake().await?;
            let claims = self.claims.open().await?;
            let work = self.watch.work().await.map_err(failure)?;
            let idle = work.is_empty() && claims.is_empty() && self.tasks.is_empty();
            for claim in claims {
                self.go_on(claim).await?;
            }
            for work in work {
                self.start(work).await?;
            }
            if once && idle {
                return Ok(ExitCode::from(self.code));
            }
            let next = self.watch.board().next(now()).await.map_err(failure)?;
            tokio::select! {
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => self.done(done).await?,
                signal = signals.next() => {
                    self.drain().await?;
                    return Ok(ExitCode::from(signal.exit_code()));
                }
                () = tokio::time::sleep(until(next)) => {}
            }
        }
    }

    async fn start(&mut self, work: Work) -> Result<(), Failure> {
        match self.hosts.of(&work.automation.given).await {
            Ok(sterna) => {
                self.out.started(&work)?;
                self.tasks.spawn(async move {
                    let worked = work.drive(&sterna).await;
                    Done::Run { work, worked }
                });
            }
            // Another time it would be no better.
            Err(why) => {
                let end = work.fail(now(), &why.message).await;
                self.done(Ok(Done::Run { work, worked: end.map(Worked::Ended) })).await?;
            }
        }
        Ok(())
    }

    async fn done(&mut self, done: Result<Done, tokio::task::JoinError>) -> Result<(), Failure> {
        let done = done.map_err(|error| Failure::failed(format!("a run panicked: {error}")))?;
        let (work, worked) = match done {
            Done::Run { work, worked } => (work, worked.map_err(failure)?),
            Done::Turn { claim, sterna, result } => {
                self.out.turn(&claim, &result)?;
                return self.turn_ended(claim, sterna, result).await;
            }
        };
        let code = match &worked {
            Worked::Ended(end) if outcome(end) == "finished" => 0,
            Worked::Ended(_) => FAILED,
            Worked::Open { .. } => PARKED,
        };
        // A failure is worse than a wait.
        self.code = match (self.code, code) {
            (FAILED, _) | (_, FAILED) => FAILED,
            (before, now) => before.max(now),
        };
        self.out.worked(&work, &worked)
    }

    /// Tells sessions how their jobs ended.
    async fn wake(&mut self) -> Result<(), Failure> {
        let Some(wakes) = &mut self.wakes else { return Ok(()) };
        let found = wakes.look(self.watch.board(), now()).await?;
        for (session, job, why) in found.discarded {
            self.out.discarded(session.as_str(), &job, why.word())?;
        }
        for wake in found.wakes {
            match self.hosts.of(&wake.given).await {
                Ok(sterna) => match wake.tell(sterna.runtime(), sterna.turn_config()).await {
                    Ok(()) => self.out.woken(wake.session.as_str(), &wake.job)?,
                    Err(why) => self.out.cx.print.warning(&format!("{}: {}", wake.session, why.message)),
                },
                // Its folder is gone, or its model cannot be reached: the next worker may do better.
                Err(why) => self.out.cx.print.warning(&format!("{}: {}", wake.session, why.message)),
            }
        }
        Ok(())
    }

    /// Drives a session on whose next turn nobody has to begin.
    async fn go_on(&mut self, claim: Claim) -> Result<(), Failure> {
        let sterna = match self.hosts.of(&claim.given).await {
            Ok(sterna) => sterna,
            Err(why) => {
                self.out.cx.print.warning(&format!("{}: {}", claim.session, why.message));
                self.claims.failed(&claim.session);
                return Ok(());
            }
        };
        self.drive_on(claim, sterna);
        Ok(())
    }

    fn drive_on(&mut self, claim: Claim, sterna: Sterna) {
        self.tasks.spawn(async move {
            let runtime = sterna.runtime();
            // A driver of ours may be at it already.
            let mut result = runtime.result(&claim.session, claim.input).await;
            if matches!(result, Err(RuntimeError::Interrupted { .. })) {
                runtime.resume(&claim.session, sterna.turn_config().clone());
                result = runtime.result(&claim.session, claim.input).await;
            }
            Done::Turn { claim, sterna, result }
        });
    }

    /// The end of a goal's turn leads to the next one, which our driver has begun.
    async fn turn_ended(
        &mut self,
        claim: Claim,
        sterna: Sterna,
        result: Result<ResultEvent, RuntimeError>,
    ) -> Result<(), Failure> {
        let goes_on = match &result {
            Ok(result) if !matches!(result.outcome, "parked" | "drained") => {
                next_input(&sterna.runtime().parts().log, &claim.session, claim.input).await?
            }
            Ok(_) | Err(_) => None,
        };
        match (goes_on, result) {
            (Some(input), _) => self.drive_on(Claim { input, origin: "goal".into(), ..claim }, sterna),
            (None, Ok(_)) => self.claims.ended(&claim.session),
            (None, Err(_)) => self.claims.failed(&claim.session),
        }
        Ok(())
    }

    /// No new step anywhere; what goes on is gone on with by whoever is there next.
    async fn drain(&mut self) -> Result<(), Failure> {
        for sterna in self.hosts.made.values() {
            sterna.runtime().drain().await;
        }
        while let Some(done) = self.tasks.join_next().await {
            self.done(done).await?;
        }
        Ok(())
    }
}

/// A Sterna for each folder: its own configuration, instructions and skills count where runs work in it.
struct Hosts {
    store: Store,
    made: HashMap<(String, String), Sterna>,
}

impl Hosts {
    async fn of(&mut self, given: &Given) -> Result<Sterna, Failure> {
        let key = (given.cwd.clone(), given.route.to_string());
        if let Some(sterna) = self.made.get(&key) {
            return Ok(sterna.clone());
        }
        let mut cx = Context::load(Some(Path::new(&given.cwd)))?;
        trust::join(&mut cx, Wish { once: false, ask: false }).await?;
        let args = TurnArgs::default();
        let sterna = setup::sterna(&cx, &args, self.store.clone(), Some(&given.route), false).await?;
        setup::ready(&sterna)?;
        self.made.insert(key, sterna.clone());
        Ok(sterna)
    }
}

/// What the worker says.
struct Out {
    cx: Context,
    json: bool,
}

impl Out {
    fn decided(&self, change: &AutomationChange) -> Result<(), Failure> {
        let (name, times, why) = match change {
            AutomationChange::Passed { name, times, why, .. } => (name, *times, why.word()),
            AutomationChange::Dropped { name, why, .. } => (name, 1, why.word()),
            // It is told when it starts.
            _ => return Ok(()),
        };
        if self.json {
            return self.cx.print.json(&json!({"event": "passed", "name": name, "times": times, "why": why}));
        }
        self.cx.print.line(&format!("{name}: no run for {times} times ({why})"))
    }

    fn started(&self, work: &Work) -> Result<(), Failure> {
        let (name, run) = (&work.automation.name, &work.run.fired.run);
        let session = work.session().map_err(Failure::from)?;
        if self.json {
            return self
                .cx
                .print
                .json(&json!({"event": "started", "name": name, "run": run, "session": session}));
        }
        self.cx.print.line(&format!("{name}: started in session {session}"))
    }

    fn woken(&self, session: &str, job: &str) -> Result<(), Failure> {
        if self.json {
            return self.cx.print.json(&json!({"event": "woken", "session": session, "job": job}));
        }
        self.cx.print.line(&format!("{session}: is told that {job} has ended"))
    }

    fn discarded(&self, session: &str, job: &str, why: &str) -> Result<(), Failure> {
        if self.json {
            let line = json!({"event": "discarded", "session": session, "job": job, "why": why});
            return self.cx.print.json(&line);
        }
        self.cx.print.line(&format!("{session}: the end of {job} is told to nobody ({why})"))
    }

    fn turn(&self, claim: &Claim, result: &Result<ResultEvent, RuntimeError>) -> Result<(), Failure> {
        let (session, origin) = (&claim.session, &claim.origin);
        let (how, message) = match result {
            Ok(result) => (result.outcome, result.message.clone().unwrap_or_default()),
            Err(error) => ("failed", error.to_string()),
        };
        if self.json {
            let line = json!({
                "event": "turn", "session": session, "origin": origin, "outcome": how, "message": message,
            });
            return self.cx.print.json(&line);
        }
        self.cx.print.line(&format!("{session}: {origin}: {how}: {}", one_line(&message, 200)))
    }

    fn worked(&self, work: &Work, worked: &Worked) -> Result<(), Failure> {
        let (name, run) = (&work.automation.name, &work.run.fired.run);
        let (event, how, message, session) = match worked {
            Worked::Ended(end) => ("ended", outcome(end), &end.message, end.session.as_ref()),
            Worked::Open { session, message } => ("open", "open", message, Some(session)),
        };
        if self.json {
            let line = json!({
                "event": event, "name": name, "run": run, "session": session, "outcome": how, "message": message,
            });
            return self.cx.print.json(&line);
        }
        self.cx.print.line(&format!("{name}: {how}: {}", one_line(message, 200)))
    }
}

/// What reached nobody.
async fn discarded(cx: &Context, json: bool) -> Result<ExitCode, Failure> {
    let all = match watch_if_there(cx)? {
        Some(watch) => watch.board().all().await.map_err(failure)?,
        None => sterna::automation::Automations::default(),
    };
    for told in all.discarded() {
        let (at, session, key, why) = (told.at, &told.session, &told.key, told.why.word());
        if json {
            cx.print.json(&json!({"at": at, "session": session, "key": key, "why": why}))?;
        } else {
            cx.print.line(&format!("{}  {session}  {why}  {}", moment(at), one_line(key, 100)))?;
        }
    }
    if !json && all.discarded().next().is_none() {
        cx.print.note("everything has reached its session");
    }
    Ok(ExitCode::SUCCESS)
}

fn until(next: Option<Millis>) -> Duration {
    let wait = next.map(|at| Duration::from_millis(at.saturating_sub(now())));
    wait.map_or(LOOK, |wait| wait.min(LOOK))
}
