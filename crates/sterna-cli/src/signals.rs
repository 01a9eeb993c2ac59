//! SIGINT and SIGTERM as values: what they mean is the command's business.

use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use crate::failure::Failure;

/// A signal that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C: the first cancels the turn, the second leaves at once.
    Interrupt,
    /// Drain: no new step, what runs settles, the turn stays resumable.
    Terminate,
}

/// Both signals, caught from the moment this is made.
pub struct Signals {
    interrupt: Stream,
    terminate: Stream,
    /// When we were first asked to end.
    terminated: Option<Instant>,
}

impl Signals {
    pub fn new() -> Result<Self, Failure> {
        let catch = |kind| signal(kind).map_err(|e| Failure::failed(format!("cannot catch signals: {e}")));
        let (interrupt, terminate) = (catch(SignalKind::interrupt())?, catch(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, terminated: None })
    }

    /// The next signal.
    pub async fn next(&mut self) -> Signal {
        loop {
            tokio::select! {
                biased;
                _ = self.terminate.recv() => match self.terminated {
                    // `timeout` asks the process, and then its group: that is once.
                    Some(before) if before.elapsed() < AT_ONCE => {}
                    _ => {
                        self.terminated = Some(Instant::now());
                        return Signal::Terminate;
                    }
                },
                _ = self.interrupt.recv() => return Signal::Interrupt,
            }
        }
    }
}

/// How long after the first a second request to end is the same one.
const AT_ONCE: Duration = Duration::from_millis(200);

impl Signal {
    /// The exit code of a process that left because of it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}
