//! The least that a program does which keeps something durable and asks a model: opens a SQLite file in WAL mode,
//! commits one row with a sync, sends one request over reqwest and reads the answer.
//!
//! Like Sterna's, its client has no proxy and no certificates where the address is `http`, this machine's.

#[allow(dead_code)] // The growing request is for the bench itself.
#[path = "../floor.rs"]
mod floor;

use anyhow::{Result, bail};
use bytes::Bytes;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, url, bytes] = args.as_slice() else { bail!("file, URL, bytes") };
    let kept = floor::Kept::open(file.as_ref())?;
    let body = Bytes::from(vec![b'x'; bytes.parse()?]);
    kept.keep(&body[..body.len().min(2_000)])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = if url.starts_with("https:") { client_for_elsewhere() } else { floor::client() };
    runtime.block_on(async { floor::ask(&client?, url, body).await })?;
    Ok(())
}

/// The client for an address elsewhere: with the system's certificates.
fn client_for_elsewhere() -> Result<reqwest::Client> {
    // An error means that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(reqwest::Client::builder().tcp_nodelay(true).build()?)
}
