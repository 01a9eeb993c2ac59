//! What a tool answered, as text for the model.

use rmcp::model::{CallToolResult, ContentBlock};
use sterna_tool::{Output, ToolDone, ViewBudget};

use crate::offers;

/// Its text; its structured content where it has no text. Pictures and sound are named, not shown.
pub(crate) fn done(result: &CallToolResult) -> ToolDone {
    let mut parts: Vec<String> = result.content.iter().map(block).collect();
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
        ..ToolDone::default()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
            let done = done(&serde_json::from_str(result).unwrap());
            let Output::Text(got) = done.output else { panic!("{result}") };
            assert_eq!((got.as_str(), done.failed), (text, failed), "{result}");
        }
    }
}
