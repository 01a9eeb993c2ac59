//! SIGINT and SIGTERM as values: what they mean is the command's business.

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
}

impl Signals {
    pub fn new() -> Result<Self, Failure> {
        let catch = |kind| signal(kind).map_err(|e| Failure::failed(format!("cannot catch signals: {e}")));
        Ok(Self { interrupt: catch(SignalKind::interrupt())?, terminate: catch(SignalKind::terminate())? })
    }

    /// The next signal.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
        }
    }
}

impl Signal {
    /// The exit code of a process that left because of it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}
