//! What a tool answered, as text and pictures for the model.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use sterna_log::SharedBlobs;
use sterna_model::{Attachment, BlobRef, Digest};
use sterna_tool::{Image, Output, ToolDone, ViewBudget};

use crate::offers;

/// Its text; its structured content where it has no text. Pictures that models take are kept beside it; other ones, and
/// sound, are named.
pub(crate) async fn done(result: &CallToolResult, blobs: &SharedBlobs) -> ToolDone {
    let mut parts = Vec::new();
    let mut attachments = Vec::new();
    for part in &result.content {
        let name = format!("image-{}", attachments.len() + 1);
        match picture(part).map(|bytes| pictured(name, bytes)) {
            // A store that does not take it leaves its name.
            Some(Some((file, bytes))) if attachments.len() < PICTURES => match blobs.put(bytes).await {
                Ok(blob) => {
                    parts.push(told(&file));
                    attachments.push(Attachment { blob, ..file });
                }
                Err(_) => parts.push(block(part)),
            },
            Some(_) | None => parts.push(block(part)),
        }
    }
    let told = result.content.iter().any(|part| matches!(part, ContentBlock::Text(_)));
    if let (false, Some(value)) = (told, &result.structured_content) {
        parts.push(format!("{value:#}"));
    }
    let text = parts.join("\n");
    let text = if text.trim().is_empty() { "(the tool gave no text)".to_owned() } else { text };
    ToolDone {
        output: Output::Text(text),
        budget: ViewBudget { head_percent: 70, ..ViewBudget::default() },
        failed: result.is_error.unwrap_or(false),
        attachments,
        ..ToolDone::default()
    }
}

/// Its text; its structured content where it has no text. Nothing else.
pub(crate) fn text(result: &CallToolResult) -> String {
    let texts = result.content.iter().filter_map(|part| match part {
        ContentBlock::Text(text) => Some(text.text.clone()),
        _ => None,
    });
    let texts: Vec<String> = texts.collect();
    match (&result.structured_content, texts.is_empty()) {
        (Some(value), true) => value.to_string(),
        _ => texts.join("\n"),
    }
}

/// The bytes that a part gives as a picture, whatever they are.
fn picture(part: &ContentBlock) -> Option<Vec<u8>> {
    let data = match part {
        ContentBlock::Image(image) => &image.data,
        ContentBlock::Resource(of) => match &of.resource {
            ResourceContents::BlobResourceContents { mime_type: Some(kind), blob, .. }
                if kind.starts_with("image/") =>
            {
                blob
            }
            _ => return None,
        },
        _ => return None,
    };
    STANDARD.decode(data).ok()
}

/// A picture that every model that sees takes, with its bytes. What it is is told by the bytes, not by the server.
fn pictured(name: String, bytes: Vec<u8>) -> Option<(Attachment, Bytes)> {
    let image =
        Image::of(&bytes).filter(|image| image.is_small() && bytes.len() as u64 <= Image::MAX_BYTES)?;
    let blob = BlobRef { hash: Digest::ZERO, bytes: bytes.len() as u64 };
    let ending = image.media_type.trim_start_matches("image/");
    let file = Attachment {
        width: Some(image.width),
        height: Some(image.height),
        ..Attachment::new(format!("{name}.{ending}"), image.media_type, blob)
    };
    Some((file, bytes.into()))
}

fn told(file: &Attachment) -> String {
    let (width, height) = (file.width.unwrap_or(0), file.height.unwrap_or(0));
    format!("({}: {}, {width}×{height} pixels, {} bytes)", file.name, file.media_type, file.blob.bytes)
}

pub(crate) fn block(part: &ContentBlock) -> String {
    let media = |kind: &str, mime: &str, data: &str| {
        format!("({kind}: {mime}, about {} bytes, not shown)", data.len() / 4 * 3)
    };
    match part {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Image(image) => media("image", &image.mime_type, &image.data),
        ContentBlock::Audio(audio) => media("audio", &audio.mime_type, &audio.data),
        ContentBlock::Resource(resource) => offers::contents(&resource.resource),
        ContentBlock::ResourceLink(link) => format!("(resource: {} {})", link.uri, link.name),
        _ => "(content of a kind that is not known)".into(),
    }
}

/// Pictures of one answer: what the runtime keeps of a result.
const PICTURES: usize = 20;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::executor::block_on;
    use sterna_log::MemoryLog;

    use super::*;

    fn done(result: &str) -> (ToolDone, SharedBlobs) {
        let blobs: SharedBlobs = Arc::new(MemoryLog::new());
        (block_on(super::done(&serde_json::from_str(result).unwrap(), &blobs)), blobs)
    }

    /// A PNG image's header says enough.
    const DOT: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x02\0\0\0\x03";

    #[test]
    fn pictures_are_kept_as_what_their_bytes_are() {
        let data = STANDARD.encode(DOT);
        let image = format!(r#"{{"type": "image", "data": "{data}", "mimeType": "image/webp"}}"#);
        let inside = format!(
            r#"{{"type": "resource", "resource": {{"uri": "x:y", "mimeType": "image/png", "blob": "{data}"}}}}"#
        );
        let other = r#"{"type": "image", "data": "QUJDRA==", "mimeType": "image/png"}"#;
        let (done, blobs) = done(&format!(r#"{{"content": [{image}, {other}, {inside}]}}"#));
        let Output::Text(text) = done.output else { panic!("{:?}", done.output) };
        assert_eq!(
            text,
            "(image-1.png: image/png, 2×3 pixels, 24 bytes)\n(image: image/png, about 6 bytes, not shown)\n\
             (image-2.png: image/png, 2×3 pixels, 24 bytes)"
        );
        let kinds: Vec<&str> = done.attachments.iter().map(|file| file.media_type.as_str()).collect();
        assert_eq!(kinds, ["image/png"; 2]);
        assert_eq!(block_on(blobs.get(&done.attachments[0].blob.hash)).unwrap(), DOT);
        let many = vec![image.as_str(); 25].join(",");
        assert_eq!(super::tests::done(&format!(r#"{{"content": [{many}]}}"#)).0.attachments.len(), 20);
    }

    #[test]
    fn every_kind_of_content_says_something() {
        for (result, text, failed) in [
            (r#"{"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}"#, "a\nb", false),
            (r#"{"content": [], "structuredContent": {"x": 1}}"#, "{\n  \"x\": 1\n}", false),
            (r#"{"content": [{"type": "text", "text": "t"}], "structuredContent": 1}"#, "t", false),
            (r#"{"content": [], "isError": true}"#, "(the tool gave no text)", true),
            (
                r#"{"content": [{"type": "image", "data": "QUJDRA==", "mimeType": "image/png"}]}"#,
                "(image: image/png, about 6 bytes, not shown)",
                false,
            ),
            (r#"{"content": [{"type": "resource", "resource": {"uri": "x:y", "text": "in"}}]}"#, "in", false),
            (
                r#"{"content": [{"type": "resource_link", "uri": "x:y", "name": "n"}]}"#,
                "(resource: x:y n)",
                false,
            ),
        ] {
            let (done, _) = done(result);
            let Output::Text(got) = done.output else { panic!("{result}") };
            assert_eq!((got.as_str(), done.failed), (text, failed), "{result}");
        }
    }
}
