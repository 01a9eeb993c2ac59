//! Watches one command: its output, its input, its time, its end and the end of all it started.

use std::fs::File;
use std::future::pending;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use sterna_model::{Digest, Millis};
use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::client::Helper;
use super::control::{Feed, Kill, serve};
use super::host::Step;
use super::kin::Kin;
use super::plan::{AtCap, Cause, Exit, How, Leftovers, Plan, Run, millis, now};
use super::terminal::{Inlet, Outlet, Terminal};
use crate::DRAIN;
use crate::sandbox::{Denied, Launch, Watch, Words, launch};
use crate::spawn::{Own, prepare, shell};

/// Runs a plan to its end. One that cannot start ends too: with `How::NotStarted`.
pub(crate) struct Supervisor<'a> {
    plan: Plan,
    observe: &'a dyn Fn(Step),
    /// Our own program, which becomes the confined helper.
    helper: Helper,
    sink: Sink,
    began: Instant,
    started_at: Millis,
}

impl<'a> Supervisor<'a> {
    pub(crate) fn new(plan: Plan, output: File, helper: Helper, observe: &'a dyn Fn(Step)) -> Self {
        let hash = blake3::Hasher::new();
        let watch = Watch::of(plan.confine.as_ref());
        let sink = Sink { file: output, hash, cap: plan.output_cap, dropped: 0, failed: false, watch };
        Self { plan, observe, helper, sink, began: Instant::now(), started_at: now() }
    }

    pub(crate) async fn run(
        &mut self,
        listener: UnixListener,
        signals: Signals,
        tie: Option<pipe::Receiver>,
    ) -> Exit {
        match self.spawn() {
            Ok((child, output, input, launch)) => {
                (self.observe)(Step::Spawned);
                self.watch(child, output, input, launch, listener, signals, tie).await
            }
            Err(why) => self.exit(How::NotStarted(why), Cause::Itself, 0, Vec::new()),
        }
    }

    fn spawn(&self) -> Result<(Child, Outlet, Option<Inlet>, Launch), String> {
        let plan = &self.plan;
        if plan.holds_nul() {
            return Err("the command holds a NUL byte".into());
        }
        match std::fs::metadata(&plan.cwd) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err(format!("cannot run in {}: it is not a folder", plan.cwd.display())),
            Err(error) => return Err(format!("cannot run in {}: {error}", plan.cwd.display())),
        }
        let words = match &plan.run {
            Run::Shell { line } => shell(&plan.env, line).ok_or("neither bash nor sh is on PATH")?,
            Run::Argv { program, args } => {
                Words { program: program.into(), arg0: None, args: args.iter().map(Into::into).collect() }
            }
        };
        let confined = plan.confine.as_ref().map(|confinement| (confinement, &self.helper));
        let mut launch = launch(words, &plan.cwd, &plan.env, plan.limits, confined)?;
        let mut command = std::mem::replace(&mut launch.command, tokio::process::Command::new(""));
        let (limits, inherit) = (launch.limits, std::mem::take(&mut launch.inherit));
        let start = || -> io::Result<(Child, Outlet, Option<Inlet>)> {
            command.kill_on_drop(true);
            if let Some(screen) = plan.terminal {
                let (ours, theirs) = Terminal::open(screen)?;
                command.stdin(theirs.try_clone()?).stdout(theirs.try_clone()?).stderr(theirs);
                prepare(&mut command, limits, Own::Terminal, inherit);
                let child = command.spawn()?;
                // With it go our copies of the command's end.
                drop(command);
                let ours = Arc::new(ours);
                return Ok((child, Outlet::Terminal(ours.clone()), Some(Inlet::Terminal(ours))));
            }
            let (reader, writer) = io::pipe()?;
            command.stdin(if plan.input.is_some() { Stdio::piped() } else { Stdio::null() });
            command.stdout(writer.try_clone()?).stderr(writer);
            prepare(&mut command, limits, Own::Group, inherit);
            let mut child = command.spawn()?;
            // Our copies of the pipe's other end go with the command's description.
            drop(command);
            let input = child.stdin.take().map(Inlet::Pipe);
            Ok((child, Outlet::Pipe(pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?), input))
        };
        let (child, output, input) =
            start().map_err(|error| format!("the command could not be started: {error}"))?;
        Ok((child, output, input, launch))
    }

    async fn watch(
        &mut self,
        mut child: Child,
        output: Outlet,
        input: Option<Inlet>,
        mut launch: Launch,
        listener: UnixListener,
        signals: Signals,
        mut tie: Option<pipe::Receiver>,
    ) -> Exit {
        let Signals { mut ends, child: mut child_signals } = signals;
        let kin = Kin::new(child.id(), launch.watched);
        let feed = self.feed(input);
        let (ask, mut kills) = mpsc::channel::<Kill>(1);
        let time_limit = self.plan.time_limit_ms.map(|limit| self.began + Duration::from_millis(limit));
        let grace = Duration::from_millis(self.plan.grace_ms);
        // A program may close its ends before it ends: were ours gone with them, the system would hang it up.
        let _terminal = match &output {
            Outlet::Terminal(terminal) => Some(terminal.clone()),
            Outlet::Pipe(_) => None,
        };
        let mut output = Some(output);
        let mut buffer = Vec::with_capacity(CHUNK_BYTES);
        let mut status: Option<io::Result<ExitStatus>> = None;
        let mut cause = Cause::Itself;
        let mut ending: Option<Ending> = None;
        let mut drain_until: Option<Instant> = None;
        loop {
            let over = match &mut ending {
                Some(ending) => ending.go_on(&kin, status.is_some()),
                None => status.is_some(),
            };
            if over {
                let until = *drain_until.get_or_insert_with(|| Instant::now() + DRAIN);
                if output.is_none() || Instant::now() >= until {
                    break;
                }
            }
            let tick = if over { drain_until } else { ending.as_ref().map(|ending| ending.look_at) };
            let limit = time_limit.filter(|_| ending.is_none() && !over);
            // What ends the command comes before its output: a flood must not keep it alive.
            let why = tokio::select! {
                biased;
                ended = child.wait(), if status.is_none() => {
                    status = Some(ended);
                    (self.observe)(Step::Ended);
                    if ending.is_none() && self.plan.leftovers == Leftovers::End && kin.alive() > 0 {
                        ending = Some(Ending::begin(&kin, grace));
                    }
                    None
                }
                () = at(limit) => Some((Cause::TimeLimit, grace)),
                () = untied(&mut tie) => Some((Cause::Unbound, grace)),
                () = ends.told() => Some((Cause::Shutdown, grace)),
                Some(kill) = kills.recv() => Some((Cause::Killed, kill.grace)),
                connection = listener.accept() => {
                    match connection {
                        Ok((stream, _)) => drop(tokio::spawn(serve(stream, ask.clone(), feed.clone()))),
                        // Out of descriptors, most likely: not to be asked again at once.
                        Err(_) => sleep(TICK).await,
                    }
                    None
                }
                _ = child_signals.recv() => {
                    kin.reap();
                    None
                }
                open = read(output.as_mut(), &mut buffer) => {
                    let room = self.sink.take(&buffer);
                    buffer.clear();
                    if !open {
                        output = None;
                    }
                    (self.observe)(Step::Output);
                    (room == Room::Full && self.plan.at_cap == AtCap::End).then_some((Cause::OutputCap, grace))
                }
                () = at(tick) => None,
            };
            match (why, &mut ending) {
                // The first reason is the reason, and a command that has ended by itself needs none.
                (Some((why, grace)), None) if !over => {
                    cause = why;
                    ending = Some(Ending::begin(&kin, grace));
                }
                (Some((_, grace)), Some(ending)) => ending.hasten(grace),
                (Some(_), None) | (None, _) => {}
            }
        }
        let how = match status {
            Some(Ok(status)) => match (status.code(), status.signal()) {
                (Some(code), _) => How::Code(code),
                (None, Some(signal)) => How::Signal(signal),
                (None, None) => How::Unknown,
            },
            // Somebody else has buried our child, or the kernel holds it.
            Some(Err(_)) | None => How::Unknown,
        };
        let (code, signal) = match how {
            How::Code(code) => (Some(code), None),
            How::Signal(signal) => (None, Some(signal)),
            How::NotStarted(_) | How::Unknown => (None, None),
        };
        if let Some(why) = launch.take_status().and_then(|status| status.failure(code)) {
            let words =
                self.sink.watch.take().map(|watch| watch.last_words()).filter(|words| !words.is_empty());
            let why = words.map_or(why.clone(), |words| format!("{why}: {words}"));
            return self.exit(How::NotStarted(why), cause, 0, Vec::new());
        }
        let refusals = launch.proxy.as_ref().map(|proxy| proxy.refusals()).unwrap_or_default();
        let denied =
            self.sink.watch.take().map(|watch| watch.end(code, signal, &refusals)).unwrap_or_default();
        if launch.watched {
            gone(&kin).await;
        }
        let left_behind = u32::try_from(kin.alive()).unwrap_or(u32::MAX);
        self.exit(how, cause, left_behind, denied)
    }

    /// Starts the writer of the command's input. `None` when no more may come.
    fn feed(&mut self, inlet: Option<Inlet>) -> Option<mpsc::Sender<Feed>> {
        let (mut inlet, input) = inlet.zip(self.plan.input.take())?;
        let open = input.open;
        let (give, mut take) = mpsc::channel(FEEDS_IN_FLIGHT);
        tokio::spawn(async move {
            // A command that does not want it is no error: who gives more then hears that the input is closed.
            if inlet.give(input.text.as_bytes()).await.is_err() {
                return;
            }
            while let Some(Feed::Bytes(bytes)) = take.recv().await {
                if inlet.give(&bytes).await.is_err() {
                    return;
                }
            }
            inlet.end().await;
        });
        open.then_some(give)
    }

    fn exit(&mut self, how: How, cause: Cause, left_behind: u32, denied: Vec<Denied>) -> Exit {
        let (bytes, hash) = self.sink.kept();
        (self.observe)(Step::OutputKept);
        Exit {
            how,
            cause,
            started_at: self.started_at,
            ended_at: now(),
            duration_ms: millis(self.began.elapsed()),
            bytes,
            dropped: self.sink.dropped,
            hash,
            left_behind,
            denied,
        }
    }
}

/// Waits for the processes of a namespace whose watcher has ended: the kernel is ending them.
async fn gone(kin: &Kin) {
    let give_up_at = Instant::now() + GIVE_UP_AFTER;
    while kin.alive() > 0 && Instant::now() < give_up_at {
        sleep(SOON).await;
        kin.reap();
    }
}

/// What the system tells the shim.
pub(crate) struct Signals {
    pub(super) ends: Ends,
    pub(super) child: Stream,
}

pub(crate) struct Ends {
    terminate: Stream,
    interrupt: Stream,
    hangup: Stream,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        let ends = Ends {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        };
        Ok(Self { ends, child: signal(SignalKind::child())? })
    }
}

impl Ends {
    pub(super) async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// The way from SIGTERM to the last descendant's end.
pub(super) struct Ending {
    look_at: Instant,
    kill_at: Instant,
    give_up_at: Instant,
}

impl Ending {
    pub(super) fn begin(kin: &Kin, grace: Duration) -> Self {
        kin.signal(Signal::TERM);
        let now = Instant::now();
        Self { look_at: now, kill_at: now + grace, give_up_at: now + grace + GIVE_UP_AFTER }
    }

    /// Another reason to end, with less patience perhaps.
    fn hasten(&mut self, grace: Duration) {
        let kill_at = Instant::now() + grace;
        if kill_at < self.kill_at {
            self.give_up_at -= self.kill_at - kill_at;
            self.kill_at = kill_at;
        }
    }

    /// When to look again.
    pub(super) fn look_at(&self) -> Instant {
        self.look_at
    }

    /// Looks, kills what is due, and says whether nothing is left to do.
    pub(super) fn go_on(&mut self, kin: &Kin, main_ended: bool) -> bool {
        let now = Instant::now();
        if now < self.look_at {
            return false;
        }
        self.look_at = now + TICK;
        kin.reap();
        if (main_ended && kin.alive() == 0) || now >= self.give_up_at {
            // From now on every look says the same.
            self.look_at = now;
            self.give_up_at = now;
            return true;
        }
        if now >= self.kill_at {
            kin.signal(Signal::KILL);
        }
        false
    }
}

/// Keeps the output, counts and hashes it.
struct Sink {
    file: File,
    hash: blake3::Hasher,
    cap: u64,
    dropped: u64,
    /// The disk took no more: what came after a gap would be read as if there were none.
    failed: bool,
    /// Sees what the command says, when it is confined.
    watch: Option<Watch>,
}

#[derive(PartialEq, Eq)]
enum Room {
    Left,
    Full,
}

impl Sink {
    fn take(&mut self, bytes: &[u8]) -> Room {
        if let Some(watch) = &mut self.watch {
            watch.see(bytes);
        }
        let room = if self.failed { 0 } else { self.cap.saturating_sub(self.hash.count()) };
        let mut rest = &bytes[..bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        let beyond_cap = bytes.len() - rest.len();
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(written @ 1..) => {
                    self.hash.update(&rest[..written]);
                    rest = &rest[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => {
                    self.failed = true;
                    break;
                }
            }
        }
        self.dropped += (beyond_cap + rest.len()) as u64;
        if beyond_cap > 0 && !self.failed { Room::Full } else { Room::Left }
    }

    /// The size and hash of what was kept.
    fn kept(&self) -> (u64, Digest) {
        (self.hash.count(), Digest(*self.hash.finalize().as_bytes()))
    }
}

/// Reads more of the output. `false` at its end; does not return when there is none.
async fn read(output: Option<&mut Outlet>, buffer: &mut Vec<u8>) -> bool {
    match output {
        Some(output) => output.read(buffer).await,
        None => pending().await,
    }
}

/// Returns when the runtime's end of the pipe is closed. Never without a pipe, and only once.
async fn untied(tie: &mut Option<pipe::Receiver>) {
    let Some(pipe) = tie else { return pending().await };
    // What is written there means nothing; a broken pipe is a closed one.
    while matches!(pipe.read(&mut [0; 64]).await, Ok(1..)) {}
    *tie = None;
}

pub(super) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

const CHUNK_BYTES: usize = 64 << 10;
/// Input that is taken before the command has read what came earlier.
const FEEDS_IN_FLIGHT: usize = 4;
const TICK: Duration = Duration::from_millis(20);
const SOON: Duration = Duration::from_millis(1);
/// SIGKILL is sure but for a process that the kernel holds, or one of another user.
const GIVE_UP_AFTER: Duration = Duration::from_secs(1);
