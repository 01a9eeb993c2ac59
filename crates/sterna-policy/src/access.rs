//! What a call would touch, as its tool says it.

use std::path::PathBuf;

use sterna_model::Permits;

/// One thing that a call would touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    Read(PathBuf),
    /// A folder and whatever lies beneath it.
    ReadTree(PathBuf),
    Write(PathBuf),
    Delete(PathBuf),
    /// A command line and where it would run.
    Shell {
        command: String,
        cwd: PathBuf,
    },
    /// A host, with `:port` when it is not the usual one.
    Web {
        host: String,
    },
    Person,
    /// More rights for later calls: a person is asked whatever rules allow.
    Permission(Permits),
    /// The session's own state.
    Session,
    /// What is kept beyond the session: notes.
    Keep,
    /// Known only by the tool's name.
    Other,
    /// The tool is another than the one that was accepted: no allow rule covers that.
    Unaccepted {
        why: String,
    },
}

/// What is found in a folder that is looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// There is no such folder.
    NoFolder,
    Nothing,
    Found,
    /// There is more than is looked at, or nobody looks.
    Unseen,
}

/// Who would touch a path or a host.
#[derive(Clone, Copy)]
pub(crate) enum By {
    Tool,
    /// A command, and the allow rule that covers it.
    Command(Option<usize>),
}
