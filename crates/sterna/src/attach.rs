//! Files of an input: looked at, kept as blobs, and named in the input by their hashes.

use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sterna_model::{BlobRef, InputPart};
use sterna_tools::attach::{AttachError, Attachable, MAX_BYTES};

use crate::{Error, Sterna};

/// A file that is to come with an input.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    File(PathBuf),
    Bytes { name: String, bytes: Bytes },
}

impl Sterna {
    /// Keeps a file, and gives the part of an input that shows it to the model: an image (PNG, JPEG, GIF, WebP) or a PDF
    /// document of at most 5 MiB, or a text of at most 256 KiB. A relative path is relative to the process's folder.
    ///
    /// Texts lose the secrets that are found in them; images and documents are not looked into.
    pub async fn attach(&self, path: impl AsRef<Path>) -> Result<InputPart, Error> {
        let path = path.as_ref().to_owned();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_else(|| path.display().to_string());
        let read = tokio::task::spawn_blocking(move || read(&path)).await;
        let bytes =
            read.map_err(|error| Error::setup(format!("the file could not be read: {error}"), AGAIN))??;
        self.attach_bytes(name, bytes).await
    }

    /// The same for bytes that are at hand. `name`: as the model and people read it.
    pub async fn attach_bytes(
        &self,
        name: impl Into<String>,
        bytes: impl Into<Bytes>,
    ) -> Result<InputPart, Error> {
        let (name, bytes) = (name.into(), bytes.into());
        let looked = {
            let bytes = bytes.clone();
            tokio::task::spawn_blocking(move || Attachable::look(&name, &bytes)).await
        };
        let file =
            looked.map_err(|error| Error::setup(format!("the file could not be read: {error}"), AGAIN))??;
        let secrets = self.runtime().parts().secrets.common();
        let bytes = match std::str::from_utf8(&bytes) {
            Ok(text) if file.is_text => Bytes::from(secrets.redact(text).into_owned()),
            _ => bytes,
        };
        let blob = self.keep(bytes).await?;
        let text = match &file.text {
            Some(text) => Some(self.keep(secrets.redact(text).into_owned().into()).await?),
            None => None,
        };
        Ok(InputPart::File(file.kept(blob, text)))
    }

    pub(crate) async fn attached(&self, source: Source) -> Result<InputPart, Error> {
        match source {
            Source::File(path) => self.attach(path).await,
            Source::Bytes { name, bytes } => self.attach_bytes(name, bytes).await,
        }
    }

    async fn keep(&self, bytes: Bytes) -> Result<BlobRef, Error> {
        Ok(self.runtime().parts().blobs.put(bytes).await?)
    }
}

/// The bytes of a regular file that is not too large for any kind.
fn read(path: &Path) -> Result<Bytes, Error> {
    let shown = path.display();
    let failed = |error| Error::setup(format!("cannot read `{shown}`: {error}"), "name a file that is there");
    // Opening what is no file may wait for ever.
    let meta = std::fs::metadata(path).map_err(failed)?;
    if !meta.is_file() {
        return Err(Error::setup(format!("`{shown}` is no regular file"), "name a file"));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    // It may grow while it is read.
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (bytes, most) = (meta.len().max(MAX_BYTES + 1), MAX_BYTES);
        let instead = "make it smaller, or let the agent read it from its folder";
        return Err(AttachError::TooLarge { name, kind: "file", bytes, most, instead }.into());
    }
    Ok(bytes.into())
}

const AGAIN: &str = "try again";
