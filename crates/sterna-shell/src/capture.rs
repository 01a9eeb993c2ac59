//! Output on its way to memory or, when it is large, to a blob with its two ends in view.

use std::borrow::Cow;

use sterna_log::{BlobWriter, LogError, SharedBlobs};
use sterna_model::BlobRef;
use tokio::sync::mpsc;

/// Output up to this size is held in memory.
pub const MEMORY_BYTES: usize = 100 << 10;
/// Bytes of the beginning that are kept in view of larger output.
pub const HEAD_BYTES: usize = 40 << 10;
/// Bytes of the end that are kept in view of larger output.
pub const TAIL_BYTES: usize = 60 << 10;

/// What a command wrote, stdout and stderr in the order in which they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Captured {
    Whole(Vec<u8>),
    /// Every byte is in the blob; the ends are text, with invalid UTF-8 replaced.
    Large {
        blob: BlobRef,
        head: String,
        tail: String,
    },
}

impl Captured {
    /// The size of the whole output.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Large { blob, .. } => blob.bytes,
        }
    }

    /// The text that is in view, with invalid UTF-8 replaced: all of it, or the two ends put together.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Whole(bytes) => String::from_utf8_lossy(bytes),
            Self::Large { head, tail, .. } => Cow::Owned(format!("{head}{tail}")),
        }
    }
}

/// At most `max` bytes of the beginning as text; a character that the cut hits is left out.
pub fn lossy_head(bytes: &[u8], max: usize) -> String {
    let mut cut = bytes.len().min(max);
    if cut < bytes.len() {
        // A character is at most 4 bytes, so its beginning is at most 3 bytes back.
        let start = (cut.saturating_sub(3)..=cut).rev().find(|&at| !is_continuation(bytes[at]));
        cut = start.unwrap_or(cut);
    }
    String::from_utf8_lossy(&bytes[..cut]).into_owned()
}

/// At most `max` bytes of the end as text; a character that the cut hits is left out.
pub fn lossy_tail(bytes: &[u8], max: usize) -> String {
    let cut = bytes.len() - bytes.len().min(max);
    let skip =
        if cut == 0 { 0 } else { bytes[cut..].iter().take(3).take_while(|b| is_continuation(**b)).count() };
    String::from_utf8_lossy(&bytes[cut + skip..]).into_owned()
}

/// What the reader tells the thread that keeps the output. A channel that closes without `End` means that nobody
/// wants the output any more.
pub(crate) enum Chunk {
    Bytes(Vec<u8>),
    End,
}

/// Keeps chunks until the end. Blocking: stores may write files. `None` when nobody wants the output.
pub(crate) fn keep(
    mut chunks: mpsc::Receiver<Chunk>,
    blobs: &SharedBlobs,
) -> Option<Result<Captured, LogError>> {
    let mut kept = Kept::Memory(Vec::new());
    let mut failure = None;
    loop {
        match chunks.blocking_recv()? {
            // After a failure the rest is read and dropped, so that the command can end as it would have.
            Chunk::Bytes(_) if failure.is_some() => {}
            Chunk::Bytes(bytes) => failure = kept.push(&bytes, blobs).err(),
            Chunk::End => break,
        }
    }
    Some(match failure {
        Some(failure) => Err(failure),
        None => kept.finish(),
    })
}

enum Kept {
    Memory(Vec<u8>),
    Blob { writer: Box<dyn BlobWriter>, head: Vec<u8>, tail: Vec<u8> },
}

impl Kept {
    fn push(&mut self, bytes: &[u8], blobs: &SharedBlobs) -> Result<(), LogError> {
        match self {
            Self::Memory(held) => {
                held.extend_from_slice(bytes);
                if held.len() > MEMORY_BYTES {
                    let mut writer = blobs.writer()?;
                    writer.write(held)?;
                    let head = held[..HEAD_BYTES + SLACK].to_vec();
                    *self = Self::Blob { writer, head, tail: std::mem::take(held) };
                }
            }
            Self::Blob { writer, tail, .. } => {
                writer.write(bytes)?;
                tail.extend_from_slice(bytes);
                if tail.len() > 4 * TAIL_BYTES {
                    tail.drain(..tail.len() - TAIL_BYTES);
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Captured, LogError> {
        Ok(match self {
            Self::Memory(held) => Captured::Whole(held),
            Self::Blob { writer, head, tail } => Captured::Large {
                blob: writer.finish()?,
                head: lossy_head(&head, HEAD_BYTES),
                tail: lossy_tail(&tail, TAIL_BYTES),
            },
        })
    }
}

/// Bytes after the head, so that its cut can see whether it hits a character.
const SLACK: usize = 4;

fn is_continuation(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_leave_no_half_character() {
        let text = "aé€😀z".as_bytes();
        // Where each character begins: a 0, é 1, € 3, 😀 6, z 10, end 11.
        let heads = ["", "a", "a", "aé", "aé", "aé", "aé€", "aé€", "aé€", "aé€", "aé€😀", "aé€😀z", "aé€😀z"];
        for (max, want) in heads.into_iter().enumerate() {
            assert_eq!(lossy_head(text, max), want, "head {max}");
        }
        let tails =
            ["", "z", "z", "z", "z", "😀z", "😀z", "😀z", "€😀z", "€😀z", "é€😀z", "aé€😀z", "aé€😀z"];
        for (max, want) in tails.into_iter().enumerate() {
            assert_eq!(lossy_tail(text, max), want, "tail {max}");
        }
        assert_eq!(lossy_head(&[0x80; 9], 5).chars().count(), 5);
        assert_eq!(lossy_tail(&[0xff; 9], 5).chars().count(), 5);
    }
}
