//! The command line: what can be said, and nothing about what it does.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use sterna_model::Effort;

use crate::commands;

/// A durable agent for your folder: it survives crashes, asks before it does harm, and carries on where it was.
#[derive(Debug, Parser)]
#[command(name = "sterna", version, arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// What these words say. The command that people wait for the most is not made to wait for the thirty others: those are only made
    /// ready where the words are not plainly its own, to say what is wrong with them.
    pub fn of(words: &[OsString]) -> Result<Self, clap::Error> {
        short(words).map_or_else(|| Self::try_parse_from(words), Ok)
    }
}

fn short(words: &[OsString]) -> Option<Cli> {
    let words = words.get(1..)?;
    let command = match words.first()?.to_str()? {
        "run" => Command::Run(alone(words)?),
        "chat" => Command::Chat(alone(words)?),
        "resume" => Command::Resume(alone(words)?),
        _ => return None,
    };
    Some(Cli { command })
}

/// The arguments of a command by themselves.
fn alone<A: Args>(words: &[OsString]) -> Option<A> {
    let matches = A::augment_args(clap::Command::new("sterna")).try_get_matches_from(words).ok()?;
    A::from_arg_matches(&matches).ok()
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs one turn, then exits
    Run(RunArgs),
    /// Talks at the terminal
    Chat(ChatArgs),
    /// Drives an interrupted turn to its end
    Resume(ResumeArgs),
    /// Lists, shows, forks, moves, checks and removes sessions
    Sessions(commands::sessions::SessionsArgs),
    /// Allows what a parked turn asks for, and drives it on
    Approve(commands::resolve::ApproveArgs),
    /// Refuses what a parked turn asks for, and drives it on
    Deny(commands::resolve::DenyArgs),
    /// Answers what a parked turn asks, and drives it on
    Answer(commands::resolve::AnswerArgs),
    /// Sends a signal that a call of a session waits for, or will, and drives the turn on
    Signal(commands::resolve::SignalArgs),
    /// Lists the commands that run, ends them, and removes what ended ones have left
    Ps(commands::ps::PsArgs),
    /// Lists what is known of models, and where each fact comes from
    Models(commands::models::ModelsArgs),
    /// Says what the rules make of a call, checks and lists them
    Policy(commands::policy::PolicyArgs),
    /// Shows what model calls used and cost
    Usage(commands::usage::UsageArgs),
    /// Derives each request of a session again and compares, without a model call
    Replay(commands::replay::ReplayArgs),
    /// Lives a session again with another model, prompt or limit, and shows the difference
    WhatIf(commands::what_if::WhatIfArgs),
    /// Takes a session's conversation and files back to an earlier point
    Rewind(commands::rewind::RewindArgs),
    /// Shows when the files of a session's folder were kept
    Checkpoint(commands::checkpoint::CheckpointArgs),
    /// Shows what a request was made of, whose each part is, and what broke the prompt cache
    Context(commands::context::ContextArgs),
    /// Makes what the model sees of a session smaller; the log keeps everything
    Compact(commands::compact::CompactArgs),
    /// Lets a folder's own configuration, hooks, servers and skills count, as they are now
    Trust(commands::trust::TrustArgs),
    /// Notes that outlive sessions: lists, shows, adds, edits, forgets, finds, dumps and loads them
    Memory(commands::memory::MemoryArgs),
    /// Skills, prompt files and agents: lists, shows and checks them
    Skills(commands::skills::SkillsArgs),
    /// MCP servers: lists, shows, tests, adds and removes them, and logs in
    #[cfg(feature = "mcp")]
    Mcp(commands::mcp::McpArgs),
    /// What a session works towards over many turns: sets, shows, halts and resumes it
    Goal(commands::goal::GoalArgs),
    /// What starts by the clock: makes, lists, shows, pauses and removes schedules
    Schedule(commands::schedule::ScheduleArgs),
    /// What starts when something happens: makes, lists, shows, pauses and removes triggers
    Trigger(commands::trigger::TriggerArgs),
    /// Tells triggers that something happened
    Publish(commands::trigger::PublishArgs),
    /// Runs what is due while nobody is there, until it is told to stop
    Worker(commands::worker::WorkerArgs),
    /// Shows the configuration, or the schema of its file
    Config(commands::config::ConfigArgs),
    /// Looks at what is there and what works
    Doctor(commands::doctor::DoctorArgs),
    /// Prints what a shell needs to complete commands
    Completions(commands::completions::CompletionsArgs),
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// What to do; read from stdin when absent or `-`
    pub prompt: Option<String>,
    /// Idempotency key: the same key makes one turn, however often it is sent
    #[arg(long, value_name = "KEY", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub key: Option<String>,
    #[command(flatten)]
    pub pick: PickArgs,
    #[command(flatten)]
    pub turn: TurnArgs,
    /// A file that comes with the prompt: an image, a PDF document or a text (repeatable)
    #[arg(long, value_name = "FILE")]
    pub attach: Vec<PathBuf>,
    /// Another agent answers, once and without tools: a built-in kind, or one of your agent files
    #[arg(long, value_name = "AGENT")]
    pub guest: Option<String>,
    /// What to do after that, in a turn of its own (repeatable)
    #[arg(long, value_name = "PROMPT")]
    pub then: Vec<String>,
    /// One event a line on stdout, and nothing else there
    #[arg(long)]
    pub json: bool,
    /// Wait until the session's background jobs have ended
    #[arg(long)]
    pub wait_background: bool,
}

#[derive(Debug, Args)]
pub struct ChatArgs {
    #[command(flatten)]
    pub pick: PickArgs,
    #[command(flatten)]
    pub turn: TurnArgs,
}

#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The session; without it the one of this folder that was interrupted
    pub id: Option<String>,
    #[command(flatten)]
    pub turn: TurnArgs,
    /// All events of the turn from its start, one a line on stdout
    #[arg(long)]
    pub json: bool,
}

/// Which session.
#[derive(Debug, Args)]
pub struct PickArgs {
    /// Continue this session, or create it under this id
    #[arg(long, value_name = "ID")]
    pub session: Option<String>,
    /// Continue the newest session of this folder
    #[arg(long = "continue", conflicts_with_all = ["session", "fork", "ephemeral"])]
    pub newest: bool,
    /// A new session from that point of another
    #[arg(long, value_name = "ID[@SEQ]", conflicts_with = "ephemeral")]
    pub fork: Option<String>,
    /// Keep nothing
    #[arg(long)]
    pub ephemeral: bool,
}

impl PickArgs {
    /// A new session, whatever there is.
    pub fn is_new(&self) -> bool {
        let Self { session, newest, fork, ephemeral: _ } = self;
        session.is_none() && !newest && fork.is_none()
    }
}

/// What a turn is given. The same for run, chat and resume.
#[derive(Debug, Clone, Default, Args)]
pub struct TurnArgs {
    /// Model: provider/model, local, or scripted:FILE
    #[arg(short, long, value_name = "ROUTE")]
    pub model: Option<String>,
    /// Work in this folder
    #[arg(short = 'C', long = "cd", value_name = "DIR")]
    pub cd: Option<PathBuf>,
    /// A further writable folder
    #[arg(long, value_name = "DIR")]
    pub add_dir: Vec<PathBuf>,
    /// execute, accept-edits, ask, auto, never-ask, bypass, plan or pair
    #[arg(long)]
    pub mode: Option<String>,
    /// What an ask does where nobody is at a terminal
    #[arg(long, value_name = "WHAT")]
    pub on_ask: Option<OnAskArg>,
    /// Steps (model calls) that a turn may take
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u32>)]
    pub max_steps: Option<u32>,
    /// US dollars that a turn may cost
    #[arg(long, value_name = "USD", allow_negative_numbers = true, value_parser = number)]
    pub max_cost: Option<f64>,
    /// Seconds that a turn may take
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = number)]
    pub deadline: Option<f64>,
    /// A route that takes over when the ones before it fail for good; may be said again
    #[arg(long, value_name = "ROUTE")]
    pub fallback: Vec<String>,
    /// How much a model that can is asked to think: low, medium or high
    #[arg(long, value_name = "EFFORT")]
    pub effort: Option<Effort>,
    /// The answer has to be JSON that fits the JSON Schema in this file
    #[arg(long, value_name = "FILE")]
    pub output_schema: Option<PathBuf>,
    /// Allow what this rule matches, for example "Shell(cargo test *)"
    #[arg(long, value_name = "RULE")]
    pub allow: Vec<String>,
    /// Deny what this rule matches
    #[arg(long, value_name = "RULE")]
    pub deny: Vec<String>,
    /// How commands are confined: auto (the best there is), none, landlock, bubblewrap or required
    #[arg(long, value_name = "LEVEL")]
    pub sandbox: Option<String>,
    /// Refuse to run where commands cannot be confined
    #[arg(long)]
    pub require_sandbox: bool,
    /// Let the folder's own configuration, hooks, servers and skills count for this run
    #[arg(long)]
    pub trust: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnAskArg {
    /// The call is refused and the turn goes on
    Deny,
    /// The turn stops, exit code 4
    Fail,
    /// The turn waits for an answer from another process, exit code 8
    Park,
}

/// A number as people write it. Whether it can be a bound is said later, with its unit.
pub fn number(text: &str) -> Result<f64, &'static str> {
    text.parse().map_err(|_| "that is no number")
}

/// A count that is not nothing.
pub fn whole<N: std::str::FromStr + PartialOrd + From<u8>>(text: &str) -> Result<N, &'static str> {
    text.parse().ok().filter(|n| *n > N::from(0)).ok_or("write a whole number from 1 on")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The short way says what the long one says, or nothing.
    #[test]
    fn a_command_by_itself_is_read_as_among_the_others() {
        let lines: [&[&str]; 13] = [
            &["run", "fix it"],
            &[
                "run",
                "-m",
                "a/b",
                "--mode",
                "bypass",
                "--sandbox",
                "none",
                "--json",
                "--then",
                "x",
                "--then",
                "y",
                "go",
            ],
            &["run", "-C", "dir", "--", "-x"],
            &["run", "-"],
            &["run", "help"],
            &["chat"],
            &["chat", "-m", "a/b"],
            &["resume", "s-1", "--json"],
            &["run", "--help"],
            &["run", "fix", "the", "test"],
            &["run", "--no-such-flag"],
            &["run", "-V"],
            &["resume", "--last"],
        ];
        for line in lines {
            let words: Vec<OsString> = ["sterna"].iter().chain(line).map(OsString::from).collect();
            let long = Cli::try_parse_from(&words).ok().map(|cli| format!("{cli:?}"));
            assert_eq!(short(&words).map(|cli| format!("{cli:?}")), long, "{line:?}");
        }
        for other in
            [&[][..], &["sterna"], &["sterna", "sessions"], &["sterna", "--version"], &["sterna", "Run"]]
        {
            assert!(short(&other.iter().map(OsString::from).collect::<Vec<_>>()).is_none(), "{other:?}");
        }
    }
}
