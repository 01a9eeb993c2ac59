//! `script-server FILE`: plays the exchanges of a JSON file (its form is told in `script_file.rs`) on loopback, prints
//! the port, and ends when its standard input does.

use std::io::{Read, Write};
use std::process::ExitCode;

use sterna_testkit::{ScriptServer, read_script};

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args().nth(1).ok_or("usage: script-server FILE.json")?;
    let text = std::fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
    let server = ScriptServer::start(read_script(&text)?)?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", server.port())?;
    out.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
