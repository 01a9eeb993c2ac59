//! The floors: what anybody must do who keeps a step and sends a request, and nothing else.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use rusqlite::{Connection, params};

/// The client as Sterna builds it for a loopback address: no proxy, no certificates.
pub fn client() -> Result<reqwest::Client> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let builder = reqwest::Client::builder().no_proxy().tcp_nodelay(true).tls_backend_preconfigured(tls);
    Ok(builder.build()?)
}

/// A table in a file of its own, in WAL mode with a sync at each commit.
pub struct Kept {
    connection: Connection,
}

impl Kept {
    pub fn open(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection
            .execute_batch("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, data BLOB NOT NULL)")?;
        Ok(Self { connection })
    }

    /// One durable commit of one row.
    pub fn keep(&self, row: &[u8]) -> Result<()> {
        self.connection.prepare_cached("INSERT INTO rows (data) VALUES (?1)")?.execute(params![row])?;
        Ok(())
    }
}

/// A request that grows by one piece a step; the old pieces are kept as bytes.
pub struct Growing {
    pieces: Vec<Bytes>,
}

impl Growing {
    pub fn new(first: usize) -> Self {
        Self { pieces: vec![Bytes::from(vec![b'x'; first])] }
    }

    pub fn push(&mut self, piece: &'static [u8]) {
        self.pieces.push(Bytes::from_static(piece));
    }

    pub fn grow(&mut self, by: usize) {
        self.pieces.push(Bytes::from(vec![b'y'; by]));
    }

    pub fn body(&self) -> Bytes {
        self.pieces.concat().into()
    }
}

/// Sends a body and reads the whole answer.
pub async fn ask(client: &reqwest::Client, url: &str, body: Bytes) -> Result<usize> {
    let request = client.post(url).header("content-type", "application/json").body(body);
    let mut response = request.send().await?.error_for_status()?;
    let mut read = 0;
    while let Some(bytes) = response.chunk().await? {
        read += bytes.len();
    }
    Ok(read)
}
