//! `sterna completions`: what a shell needs to complete our words.

use std::process::ExitCode;

use clap::{Args, CommandFactory};

use crate::args::Cli;
use crate::failure::Failure;
use crate::print::Print;

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// bash, elvish, fish, powershell or zsh
    shell: clap_complete::Shell,
}

pub fn completions(args: CompletionsArgs) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "sterna", &mut script);
    Print::from_env().out(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
