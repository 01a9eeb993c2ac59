//! This machine's own services that a domain list has: a confined command finds them on the same port of its own loopback.

use std::fs;

use serde::{Deserialize, Serialize};

use super::rule::DomainRule;

/// A port of this machine, by the name that the list has it under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Service {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Service {
    /// As a proxy is asked for it.
    pub(crate) fn told(&self) -> String {
        let Self { host, port } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

/// What a command with a loopback of its own needs to be led to, and whether some entries need the proxy for it: those that
/// do not name one port. A port on which nothing listens now is left to the command: it may be about to listen there itself.
pub(crate) fn services(rules: &[DomainRule]) -> (Vec<Service>, bool) {
    let near: Vec<&DomainRule> = rules.iter().filter(|rule| rule.is_loopback()).collect();
    let mut services: Vec<Service> = Vec::new();
    let mut by_proxy = false;
    let tables = if near.is_empty() { None } else { Some(tables()) };
    for rule in near {
        let Some((host, port)) = rule.place() else {
            by_proxy = true;
            continue;
        };
        let there = tables.as_ref().is_none_or(|tables| tables.iter().any(|table| listens(table, port)));
        if !there || services.iter().any(|known| known.port == port) {
            continue;
        }
        if services.len() < SERVICES_MAX {
            services.push(Service { host: host.to_owned(), port });
        } else {
            by_proxy = true;
        }
    }
    (services, by_proxy)
}

/// The kernel's tables of connections. A look at them disturbs no service, as a connection would.
fn tables() -> Vec<String> {
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .collect()
}

/// Whether a row of a table listens on the port: `sl local_address rem_address st …`, all in hexadecimal digits.
fn listens(table: &str, port: u16) -> bool {
    let here = format!(":{port:04X}");
    table.lines().any(|row| {
        let mut fields = row.split_ascii_whitespace().skip(1);
        let local = fields.next();
        local.is_some_and(|local| local.ends_with(&here)) && fields.nth(1) == Some(LISTEN)
    })
}

/// `TCP_LISTEN` of the kernel's `tcp_states.h`.
const LISTEN: &str = "0A";
/// Each has a forwarder.
const SERVICES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_port_that_something_listens_on_is_led_to_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap().port();
        let closed = {
            let gone = TcpListener::bind("127.0.0.1:0").unwrap();
            gone.local_addr().unwrap().port()
        };
        let found = |rules: &[String]| {
            let rules: Vec<DomainRule> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
            let (services, by_proxy) = services(&rules);
            (services.iter().map(Service::told).collect::<Vec<_>>(), by_proxy)
        };
        let here = |host: &str, port: u16| format!("{host}:{port}");
        assert_eq!(
            found(&[here("localhost", open), here("127.0.0.1", open)]),
            (vec![here("localhost", open)], false)
        );
        assert_eq!(found(&[here("[::1]", open)]), (vec![here("[::1]", open)], false));
        assert_eq!(found(&[here("localhost", closed), here("docs.example", open)]), (vec![], false));
        for wide in ["localhost", "localhost:*", "*.localhost"] {
            assert_eq!(found(&[wide.to_owned()]), (vec![], true), "{wide}");
        }
    }

    #[test]
    fn a_row_is_read_by_its_state() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n\
                     \x20  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n\
                     \x20  1: 0100007F:0050 0100007F:1F91 01 00000000:00000000 00:00000000 00000000     0\n";
        assert!(listens(table, 8080));
        assert!(!listens(table, 80) && !listens(table, 8081));
        assert!(!listens("", 80) && !listens("nonsense\n:0050", 80));
    }
}
