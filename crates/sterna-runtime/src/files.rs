//! Files of the history: their blobs are read before a request is encoded, and kept while the history shows them.

use std::sync::Arc;

use base64::Engine;
use sterna_context::{Form, Loaded, show, wanted};
use sterna_llm::Item;
use sterna_log::{LogError, SharedBlobs};
use sterna_model::{FilesSent, InputPart, Sight};

/// Files of one input, and of one tool result.
pub const MAX_FILES: usize = 20;
/// Bytes of all files of one input: 20 MB.
pub const MAX_FILES_BYTES: u64 = 20_000_000;

/// Why an input's files are not taken. Nothing of the input is kept then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilesError {
    #[error("an input takes {MAX_FILES} files, and this one has {0}; send the others with a later one")]
    TooMany(usize),
    #[error(
        "the files of an input may have {MAX_FILES_BYTES} bytes together, and these have {0}; leave some out, or let \
         the agent read them"
    )]
    TooLarge(u64),
    #[error("the bytes of `{0}` are not in the store; attach the file again")]
    Missing(String),
}

/// Refuses an input whose files are too many, too large or not there.
pub(crate) async fn check(parts: &[InputPart], blobs: &SharedBlobs) -> Result<(), crate::RuntimeError> {
    let files = || {
        parts.iter().filter_map(|part| match part {
            InputPart::File(file) => Some(file),
            InputPart::Text(_) => None,
        })
    };
    let count = files().count();
    if count > MAX_FILES {
        return Err(FilesError::TooMany(count).into());
    }
    let bytes = files().map(|file| file.blob.bytes).fold(0, u64::saturating_add);
    if bytes > MAX_FILES_BYTES {
        return Err(FilesError::TooLarge(bytes).into());
    }
    for file in files() {
        for blob in file.blobs() {
            if !blobs.has(&blob.hash).await? {
                return Err(FilesError::Missing(file.name.clone()).into());
            }
        }
    }
    Ok(())
}

/// The items as a request shows them to a model that takes what `sight` says; `has_files` as the transcript says. `held` keeps what was read for the next
/// request, and nothing else. An error is one of the store: that a blob is not kept any more, or is damaged, the model is told.
pub(crate) async fn shown(
    items: Vec<Arc<Item>>,
    has_files: bool,
    sight: Sight,
    blobs: &SharedBlobs,
    held: &mut Loaded,
) -> Result<(Vec<Arc<Item>>, Option<FilesSent>), LogError> {
    if !has_files {
        held.clear();
        return Ok((items, None));
    }
    let mut loaded = Loaded::new();
    for (hash, form) in wanted(&items, sight) {
        if loaded.contains_key(&(hash, form)) {
            continue;
        }
        let text: Option<Arc<str>> = match held.remove(&(hash, form)).flatten() {
            Some(text) => Some(text),
            None => match blobs.get(&hash).await {
                Ok(bytes) => Some(match form {
                    Form::Base64 => base64::engine::general_purpose::STANDARD.encode(&bytes).into(),
                    Form::Text => String::from_utf8_lossy(&bytes).into(),
                }),
                Err(LogError::BlobMissing(_) | LogError::Corrupt { .. }) => None,
                Err(error) => return Err(error),
            },
        };
        loaded.insert((hash, form), text);
    }
    *held = loaded;
    Ok(show(items, sight, held))
}
