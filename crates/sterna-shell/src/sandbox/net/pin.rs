//! Resolves a host once, judges its addresses, and connects to exactly these.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::address::{Kind, kind};

/// Makes addresses of a name.
pub type Resolver = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// The system's own resolver.
pub fn system_resolver() -> Resolver {
    Arc::new(|host| {
        async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        }
        .boxed()
    })
}

/// Addresses that were judged, for the life of a command: who answers for a name cannot change its mind in between.
pub(crate) struct Pins {
    resolver: Resolver,
    known: Mutex<HashMap<String, Vec<IpAddr>>>,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum NoWay {
    /// All its addresses are of a kind that is not let through.
    Refused(IpAddr, Kind),
    Unknown(io::Error),
    Unreachable(io::Error),
}

impl Pins {
    pub(crate) fn new(resolver: Resolver) -> Self {
        Self { resolver, known: Mutex::default() }
    }

    /// Connects to a host by its name or address. `near`: also where it is of this network.
    pub(crate) async fn connect(&self, host: &str, port: u16, near: bool) -> Result<TcpStream, NoWay> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(host).cloned();
        if let Some(known) = known {
            // An address that has gone away may have a successor.
            if let Ok(stream) = dial(&known, port).await {
                return Ok(stream);
            }
        }
        let addresses = self.judge(host, near).await?;
        let stream = dial(&addresses, port).await.map_err(NoWay::Unreachable)?;
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(host.to_owned(), addresses);
        Ok(stream)
    }

    async fn judge(&self, host: &str, near: bool) -> Result<Vec<IpAddr>, NoWay> {
        let found = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => (self.resolver)(host.to_owned()).await.map_err(NoWay::Unknown)?,
        };
        let (good, bad): (Vec<IpAddr>, Vec<IpAddr>) =
            found.into_iter().partition(|address| match kind(*address) {
                Kind::Public => true,
                Kind::Near => near,
                Kind::Metadata => false,
            });
        match (good.is_empty(), bad.first()) {
            (false, _) => Ok(good),
            (true, Some(address)) => Err(NoWay::Refused(*address, kind(*address))),
            (true, None) => Err(NoWay::Unknown(io::ErrorKind::NotFound.into())),
        }
    }
}

async fn dial(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses.iter().take(ADDRESSES_MAX) {
        match timeout(DIAL_WITHIN, TcpStream::connect(SocketAddr::new(*address, port))).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

const DIAL_WITHIN: Duration = Duration::from_secs(15);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::net::TcpListener;

    use super::*;

    fn scripted(answers: &'static [&'static [&'static str]]) -> (Resolver, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let resolver: Resolver = Arc::new(move |_| {
            let n = count.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
            std::future::ready(Ok(answers[n].iter().map(|a| a.parse().unwrap()).collect())).boxed()
        });
        (resolver, asked)
    }

    #[tokio::test]
    async fn a_name_that_leads_nearer_than_it_may_is_refused() {
        let cases: [(&'static [&'static [&'static str]], bool, Kind); 4] = [
            (&[&["127.0.0.1"]], false, Kind::Near),
            (&[&["10.0.0.1", "::1"]], false, Kind::Near),
            (&[&["169.254.169.254"]], true, Kind::Metadata),
            (&[&["169.254.169.254"]], false, Kind::Metadata),
        ];
        for (answers, near, want) in cases {
            let pins = Pins::new(scripted(answers).0);
            match pins.connect("name.example", 80, near).await {
                Err(NoWay::Refused(_, kind)) => assert_eq!(kind, want, "{answers:?}"),
                other => panic!("{answers:?}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_judged_name_is_not_asked_for_again_and_cannot_move() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // The second answer would be somewhere else.
        let (resolver, asked) = scripted(&[&["127.0.0.1"], &["169.254.169.254"]]);
        let pins = Pins::new(resolver);
        for _ in 0..3 {
            pins.connect("name.example", port, true).await.unwrap();
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        drop(listener);
        // Nobody is there any more: asked again, and judged again.
        assert!(matches!(
            pins.connect("name.example", port, true).await,
            Err(NoWay::Refused(_, Kind::Metadata))
        ));
    }
}
