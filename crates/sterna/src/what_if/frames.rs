//! What a caged run and the process that watches it say to each other: frames over the cage's stdin and stdout.

use std::io::{self, ErrorKind, Read, Write};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sterna_llm::{ModelInfo, ModelReply, Request};
use sterna_model::{Digest, ProviderFailure, Record, Route, SessionId};
use sterna_runtime::{Divergence, WhatIf, WhatIfRun};

/// The first frame into the cage: all that it is to know.
#[derive(Serialize, Deserialize)]
pub(super) struct Begin {
    pub ask: WhatIf,
    /// The session's whole history, with the log that each record lies in.
    pub records: Vec<(SessionId, Record)>,
    /// Where no tool may write.
    pub state_dirs: Vec<std::path::PathBuf>,
    /// The words with which this program confines commands.
    pub helper: Vec<std::ffi::OsString>,
}

/// What the cage asks for.
#[derive(Serialize, Deserialize)]
pub(super) enum Ask {
    /// It is there, and waits for `Begin`.
    Hello,
    Model(Route),
    Encoder(Route),
    Encode(Box<Request>),
    /// Sends the body that was encoded last under this hash.
    Send(Route, Digest),
    Blob(Digest),
    Ground(Divergence),
    /// The last frame.
    Done(Box<Result<WhatIfRun, String>>),
}

/// What it gets.
#[derive(Serialize, Deserialize)]
pub(super) enum Answer {
    Model(Result<ModelInfo, String>),
    Encoder(String),
    Encoded {
        hash: Digest,
        bytes: u64,
    },
    Sent(Box<Result<ModelReply, ProviderFailure>>),
    /// The bytes follow the frame's text.
    Blob(Result<(), String>),
    Ground(Result<(), String>),
}

/// Writes one frame: the lengths of both parts, a text, and bytes.
pub(super) fn write(to: &mut impl Write, frame: &impl Serialize, data: &[u8]) -> io::Result<()> {
    let text = serde_json::to_vec(frame).map_err(io::Error::other)?;
    for part in [&text[..], data] {
        let length = u32::try_from(part.len()).map_err(|_| io::Error::other("a frame over 4 GiB"))?;
        to.write_all(&length.to_le_bytes())?;
    }
    to.write_all(&text)?;
    to.write_all(data)?;
    to.flush()
}

/// Reads one frame. Memory grows with what comes, not with what is announced.
pub(super) fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<(T, Bytes)> {
    let mut lengths = [0u8; 8];
    from.read_exact(&mut lengths)?;
    let [a, b, c, d, e, f, g, h] = lengths;
    let text = part(from, u32::from_le_bytes([a, b, c, d]))?;
    let data = part(from, u32::from_le_bytes([e, f, g, h]))?;
    Ok((serde_json::from_slice(&text).map_err(io::Error::other)?, data.into()))
}

fn part(from: &mut impl Read, length: u32) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(u64::from(length)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == u64::from(length) { Ok(bytes) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_as_they_went_and_a_cut_one_is_an_error() {
        let hash = Digest([7; 32]);
        let mut pipe = Vec::new();
        write(&mut pipe, &Ask::Blob(hash), b"").unwrap();
        write(&mut pipe, &Answer::Blob(Ok(())), b"\0bytes").unwrap();
        let mut from = &pipe[..];
        let (ask, data) = read::<Ask>(&mut from).unwrap();
        assert!(matches!(ask, Ask::Blob(asked) if asked == hash) && data.is_empty());
        let (answer, data) = read::<Answer>(&mut from).unwrap();
        assert!(matches!(answer, Answer::Blob(Ok(()))) && data == b"\0bytes"[..]);
        for cut in 0..pipe.len() {
            let mut from = &pipe[..cut];
            while read::<serde_json::Value>(&mut from).is_ok() {}
            assert!(from.is_empty(), "{cut}");
        }
    }
}
