//! Streams with their oracles: whole, in pieces of every size, and cut at every byte.

use sterna_llm::wire::{self, Decoder};
use sterna_llm::{ModelReply, StreamEvent};
use sterna_model::{
    Billed, ErrorClass, ModelStop, Opaque, Part, Phase, ProviderFailure, Reasoning, Route, Segment, ToolCall,
    Usage,
};

pub type Decoded = (Vec<StreamEvent>, Result<ModelReply, ProviderFailure>);

pub fn route() -> Route {
    Route { provider: "p".into(), model: "m".into() }
}

pub fn decoder(name: &str) -> Box<dyn Decoder> {
    wire::by_name(name).unwrap().decoder(&route())
}

pub fn decode(name: &str, pieces: &[&[u8]], complete: bool) -> Decoded {
    let mut decoder = decoder(name);
    let mut events = Vec::new();
    for piece in pieces {
        if let Err(failure) = decoder.push(piece, &mut |event| events.push(event)) {
            return (events, Err(failure));
        }
    }
    let result = decoder.finish(complete, &mut |event| events.push(event));
    (events, result)
}

/// The events as one line: `<T"text"T>` is a text segment with one delta.
pub fn shown(events: &[StreamEvent]) -> String {
    let mut line = String::new();
    for event in events {
        let kind = match event.segment {
            Segment::Text => 'T',
            Segment::Reasoning => 'R',
            Segment::ToolCall => 'C',
        };
        match event.phase {
            Phase::Start => line.push_str(&format!("<{kind}{}", event.name.as_deref().unwrap_or_default())),
            Phase::Delta => line.push_str(&format!("{:?}", event.text)),
            Phase::End => line.push_str(&format!("{kind}>")),
        }
    }
    line
}

/// A stream with its oracle. Every proper prefix that lacks the end is a named failure, and pieces do not matter.
pub fn check(
    name: &str,
    stream: &[u8],
    live: &str,
    parts: &[Part],
    stop: ModelStop,
    usage: Usage,
    raw: &str,
) {
    let (events, result) = decode(name, &[stream], true);
    let raw = (!raw.is_empty()).then(|| raw.to_owned());
    let billed = Billed { usage, cost: None, estimated: false, raw };
    assert_eq!(result, Ok(ModelReply { parts: parts.to_vec(), stop, billed }));
    assert_eq!(shown(&events), live);

    let whole = (events, result);
    for cut in 1..stream.len() {
        assert_eq!(decode(name, &[&stream[..cut], &stream[cut..]], true), whole, "in two, cut at {cut}");
    }
    for size in [1, 2, 3, 7, 64] {
        let pieces: Vec<&[u8]> = stream.chunks(size).collect();
        assert_eq!(decode(name, &pieces, true), whole, "in pieces of {size}");
    }
    // Only where the body's end counts does it make a difference.
    let ways: &[bool] = if name == "gemini" { &[false, true] } else { &[false] };
    for (cut, complete) in (0..stream.len()).flat_map(|cut| ways.iter().map(move |complete| (cut, *complete)))
    {
        let (_, result) = decode(name, &[&stream[..cut]], complete);
        match terminal(name, stream, complete) {
            Some(end) if cut >= end => assert!(result.is_ok(), "after the terminal event, cut at {cut}"),
            _ => assert_eq!(result.unwrap_err().class, ErrorClass::StreamCut, "cut at {cut}, {complete}"),
        }
    }
}

/// A stream that ends in a failure. No prefix of it is a success, and pieces do not matter.
pub fn check_failure(
    name: &str,
    stream: &[u8],
    class: ErrorClass,
    message: &str,
    usage: Usage,
    estimated: bool,
) {
    let (events, result) = decode(name, &[stream], true);
    let failure = result.clone().unwrap_err();
    let billed = (failure.billed.usage, failure.billed.estimated);
    assert_eq!((failure.class, failure.message.as_str(), billed), (class, message, (usage, estimated)));
    for size in [1, 2, 3, 7, 64] {
        let pieces: Vec<&[u8]> = stream.chunks(size).collect();
        assert_eq!(decode(name, &pieces, true).1, result, "in pieces of {size}");
    }
    for cut in 1..stream.len() {
        let whole = (events.clone(), result.clone());
        assert_eq!(decode(name, &[&stream[..cut], &stream[cut..]], true), whole, "in two, cut at {cut}");
        for complete in [false, true] {
            let seen = decode(name, &[&stream[..cut]], complete).1.unwrap_err();
            assert!(seen.class == ErrorClass::StreamCut || seen.class == class, "cut at {cut}: {seen:?}");
        }
    }
}

/// Where nothing is missing any more: behind the last byte of the blank line that completes the terminal event.
fn terminal(name: &str, stream: &[u8], complete: bool) -> Option<usize> {
    let find = |mark: &[u8]| stream.windows(mark.len()).position(|window| window == mark);
    let at = match name {
        "anthropic" => find(br#"{"type":"message_stop"}"#),
        "openai_chat" => find(b"[DONE]"),
        "openai_responses" => {
            find(br#"{"type":"response.completed""#).or_else(|| find(br#"{"type":"response.incomplete""#))
        }
        // No event ends it: a finish reason and a whole body do.
        _ if !complete => None,
        _ => ["STOP", "MAX_TOKENS"].iter().filter_map(|word| find(format!("\"{word}\"").as_bytes())).min(),
    }?;
    let line = at + stream[at..].iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
    // Two newlines, or the first three bytes of `\r\n\r\n`: a carriage return ends the line by itself.
    Some(line + if stream[line] == b'\r' { 3 } else { 2 })
}

pub fn text(text: &str) -> Part {
    Part::Text(text.into())
}

pub fn call(id: &str, name: &str, arguments: &str) -> Part {
    Part::ToolCall(ToolCall {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
        truncated: false,
    })
}

pub fn tokens(input_uncached: u64, output: u64) -> Usage {
    Usage { input_uncached, output, ..Usage::default() }
}

pub fn opaque(json: &str) -> Part {
    Part::Opaque(Opaque { route: route(), json: json.into() })
}

pub fn reasoning(text: &str, opaque: Option<&str>) -> Part {
    let opaque = opaque.map(|json| Opaque { route: route(), json: json.into() });
    Part::Reasoning(Reasoning { text: text.into(), opaque })
}
