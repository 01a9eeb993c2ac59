//! The head of a request to the proxy: untrusted bytes in, what is asked for out.

use super::rule::{clean, split_port};

/// What a client asks the proxy for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) ask: Ask,
    /// The value of `Proxy-Authorization`.
    pub(crate) authorization: Option<Vec<u8>>,
    /// Bytes of the head; what follows is already for the host.
    pub(crate) length: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    /// `CONNECT`: bytes in both directions.
    Tunnel,
    /// A request by its whole address: the head as the host is to see it.
    Forward(Vec<u8>),
}

/// Why there is no head to act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// More bytes are needed.
    Partial,
    Malformed,
    /// Neither `CONNECT host:port` nor `http://…`.
    NoProxyRequest,
}

/// Reads the head at the beginning of `bytes`.
pub(crate) fn parse(bytes: &[u8]) -> Result<Head, Fault> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Err(Fault::Partial),
        Err(_) => return Err(Fault::Malformed),
    };
    let (Some(method), Some(target)) = (request.method, request.path) else { return Err(Fault::Malformed) };
    let authorization = request
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("proxy-authorization"))
        .map(|header| header.value.to_vec());
    if method == "CONNECT" {
        let (host, port) = authority(target, None).ok_or(Fault::NoProxyRequest)?;
        return Ok(Head { host, port, ask: Ask::Tunnel, authorization, length });
    }
    let (scheme, rest) = target.split_once("://").ok_or(Fault::NoProxyRequest)?;
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(Fault::NoProxyRequest);
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (place, path) = rest.split_at(end);
    // A name before `@` is for the host, and none of its business here.
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    let (host, port) = authority(place, Some(80)).ok_or(Fault::NoProxyRequest)?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    // One request a connection: the next one may be for another host, and must be looked at too.
    let mut forward =
        format!("{method} {slash}{path} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n").into_bytes();
    for header in request.headers.iter() {
        let name = header.name.to_ascii_lowercase();
        if !(name.starts_with("proxy-") || NOT_FORWARDED.contains(&name.as_str())) {
            forward.extend_from_slice(header.name.as_bytes());
            forward.extend_from_slice(b": ");
            forward.extend_from_slice(header.value);
            forward.extend_from_slice(b"\r\n");
        }
    }
    forward.extend_from_slice(b"\r\n");
    Ok(Head { host, port, ask: Ask::Forward(forward), authorization, length })
}

fn authority(text: &str, default: Option<u16>) -> Option<(String, u16)> {
    let (host, port) = match split_port(text) {
        (host, Some(port)) => (host, port.parse().ok()?),
        (host, None) => (host, default?),
    };
    let host = clean(host);
    (!host.is_empty() && port != 0).then_some((host, port))
}

const HEADERS_MAX: usize = 128;
/// For the way to us alone, or written anew.
const NOT_FORWARDED: &[&str] = &["host", "connection", "keep-alive", "te", "trailer", "upgrade"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn heads_are_read_and_written_for_the_host() {
        let tunnel = parse(b"CONNECT Example.com:443 HTTP/1.1\r\nHost: other\r\n\r\n\x16\x03").unwrap();
        assert_eq!((tunnel.host.as_str(), tunnel.port, tunnel.length), ("example.com", 443, 49));
        assert_eq!(tunnel.ask, Ask::Tunnel);
        let request = b"GET http://u:p@a.example:8080/x?y HTTP/1.0\r\nHost: evil.example\r\nAccept: */*\r\n\
            Proxy-Authorization: Basic eA==\r\nProxy-Connection: keep-alive\r\nConnection: keep-alive\r\n\r\nbody";
        let plain = parse(request).unwrap();
        assert_eq!((plain.host.as_str(), plain.port), ("a.example", 8080));
        assert_eq!(plain.authorization.as_deref(), Some(&b"Basic eA=="[..]));
        assert_eq!(&request[plain.length..], b"body");
        let want = "GET /x?y HTTP/1.1\r\nHost: a.example:8080\r\nConnection: close\r\nAccept: */*\r\n\r\n";
        assert_eq!(plain.ask, Ask::Forward(want.into()));
        for (target, host, port, path) in [
            ("http://a.example", "a.example", 80, "/"),
            ("HTTP://a.example?q", "a.example", 80, "/?q"),
            ("http://[2001:db8::1]:81/", "2001:db8::1", 81, "/"),
        ] {
            let head = parse(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
            let Ask::Forward(forward) = head.ask else { panic!("{target}") };
            assert_eq!((head.host.as_str(), head.port), (host, port), "{target}");
            assert!(forward.starts_with(format!("GET {path} HTTP/1.1\r\n").as_bytes()), "{target}");
        }
    }

    #[test]
    fn what_is_no_request_to_a_proxy_is_told() {
        for (text, want) in [
            ("", Fault::Partial),
            ("CONNECT a.b:443 HTTP/1.1\r\n", Fault::Partial),
            ("GET / HTTP/1.1\r\n\r\n", Fault::NoProxyRequest),
            ("CONNECT a.b HTTP/1.1\r\n\r\n", Fault::NoProxyRequest),
            ("CONNECT a.b:99999 HTTP/1.1\r\n\r\n", Fault::NoProxyRequest),
            ("CONNECT :443 HTTP/1.1\r\n\r\n", Fault::NoProxyRequest),
            ("GET https://a.b/ HTTP/1.1\r\n\r\n", Fault::NoProxyRequest),
            ("GET ftp://a.b/ HTTP/1.1\r\n\r\n", Fault::NoProxyRequest),
            ("GET http:/// HTTP/1.1\r\n\r\n", Fault::NoProxyRequest),
            ("\u{0}\u{1}", Fault::Malformed),
            ("GET a b c d\r\n\r\n", Fault::Malformed),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(want), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_no_head_ends_beyond_them(bytes in proptest::collection::vec(any::<u8>(), 0..200),
                target in "[ -~]{0,40}") {
            if let Ok(head) = parse(&bytes) {
                prop_assert!(head.length <= bytes.len());
            }
            let text = format!("GET {target} HTTP/1.1\r\nA: b\r\n\r\n");
            if let Ok(Head { ask: Ask::Forward(forward), .. }) = parse(text.as_bytes()) {
                // Nothing can be put between the lines.
                let forward = String::from_utf8_lossy(&forward).into_owned();
                prop_assert_eq!(forward.matches("\r\n").count(), 5);
            }
        }
    }
}
