//! One POST of JSON to an address that was judged as those of `web_fetch` are, for hooks.

use std::sync::Arc;

use sterna_shell::sandbox::DomainRule;
use sterna_shell::sandbox::net::Resolver;
use url::Url;

use super::get::{GetError, Web, plain};
use super::guard::{Pinned, addresses, authority, read};

/// Posts to the public network, and to what of this one is allowed by name.
#[derive(Clone)]
pub struct Poster(Web);

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    pub status: u16,
    /// Bytes that are no UTF-8 are replaced.
    pub text: String,
}

impl Poster {
    /// `private`: hosts with a port that may be reached although they are not of the public network. Without a resolver
    /// names are looked up as the system does.
    pub fn new(private: &[DomainRule], resolver: Option<Resolver>) -> Self {
        Self(Web::new(private, resolver))
    }

    /// One POST, no redirect followed, at most `max` bytes of answer. `hosts`: only these, as rules open them to commands
    /// (`host`, `host:port`, `*.host`, `*`); `None`: every public one. An error says why nothing was sent, or came back.
    pub async fn post(
        &self,
        url: &str,
        headers: &[(String, String)],
        body: String,
        hosts: Option<&[String]>,
        max: usize,
    ) -> Result<Posted, String> {
        let url = read(url).map_err(|refusal| refusal.to_string())?;
        if let Some(hosts) = hosts
            && !is_open(&url, hosts)
        {
            let host = authority(&url);
            return Err(format!("no rule opens {host}: `allow Web({host})` would"));
        }
        let (private, resolver) = self.0.rules();
        let addresses = addresses(&url, private, resolver).await.map_err(|refusal| refusal.to_string())?;
        let client = plain(&url).map_err(told)?.dns_resolver(Arc::new(Pinned(addresses)));
        let client = client.build().map_err(|error| format!("no client can be made: {error}"))?;
        let mut request = client.post(url).header("content-type", "application/json").body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = super::get::send(request, max).await.map_err(told)?;
        if answer.cut {
            return Err(format!("it answered with more than {max} bytes"));
        }
        let text = String::from_utf8_lossy(&answer.bytes).into_owned();
        Ok(Posted { status: answer.status, text })
    }
}

fn is_open(url: &Url, hosts: &[String]) -> bool {
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
    let open =
        |rule: &String| rule == "*" || rule.parse::<DomainRule>().is_ok_and(|rule| rule.allows(host, port));
    hosts.iter().any(open)
}

fn told(error: GetError) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use futures::FutureExt;

    use super::*;

    /// A server that gives one answer and tells what it was sent.
    fn server(answer: &'static str) -> (u16, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut all = Vec::new();
            let mut chunk = [0; 4096];
            while !all.ends_with(b"}") {
                let n = stream.read(&mut chunk).unwrap();
                all.extend_from_slice(&chunk[..n]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(all).unwrap()
        });
        (port, served)
    }

    fn rule(text: &str) -> DomainRule {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn what_is_allowed_by_name_is_posted_to() {
        let (port, served) = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
        let host = format!("127.0.0.1:{port}");
        let poster = Poster::new(&[rule(&host)], None);
        let headers = [("x-who".to_owned(), "me".to_owned())];
        let url = format!("http://{host}/hook");
        let posted = poster.post(&url, &headers, "{\"a\":1}".into(), Some(&[host]), 100).await;
        assert_eq!(posted, Ok(Posted { status: 200, text: "{}".into() }));
        let sent = served.join().unwrap().to_lowercase();
        assert!(sent.starts_with("post /hook http/1.1\r\n") && sent.ends_with("{\"a\":1}"), "{sent}");
        assert!(sent.contains("x-who: me") && sent.contains("content-type: application/json"), "{sent}");
    }

    /// Nothing is connected to: no server is there, and the reason is told.
    #[tokio::test]
    async fn what_is_not_public_or_not_opened_is_not_posted_to() {
        let rebinds: Resolver = Arc::new(|_| async { Ok(vec!["169.254.169.254".parse().unwrap()]) }.boxed());
        for (url, hosts, why) in [
            ("http://127.0.0.1:9/x", None, "not of the public network"),
            ("http://2130706433/x", None, "not of the public network"),
            ("http://[::1]/x", None, "not of the public network"),
            ("http://100.64.0.1/x", None, "not of the public network"),
            ("http://169.254.169.254/latest", None, "hand out credentials"),
            ("https://hooks.example/x", None, "hand out credentials"),
            ("https://hooks.example/x", Some(vec![]), "`allow Web(hooks.example)` would"),
            ("https://hooks.example/x", Some(vec!["other.example".to_owned()]), "no rule opens"),
            ("https://user:word@hooks.example/x", None, "a name or a password"),
            ("ftp://hooks.example/x", None, "only http and https"),
            ("hooks", None, "no web address"),
        ] {
            let poster = Poster::new(&[], Some(rebinds.clone()));
            let posted = poster.post(url, &[], "{}".into(), hosts.as_deref(), 100).await.unwrap_err();
            assert!(posted.contains(why), "{url}: {posted}");
        }
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_long_ones_are_refused() {
        for (answer, wanted) in [
            (
                "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n",
                Ok(Posted { status: 302, text: String::new() }),
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n123456789",
                Err("it answered with more than 8 bytes".to_owned()),
            ),
        ] {
            let (port, served) = server(answer);
            let poster = Poster::new(&[rule(&format!("127.0.0.1:{port}"))], None);
            let posted = poster.post(&format!("http://127.0.0.1:{port}/"), &[], "{}".into(), None, 8).await;
            assert_eq!(posted, wanted);
            served.join().unwrap();
        }
    }
}
