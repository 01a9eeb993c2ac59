//! May an address be asked for? The host is resolved once, every address is judged, and only those that passed are
//! connected to: who answers for a name cannot change its mind in between.

use std::net::{IpAddr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use sterna_shell::sandbox::DomainRule;
use sterna_shell::sandbox::net::{Kind, Resolver, kind};
use url::{Host, Url};

/// Why an address is not asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("`{0}` is not a web address: write https://HOST/PATH")]
    NoUrl(String),
    #[error("only http and https can be fetched, not `{0}`")]
    Scheme(String),
    #[error("the address holds a name or a password; leave them out")]
    Login,
    #[error("{host} leads to {address}, {why}; nothing was sent")]
    Address { host: String, address: IpAddr, why: &'static str },
    #[error("{host} cannot be resolved: {why}")]
    Unknown { host: String, why: String },
}

/// Reads an address as a browser would, so that `http://2130706433/` is 127.0.0.1. A plain one of a name becomes
/// `https`, unless it has a port of its own.
pub(crate) fn read(text: &str) -> Result<Url, Refusal> {
    let mut url = Url::parse(text.trim()).map_err(|_| Refusal::NoUrl(shown(text)))?;
    match url.scheme() {
        "http" | "https" => {}
        other => return Err(Refusal::Scheme(other.to_owned())),
    }
    if url.host().is_none() {
        return Err(Refusal::NoUrl(shown(text)));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refusal::Login);
    }
    url.set_fragment(None);
    if url.scheme() == "http" && url.port().is_none() && matches!(url.host(), Some(Host::Domain(_))) {
        // It was one of the two schemes a moment ago: this cannot fail.
        let _ = url.set_scheme("https");
    }
    Ok(url)
}

/// What policy is told: the host, with the port when it is not the usual one.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    match url.port() {
        Some(port) if port != 80 && port != 443 => format!("{host}:{port}"),
        Some(_) | None => host.to_owned(),
    }
}

/// Judges without resolving: an address that is written as one.
pub(crate) fn judge_literal(url: &Url, private: &[DomainRule]) -> Result<(), Refusal> {
    match url.host() {
        Some(Host::Ipv4(address)) => judge(url, &[address.into()], private).map(drop),
        Some(Host::Ipv6(address)) => judge(url, &[address.into()], private).map(drop),
        Some(Host::Domain(_)) | None => Ok(()),
    }
}

/// The addresses that may be connected to: at least one.
pub(crate) async fn addresses(
    url: &Url,
    private: &[DomainRule],
    resolver: &Resolver,
) -> Result<Vec<IpAddr>, Refusal> {
    let found = match url.host() {
        Some(Host::Ipv4(address)) => vec![address.into()],
        Some(Host::Ipv6(address)) => vec![address.into()],
        Some(Host::Domain(name)) => resolver(name.to_owned())
            .await
            .map_err(|error| Refusal::Unknown { host: name.to_owned(), why: error.to_string() })?,
        None => Vec::new(),
    };
    judge(url, &found, private)
}

fn judge(url: &Url, found: &[IpAddr], private: &[DomainRule]) -> Result<Vec<IpAddr>, Refusal> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    let near = private.iter().any(|rule| rule.allows_private() && rule.allows(host, port));
    let why = |address: &IpAddr| match kind(*address) {
        Kind::Public => None,
        Kind::Near if near => None,
        Kind::Near => Some("which is not of the public network"),
        Kind::Metadata => Some("where clouds hand out credentials"),
    };
    let good: Vec<IpAddr> = found.iter().copied().filter(|address| why(address).is_none()).collect();
    match (good.is_empty(), found.iter().find_map(|address| Some((*address, why(address)?)))) {
        (false, _) => Ok(good),
        (true, Some((address, why))) => Err(Refusal::Address { host: host.to_owned(), address, why }),
        (true, None) => Err(Refusal::Unknown { host: host.to_owned(), why: "it has no address".into() }),
    }
}

/// Gives a client the addresses that were judged, whatever name it asks for.
pub(crate) struct Pinned(pub Vec<IpAddr>);

impl Resolve for Pinned {
    fn resolve(&self, _: Name) -> Resolving {
        // Port 0: that of the address that is asked for.
        let addresses: Vec<SocketAddr> = self.0.iter().map(|address| SocketAddr::new(*address, 0)).collect();
        let addresses: Addrs = Box::new(addresses.into_iter());
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

fn shown(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_read_as_a_browser_would() {
        for (text, want) in [
            ("http://Example.com/a#b", "https://example.com/a"),
            ("https://example.com:443", "https://example.com/"),
            ("http://example.com:8080/x", "http://example.com:8080/x"),
            // A certificate for an address is rare.
            ("http://1.1.1.1/", "http://1.1.1.1/"),
            ("http://2130706433/", "http://127.0.0.1/"),
            ("http://0x7f.1/", "http://127.0.0.1/"),
            ("http://017700000001/", "http://127.0.0.1/"),
            ("http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/"),
            ("HTTP://①②⑦.0.0.1/", "http://127.0.0.1/"),
        ] {
            assert_eq!(read(text).unwrap().as_str(), want, "{text}");
        }
        for (text, told) in [
            ("example.com", "is not a web address"),
            ("", "is not a web address"),
            ("https:///", "is not a web address"),
            ("file:///etc/passwd", "not `file`"),
            ("ftp://a.b/", "not `ftp`"),
            ("https://u:p@a.b/", "a name or a password"),
            ("https://u@a.b/", "a name or a password"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
        for (text, want) in [
            ("https://a.b./x", "a.b"),
            ("https://a.b:80/", "a.b"),
            ("http://a.b:8080", "a.b:8080"),
            ("http://[::1]:81/", "[::1]:81"),
        ] {
            assert_eq!(authority(&read(text).unwrap()), want);
        }
    }

    #[test]
    fn near_addresses_are_refused_in_every_form() {
        let refused = [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0177.0.0.1/",
            "http://[::1]/",
            "http://[::]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://0/",
            "http://10.0.0.1/",
            "http://172.16.0.1/",
            "http://192.168.1.1/",
            "http://100.64.0.1/",
            "http://169.254.1.1/",
            "http://169.254.169.254/",
            "http://2852039166/",
            "http://[fd00:ec2::254]/",
            "http://[fe80::1]/",
            "http://[fc00::1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "http://100.100.100.200/",
        ];
        for text in refused {
            let error = judge_literal(&read(text).unwrap(), &[]).unwrap_err();
            assert!(matches!(error, Refusal::Address { .. }), "{text}: {error}");
        }
        for text in ["http://1.1.1.1/", "https://[2606:4700::1111]/", "https://localhost/"] {
            assert_eq!(judge_literal(&read(text).unwrap(), &[]), Ok(()), "{text}");
        }
        let granted: Vec<DomainRule> =
            ["127.0.0.1:80", "169.254.169.254:*", "10.0.0.1"].map(|rule| rule.parse().unwrap()).into();
        assert_eq!(judge_literal(&read("http://127.0.0.1/").unwrap(), &granted), Ok(()));
        for text in ["http://127.0.0.1:81/", "http://169.254.169.254/", "http://10.0.0.1/"] {
            assert!(judge_literal(&read(text).unwrap(), &granted).is_err(), "{text}");
        }
    }

    fn resolver(addresses: &'static [&'static str]) -> Resolver {
        Arc::new(move |_| {
            let found = addresses.iter().map(|text| text.parse().unwrap()).collect();
            std::future::ready(Ok(found)).boxed()
        })
    }

    #[test]
    fn of_a_names_addresses_only_the_public_ones_are_used() {
        let url = read("https://a.example/").unwrap();
        let ask = |found: &'static [&'static str]| {
            futures::executor::block_on(addresses(&url, &[], &resolver(found))).map_err(|e| e.to_string())
        };
        assert_eq!(ask(&["10.0.0.1", "1.1.1.1"]).unwrap(), ["1.1.1.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(
            ask(&["127.0.0.1"]).unwrap_err(),
            "a.example leads to 127.0.0.1, which is not of the public network; nothing was sent"
        );
        assert_eq!(
            ask(&["169.254.169.254"]).unwrap_err(),
            "a.example leads to 169.254.169.254, where clouds hand out credentials; nothing was sent"
        );
        assert_eq!(ask(&[]).unwrap_err(), "a.example cannot be resolved: it has no address");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(https?://)?\\PC{0,40}") {
            if let Ok(url) = read(&text) {
                let _ = (authority(&url), judge_literal(&url, &[]));
            }
        }
    }
}
