//! The decoder for server-sent events: bytes in any pieces in, whole events out.
//!
//! It must never know what the events mean. Invalid UTF-8 is replaced, never a panic.

/// The largest event that is taken: more means a broken or hostile server.
pub const MAX_EVENT_BYTES: usize = 16 << 20;

/// An event of the stream, complete with its blank line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// The `event` field; empty if there was none.
    pub name: String,
    /// The `data` lines, joined with newlines.
    pub data: String,
    /// The last `id` seen on this stream.
    pub id: Option<String>,
    /// Milliseconds, if this event had a `retry` field.
    pub retry: Option<u64>,
}

/// An event grew beyond `MAX_EVENT_BYTES`. The decoder takes nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream sent one event of more than {MAX_EVENT_BYTES} bytes")]
pub struct EventTooLarge;

/// An incremental decoder.
#[derive(Debug, Default)]
pub struct SseDecoder {
    line: Vec<u8>,
    /// The last byte was a carriage return: a newline that follows belongs to it.
    after_cr: bool,
    /// A first line was seen, so a byte order mark is no longer one.
    begun: bool,
    name: String,
    data: String,
    has_data: bool,
    id: Option<String>,
    retry: Option<u64>,
    failed: bool,
}

impl SseDecoder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes and hands over each event they complete. What the stream's end leaves open is no event.
    pub fn push(&mut self, bytes: &[u8], out: &mut dyn FnMut(SseEvent)) -> Result<(), EventTooLarge> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.failed {
                return Err(EventTooLarge);
            }
            if std::mem::take(&mut self.after_cr) && rest[0] == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let text = &rest[..end.unwrap_or(rest.len())];
            if self.line.len() + self.data.len() + text.len() > MAX_EVENT_BYTES {
                self.failed = true;
                return Err(EventTooLarge);
            }
            match end {
                None => {
                    self.line.extend_from_slice(text);
                    break;
                }
                Some(end) => {
                    self.after_cr = rest[end] == b'\r';
                    if self.line.is_empty() {
                        self.take_line(text, out);
                    } else {
                        self.line.extend_from_slice(text);
                        let line = std::mem::take(&mut self.line);
                        self.take_line(&line, out);
                        self.line = line;
                        self.line.clear();
                    }
                    rest = &rest[end + 1..];
                }
            }
        }
        if self.failed { Err(EventTooLarge) } else { Ok(()) }
    }

    fn take_line(&mut self, line: &[u8], out: &mut dyn FnMut(SseEvent)) {
        let line = match line.strip_prefix(BOM) {
            Some(rest) if !self.begun => rest,
            _ => line,
        };
        self.begun = true;
        if line.is_empty() {
            return self.dispatch(out);
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            // A comment.
            Some(0) => return,
            Some(colon) => {
                let value = &line[colon + 1..];
                (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &[][..]),
        };
        match field {
            b"data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.has_data = true;
                self.data.push_str(&String::from_utf8_lossy(value));
            }
            b"event" => self.name = String::from_utf8_lossy(value).into_owned(),
            b"id" if !value.contains(&0) => self.id = Some(String::from_utf8_lossy(value).into_owned()),
            b"retry" if value.iter().all(u8::is_ascii_digit) => {
                self.retry = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
            }
            _ => {}
        }
    }

    fn dispatch(&mut self, out: &mut dyn FnMut(SseEvent)) {
        let name = std::mem::take(&mut self.name);
        let data = std::mem::take(&mut self.data);
        let retry = self.retry.take();
        if std::mem::take(&mut self.has_data) {
            out(SseEvent { name, data, id: self.id.clone(), retry });
        }
    }
}

const BOM: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(pieces: &[&[u8]]) -> Vec<SseEvent> {
        let mut decoder = SseDecoder::new();
        let mut events = Vec::new();
        for piece in pieces {
            decoder.push(piece, &mut |event| events.push(event)).unwrap();
        }
        events
    }

    fn check(stream: &[u8], expect: &[(&str, &str)]) {
        let seen = decode(&[stream]);
        let pairs: Vec<_> = seen.iter().map(|e| (e.name.as_str(), e.data.as_str())).collect();
        assert_eq!(pairs, expect);
        for cut in 0..=stream.len() {
            assert_eq!(decode(&[&stream[..cut], &stream[cut..]]), seen, "cut at {cut}");
        }
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(decode(&single), seen, "byte by byte");
    }

    #[test]
    fn events_in_every_spelling() {
        check(b"data: a\n\n", &[("", "a")]);
        check(b"data: a\r\n\r\ndata: b\r\n\r\n", &[("", "a"), ("", "b")]);
        check(b"data: a\r\rdata: b\r\r", &[("", "a"), ("", "b")]);
        check(b"data:a\ndata: b\ndata\n\n", &[("", "a\nb\n")]);
        check(b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n", &[("", "a")]);
        check(b": hello\n\n:\nevent: ping\ndata: {}\n\n", &[("ping", "{}")]);
        check("data: tür 😀\n\n".as_bytes(), &[("", "tür 😀")]);
        check(b"data:  two\n\n", &[("", " two")]);
        check(b"event: lost\n\ndata: x\n\n", &[("", "x")]);
        check(b"unknown: y\nnocolon\ndata: x\n\n\n\n", &[("", "x")]);
        check(b"data: \xff\xfe\n\n", &[("", "\u{fffd}\u{fffd}")]);
        check(b"data\n\n", &[("", "")]);
        // Without its blank line an event is not complete.
        check(b"data: a\n\ndata: b\n", &[("", "a")]);
        check(b"data: a\n\ndata: b", &[("", "a")]);
    }

    #[test]
    fn ids_last_and_retry_does_not() {
        let seen = decode(&[b"id: 7\nretry: 250\ndata: a\n\ndata: b\n\nid: x\0y\nretry: 1s\ndata: c\n\n"]);
        let rest: Vec<_> = seen.iter().map(|e| (e.id.as_deref(), e.retry)).collect();
        assert_eq!(rest, [(Some("7"), Some(250)), (Some("7"), None), (Some("7"), None)]);
    }

    #[test]
    fn an_endless_event_is_a_typed_error_and_stays_one() {
        let mut decoder = SseDecoder::new();
        let piece = vec![b'x'; 1 << 20];
        let mut result = decoder.push(b"data: ", &mut |_| {});
        for _ in 0..16 {
            result = result.and_then(|()| decoder.push(&piece, &mut |_| {}));
        }
        assert_eq!(result, Err(EventTooLarge));
        assert_eq!(
            decoder.push(b"\n\ndata: a\n\n", &mut |_| panic!("an event after the end")),
            Err(EventTooLarge)
        );
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            stream in proptest::collection::vec(
                prop_oneof![Just(b'\n'), Just(b'\r'), Just(b':'), Just(b' '), Just(b'd'), any::<u8>()], 0..200),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
            prefix in prop_oneof![Just(&b""[..]), Just(&b"data: "[..]), Just(&b"\xef\xbb\xbfdata:"[..])],
        ) {
            let stream = [prefix, &stream].concat();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            at.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for to in at.into_iter().chain([stream.len()]) {
                pieces.push(&stream[from..to]);
                from = to;
            }
            prop_assert_eq!(decode(&pieces), decode(&[&stream]));
        }
    }
}
