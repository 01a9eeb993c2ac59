//! The MCP server of tests: a script that speaks the protocol by hand, over its streams or over HTTP.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Path of the server's script, to be run by `python3`.
pub fn server_script() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/mcp/server.py").to_owned()
}

/// The server on a port of 127.0.0.1. It ends when this is dropped.
pub struct HttpServer {
    child: Child,
    port: u16,
}

impl HttpServer {
    /// Starts it with these switches; see `server.py --help`.
    pub fn start(switches: &[&str]) -> std::io::Result<Self> {
        let mut child = Command::new("python3")
            .arg(server_script())
            .arg("--http")
            .args(switches)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let port = line.trim().parse().map_err(|_| std::io::Error::other("the server told no port"))?;
        Ok(Self { child, port })
    }

    /// Where it speaks MCP.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        // It may be gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
