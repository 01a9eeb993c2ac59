//! One entry of a domain list.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `example.com`, `*.example.com` (what is beneath it, not itself), `localhost:8080`, `192.0.2.7:*`.
///
/// Without a port it is for 80 and 443. An exact host *with* a port is also let through to private addresses: whoever
/// writes `10.0.0.7:8080` means it. `localhost`, what is beneath it and the loopback's addresses can mean nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DomainRule {
    /// Lower case, without the `*.` and without a dot at the end.
    host: String,
    beneath: bool,
    ports: Ports,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Ports {
    Web,
    One(u16),
    Any,
}

impl DomainRule {
    /// Whether it is about this machine's own services.
    pub fn is_loopback(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        self.host == "localhost"
            || self.host.ends_with(".localhost")
            || address.is_ok_and(|address| address.to_canonical().is_loopback())
    }

    /// The one port of one host, where it has both.
    pub(crate) fn place(&self) -> Option<(&str, u16)> {
        match self.ports {
            Ports::One(port) if !self.beneath => Some((&self.host, port)),
            Ports::One(_) | Ports::Web | Ports::Any => None,
        }
    }

    pub fn allows(&self, host: &str, port: u16) -> bool {
        let ports = match self.ports {
            Ports::Web => port == 80 || port == 443,
            Ports::One(one) => port == one,
            Ports::Any => true,
        };
        let host = clean(host);
        let named = if self.beneath {
            host.strip_suffix(&self.host)
                .and_then(|sub| sub.strip_suffix('.'))
                .is_some_and(|sub| !sub.is_empty())
        } else {
            host == self.host
        };
        ports && named
    }

    /// Whether it also means addresses that are not of the public network.
    pub fn allows_private(&self) -> bool {
        self.is_loopback() || (!self.beneath && self.ports != Ports::Web)
    }
}

/// A text that is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a domain: write example.com, *.example.com or host:port")]
pub struct ParseRuleError(String);

impl FromStr for DomainRule {
    type Err = ParseRuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseRuleError(text.to_owned());
        let (host, ports) = match split_port(text) {
            (host, None) => (host, Ports::Web),
            (host, Some("*")) => (host, Ports::Any),
            (host, Some(port)) => (host, Ports::One(port.parse().map_err(|_| error())?)),
        };
        let (host, beneath) = host.strip_prefix("*.").map_or((host, false), |host| (host, true));
        let host = clean(host);
        let is_name = !host.is_empty()
            && host.len() <= MAX_NAME
            && host.split('.').all(|label| {
                !label.is_empty()
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            });
        let is_address = host.parse::<IpAddr>().is_ok();
        // `*.com` would be half of the world.
        let wide = !host.contains('.') && host != "localhost";
        if !(is_name || is_address) || (beneath && (is_address || wide)) {
            return Err(error());
        }
        Ok(Self { host, beneath, ports })
    }
}

impl fmt::Display for DomainRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.beneath {
            f.write_str("*.")?;
        }
        match (self.host.contains(':'), self.ports) {
            (true, _) => write!(f, "[{}]", self.host)?,
            (false, _) => f.write_str(&self.host)?,
        }
        match self.ports {
            Ports::Web => Ok(()),
            Ports::One(port) => write!(f, ":{port}"),
            Ports::Any => f.write_str(":*"),
        }
    }
}

impl TryFrom<String> for DomainRule {
    type Error = ParseRuleError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<DomainRule> for String {
    fn from(rule: DomainRule) -> Self {
        rule.to_string()
    }
}

/// A host as names are compared: lower case, without brackets and without the root's dot.
pub(crate) fn clean(host: &str) -> String {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// `host:port` and `[address]:port`; an address of version 6 without brackets has no port.
pub(crate) fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if host.ends_with(']') || !host.contains(':') => (host, Some(port)),
        _ => (text, None),
    }
}

/// The longest name that there is.
const MAX_NAME: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_match_hosts_and_ports() {
        // rule, host, port, allowed
        let cases = [
            ("example.com", "example.com", 443, true),
            ("example.com", "EXAMPLE.com.", 80, true),
            ("example.com", "example.com", 22, false),
            ("example.com", "www.example.com", 443, false),
            ("example.com", "badexample.com", 443, false),
            ("*.example.com", "www.example.com", 443, true),
            ("*.example.com", "a.b.example.com", 443, true),
            ("*.example.com", "example.com", 443, false),
            ("*.example.com", ".example.com", 443, false),
            ("*.example.com", "badexample.com", 443, false),
            ("*.example.com", "example.com.evil.org", 443, false),
            ("example.com:8443", "example.com", 8443, true),
            ("example.com:8443", "example.com", 443, false),
            ("example.com:*", "example.com", 22, true),
            ("localhost:8080", "localhost", 8080, true),
            ("192.0.2.7:80", "192.0.2.7", 80, true),
            ("[2001:db8::1]:80", "[2001:db8::1]", 80, true),
            ("2001:DB8::1", "2001:db8::1", 443, true),
        ];
        for (rule, host, port, want) in cases {
            assert_eq!(rule.parse::<DomainRule>().unwrap().allows(host, port), want, "{rule} {host}:{port}");
        }
    }

    #[test]
    fn only_an_exact_host_with_a_port_means_private_addresses() {
        // rule, private addresses, this machine
        let cases = [
            ("10.0.0.1:*", true, false),
            ("10.0.0.1", false, false),
            ("corp.example:80", true, false),
            ("*.corp.example:80", false, false),
            ("localhost.example:80", true, false),
            ("notlocalhost", false, false),
            ("localhost", true, true),
            ("localhost:80", true, true),
            ("app.localhost", true, true),
            ("*.localhost:3000", true, true),
            ("127.8.8.8", true, true),
            ("[::1]:8080", true, true),
            ("::ffff:127.0.0.1", true, true),
        ];
        for (rule, private, loopback) in cases {
            let parsed = rule.parse::<DomainRule>().unwrap();
            assert_eq!((parsed.allows_private(), parsed.is_loopback()), (private, loopback), "{rule}");
        }
    }

    #[test]
    fn a_place_is_one_host_with_one_port() {
        let place = |rule: &str| {
            rule.parse::<DomainRule>().unwrap().place().map(|(host, port)| format!("{host} {port}"))
        };
        assert_eq!(place("localhost:8080").as_deref(), Some("localhost 8080"));
        assert_eq!(place("[::1]:8080").as_deref(), Some("::1 8080"));
        for none in ["localhost", "localhost:*", "*.localhost:80"] {
            assert_eq!(place(none), None, "{none}");
        }
    }

    #[test]
    fn a_rule_is_written_as_it_is_read_and_nonsense_is_none() {
        for rule in ["example.com", "*.example.com", "localhost:8080", "a.example:*", "[2001:db8::1]:443"] {
            assert_eq!(rule.parse::<DomainRule>().unwrap().to_string(), rule);
        }
        for bad in [
            "",
            "*",
            "*.",
            "*.com",
            "a..b",
            "http://a.b",
            "a.b/c",
            "a b",
            "a.b:",
            "a.b:x",
            "a.b:99999",
            "*.*.a.b",
            "*.10.0.0.1",
            "a.*.b",
        ] {
            assert!(bad.parse::<DomainRule>().is_err(), "{bad:?}");
        }
    }
}
