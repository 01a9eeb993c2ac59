//! The MCP servers of tests: scripts that speak the protocol by hand, over their streams or over HTTP.

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
        Self::run(Command::new("python3").arg(server_script()).arg("--http").args(switches))
    }

    /// A server for a client scenario of the official conformance suite; `conformance.py` lists them. What the client did
    /// is told at `/observed`.
    pub fn scenario(name: &str) -> std::io::Result<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/mcp/conformance.py");
        Self::run(Command::new("python3").arg(script).arg(name))
    }

    fn run(command: &mut Command) -> std::io::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let port = line.trim().parse().map_err(|_| std::io::Error::other("the server told no port"))?;
        Ok(Self { child, port })
    }

    /// Where it speaks MCP.
    pub fn url(&self) -> String {
        self.at("/mcp")
    }

    /// Another place of it.
    pub fn at(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        // It may be gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
