//! `sterna worker`: runs what is due while nobody is there. One pass with `--once`, for crontab; else until a signal.

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use sterna::automation::BoardError;
use sterna::watch::{Watch, Work, Worked};
use sterna::{Sterna, Store};
use sterna_model::{AutomationChange, Millis};
use tokio::task::JoinSet;

use super::automation::{failure, outcome, watch};
use crate::args::TurnArgs;
use crate::context::Context;
use crate::failure::{FAILED, Failure};
use crate::print::one_line;
use crate::setup;
use crate::signals::Signals;
use crate::table::now;
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
    /// One object a line
    #[arg(long)]
    json: bool,
}

pub async fn worker(args: WorkerArgs) -> Result<ExitCode, Failure> {
    let cx = Context::load(None)?;
    let mut signals = Signals::new()?;
    let (store, log) = setup::store(&cx)?;
    let watch = watch(&cx, log);
    let mut worker = Worker {
        out: Out { cx: cx.clone(), json: args.json },
        hosts: Hosts { store, made: HashMap::new() },
        tasks: JoinSet::new(),
        watch,
        code: 0,
    };
    worker.run(args.once, &mut signals).await
}

struct Worker {
    out: Out,
    watch: Watch,
    hosts: Hosts,
    tasks: JoinSet<Done>,
    /// What `--once` exits with: the worst that a run came to.
    code: u8,
}

/// A run that was driven as far as it goes here.
struct Done {
    work: Work,
    worked: Result<Worked, BoardError>,
}

impl Worker {
    async fn run(&mut self, once: bool, signals: &mut Signals) -> Result<ExitCode, Failure> {
        loop {
            let decided = self.watch.decide(now()).await.map_err(failure)?;
            for change in &decided {
                self.out.decided(change)?;
            }
            let work = self.watch.work().await.map_err(failure)?;
            let idle = work.is_empty() && self.tasks.is_empty();
            for work in work {
                self.start(work).await?;
            }
            if once && idle {
                return Ok(ExitCode::from(self.code));
            }
            let next = self.watch.board().next(now()).await.map_err(failure)?;
            tokio::select! {
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => self.done(done)?,
                signal = signals.next() => {
                    self.drain().await?;
                    return Ok(ExitCode::from(signal.exit_code()));
                }
                () = tokio::time::sleep(until(next)) => {}
            }
        }
    }

    async fn start(&mut self, work: Work) -> Result<(), Failure> {
        match self.hosts.of(&work).await {
            Ok(sterna) => {
                self.out.started(&work)?;
                self.tasks.spawn(async move {
                    let worked = work.drive(&sterna).await;
                    Done { work, worked }
                });
            }
            // Another time it would be no better.
            Err(why) => {
                let end = work.fail(now(), &why.message).await;
                self.done(Ok(Done { work, worked: end.map(Worked::Ended) }))?;
            }
        }
        Ok(())
    }

    fn done(&mut self, done: Result<Done, tokio::task::JoinError>) -> Result<(), Failure> {
        let Done { work, worked } = done.map_err(|error| Failure::failed(format!("a run panicked: {error}")))?;
        let worked = worked.map_err(failure)?;
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

    /// No new step anywhere; what goes on is gone on with by whoever is there next.
    async fn drain(&mut self) -> Result<(), Failure> {
        for sterna in self.hosts.made.values() {
            sterna.runtime().drain().await;
        }
        while let Some(done) = self.tasks.join_next().await {
            self.done(done)?;
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
    async fn of(&mut self, work: &Work) -> Result<Sterna, Failure> {
        let given = &work.automation.given;
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

fn until(next: Option<Millis>) -> Duration {
    let wait = next.map(|at| Duration::from_millis(at.saturating_sub(now())));
    wait.map_or(LOOK, |wait| wait.min(LOOK))
}
