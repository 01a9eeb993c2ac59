//! Files as attachments: what their bytes are, and whether a model may be given them.

use sterna_model::{Attachment, BlobRef, PDF};
use sterna_tool::Image;

use crate::pdf;
use crate::support::{cut, number};

/// A file that may be attached: what is to be kept of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachable {
    name: String,
    media_type: &'static str,
    size: Option<(u32, u32)>,
    pages: Option<u32>,
    /// The text of a document, for models that do not take the document itself: kept as a blob of its own. Without the
    /// secrets that were found in it, if the caller takes them out.
    pub text: Option<String>,
    /// The file is text itself, and `bytes` are it.
    pub is_text: bool,
}

/// Why a file is not attached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    #[error("`{0}` is empty")]
    Empty(String),
    #[error("`{name}` has {} bytes, more than the {} of one {kind}; {instead}", number(*bytes), number(*most))]
    TooLarge { name: String, kind: &'static str, bytes: u64, most: u64, instead: &'static str },
    #[error(
        "`{name}` has {width}×{height} pixels, more than the {} of one side; make it smaller",
        Image::MAX_SIDE
    )]
    TooWide { name: String, width: u32, height: u32 },
    #[error("`{name}` is a PDF document that cannot be read: {why}")]
    Unreadable { name: String, why: String },
    #[error("`{0}` is no PNG, JPEG, GIF or WebP image, no PDF document and no text: no model takes it")]
    Unknown(String),
}

impl Attachable {
    /// Looks at a file. `name` is its name without a folder. May take seconds for a document: call it where that harms
    /// nobody.
    pub fn look(name: &str, bytes: &[u8]) -> Result<Self, AttachError> {
        if bytes.is_empty() {
            return Err(AttachError::Empty(name.to_owned()));
        }
        let plain = |media_type| Self {
            name: name.to_owned(),
            media_type,
            size: None,
            pages: None,
            text: None,
            is_text: false,
        };
        if let Some(found) = Image::of(bytes) {
            fits(name, bytes.len(), found)?;
            let size = Some((found.width, found.height));
            return Ok(Self { size, ..plain(found.media_type) });
        }
        if bytes.starts_with(b"%PDF-") {
            within(name, "document", bytes.len(), MAX_BYTES, "let the agent read its pages")?;
            let read = pdf::read(bytes.to_vec(), 1, pdf::MAX_PAGES)
                .map_err(|why| AttachError::Unreadable { name: name.to_owned(), why })?;
            let mut text = cut(&read.text, MAX_TEXT_BYTES as usize).to_owned();
            if read.last < read.total || text.len() < read.text.len() {
                text.push_str(&format!("\n[the document has {} pages; this is its beginning]", read.total));
            }
            return Ok(Self { pages: Some(read.total), text: Some(text), ..plain(PDF) });
        }
        if std::str::from_utf8(bytes).is_err() || bytes.contains(&0) {
            return Err(AttachError::Unknown(name.to_owned()));
        }
        within(name, "text", bytes.len(), MAX_TEXT_BYTES, "let the agent read it from its folder")?;
        Ok(Self { is_text: true, ..plain("text/plain") })
    }

    /// The attachment, once its bytes are the blob `blob`, and its text, if it has one, the blob `text`.
    pub fn kept(&self, blob: BlobRef, text: Option<BlobRef>) -> Attachment {
        Attachment {
            width: self.size.map(|(width, _)| width),
            height: self.size.map(|(_, height)| height),
            pages: self.pages,
            text,
            ..Attachment::new(&self.name, self.media_type, blob)
        }
    }
}

/// Whether an image is one that providers take.
pub(crate) fn fits(name: &str, bytes: usize, image: Image) -> Result<(), AttachError> {
    within(name, "image", bytes, MAX_BYTES, "make it smaller, for example with fewer pixels")?;
    if !image.is_small() {
        let Image { media_type: _, width, height } = image;
        return Err(AttachError::TooWide { name: name.to_owned(), width, height });
    }
    Ok(())
}

fn within(
    name: &str,
    kind: &'static str,
    bytes: usize,
    most: u64,
    instead: &'static str,
) -> Result<(), AttachError> {
    let bytes = bytes as u64;
    if bytes > most {
        return Err(AttachError::TooLarge { name: name.to_owned(), kind, bytes, most, instead });
    }
    Ok(())
}

/// Bytes of one image or document.
pub const MAX_BYTES: u64 = Image::MAX_BYTES;
/// Bytes of one text, and of the text of one document.
pub const MAX_TEXT_BYTES: u64 = 256 << 10;

#[cfg(test)]
mod tests {
    use sterna_model::Digest;

    use super::*;
    use crate::pdf::tests::document;

    /// A whole PNG image of one black pixel.
    const PIXEL: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0\x3a\x7e\x9b\x55\
        \0\0\0\nIDAT\x78\x9c\x63\x60\0\0\0\x02\0\x01\x48\xaf\xa4\x71\0\0\0\0IEND\xae\x42\x60\x82";

    #[test]
    fn bytes_say_what_a_file_is() {
        let blob = |bytes| BlobRef { hash: Digest::ZERO, bytes };
        let pixel = Attachable::look("p.txt", PIXEL).unwrap().kept(blob(67), None);
        assert_eq!((pixel.media_type.as_str(), pixel.width, pixel.height), ("image/png", Some(1), Some(1)));
        let pdf = Attachable::look("d.pdf", &document(&["one", "two"])).unwrap();
        assert_eq!(pdf.text.as_deref(), Some("[page 1]\none\n[page 2]\ntwo\n"));
        let pdf = pdf.kept(blob(9), Some(blob(3)));
        assert_eq!((pdf.media_type.as_str(), pdf.pages, pdf.text), (PDF, Some(2), Some(blob(3))));
        let many = Attachable::look("d.pdf", &document(&["x"; 21])).unwrap().text.unwrap();
        assert!(many.ends_with("x\n\n[the document has 21 pages; this is its beginning]"), "{many}");
        let text = Attachable::look("a.rs", "größe".as_bytes()).unwrap();
        assert!(text.is_text && text.text.is_none());
    }

    #[test]
    fn what_no_model_takes_is_refused() {
        let wide = |width: u32| {
            let mut png = PIXEL.to_vec();
            png[16..20].copy_from_slice(&width.to_be_bytes());
            png
        };
        let padded = |bytes: usize| [PIXEL, &vec![0; bytes - PIXEL.len()]].concat();
        assert!(Attachable::look("x", &wide(8_000)).is_ok());
        assert!(Attachable::look("x", &padded(5 << 20)).is_ok());
        for (bytes, expected) in [
            (Vec::new(), "`x` is empty"),
            (wide(8_001), "`x` has 8001×1 pixels, more than the 8000 of one side; make it smaller"),
            (
                padded((5 << 20) + 1),
                "`x` has 5,242,881 bytes, more than the 5,242,880 of one image; make it smaller, for example with \
                 fewer pixels",
            ),
            (
                vec![b'a'; (256 << 10) + 1],
                "`x` has 262,145 bytes, more than the 262,144 of one text; let the agent read it from its folder",
            ),
            (
                b"PK\x03\x04\0".to_vec(),
                "`x` is no PNG, JPEG, GIF or WebP image, no PDF document and no text: no model takes it",
            ),
            (
                b"\xff\xfe\0".to_vec(),
                "`x` is no PNG, JPEG, GIF or WebP image, no PDF document and no text: no model takes it",
            ),
        ] {
            assert_eq!(Attachable::look("x", &bytes).unwrap_err().to_string(), expected);
        }
        let broken = Attachable::look("x", b"%PDF-1.4 nothing").unwrap_err();
        assert!(matches!(broken, AttachError::Unreadable { .. }), "{broken}");
    }
}
