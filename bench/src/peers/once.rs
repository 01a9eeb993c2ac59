//! One run of one peer: a throw-away home, a script server of its own, and what was seen of it.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;

use crate::peers::Asked;
use crate::peers::find::{Have, bare, tail};
use crate::peers::serve::{Script, ScriptServer, Seen, entry};
use crate::peers::table::{PROMPT, Turn};
use crate::peers::tree::{Tree, watched};
use crate::report::quantile;

/// What one turn took.
#[derive(Debug, Clone)]
pub struct Run {
    /// Process start to the first byte of the first request, in ms.
    pub start: f64,
    /// End of each reply to the first byte of the next request, in ms.
    pub overheads: Vec<f64>,
    /// Seconds.
    pub cpu: f64,
    pub peak_mb: f64,
    /// Seconds.
    pub wall: f64,
    pub first_kb: f64,
    pub last_kb: f64,
    /// Requests to the model beside those of the turn.
    pub asides: usize,
    /// Hosts outside that it asked for.
    pub outside: Vec<String>,
}

impl Run {
    pub fn overhead(&self) -> f64 {
        quantile(&self.overheads, 0.5)
    }

    pub fn overhead_first(&self) -> f64 {
        quantile(&self.overheads[..self.overheads.len().min(TEN)], 0.5)
    }

    pub fn overhead_last(&self) -> f64 {
        quantile(&self.overheads[self.overheads.len().saturating_sub(TEN)..], 0.5)
    }
}

/// One turn, or why there is none, with what the peer said last.
pub fn once(asked: &Asked, turn: &Turn, have: &Have, dsn: &str) -> Result<Result<Run, String>> {
    let folder = tempfile::Builder::new().prefix("sterna-peers-").tempdir_in(&asked.dir)?;
    let root = std::fs::canonicalize(folder.path())?;
    if asked.keep {
        eprintln!("  in {}", folder.keep().display());
    }
    let place = Place::new(&root)?;
    let fill = |text: &str, port: u16| place.fill(text, port, asked.steps, dsn);
    let script = Script {
        tool: turn.tool.name.into(),
        arguments: fill(turn.tool.arguments, 0),
        result: turn.tool.result.into(),
        steps: asked.steps,
    };
    let server = ScriptServer::start(script)?;
    let fill = |text: &str| fill(text, server.port);
    for (path, text) in turn.files {
        let path = place.home.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(&place.home))?;
        std::fs::write(path, fill(text))?;
    }
    let lines: String = (0..asked.steps + 10).map(|n| entry(n) + "\n").collect();
    std::fs::write(place.work.join("lines.txt"), lines)?;
    let (out, err) = (root.join("stdout"), root.join("stderr"));
    let mut command = bare(&have.program, &place.home);
    command.current_dir(&place.work).env("TMPDIR", &place.tmp);
    // The way out leads to the script server, which refuses it.
    let (proxy, near) = (format!("http://127.0.0.1:{}", server.port), "127.0.0.1,localhost");
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        command.env(name, &proxy);
    }
    command.env("NO_PROXY", near).env("no_proxy", near);
    command.envs(turn.env.iter().map(|(name, value)| (name, fill(value))));
    if let Some(script) = turn.script {
        let path = root.join("script");
        std::fs::write(&path, script)?;
        command.arg(path);
    }
    command.args(turn.args.iter().map(|arg| fill(arg)));
    command.stdout(std::fs::File::create(&out)?).stderr(std::fs::File::create(&err)?);
    let tree = watched(&mut command, asked.patience)?;
    let seen = server.seen();
    if asked.keep {
        std::fs::write(root.join("first-request.json"), &seen.first)?;
    }
    Ok(judged(&tree, seen, turn, asked).map_err(|why| {
        let (err, out) = (std::fs::read(&err).unwrap_or_default(), std::fs::read(&out).unwrap_or_default());
        let said = [tail(&err), tail(&out)].into_iter().find(|said| !said.is_empty());
        said.map_or_else(|| why.clone(), |said| format!("{why}\n{said}"))
    }))
}

/// What was measured is only told when the whole turn was done as it was to be.
fn judged(tree: &Tree, seen: Seen, turn: &Turn, asked: &Asked) -> Result<Run, String> {
    if let Some(problem) = seen.problem {
        return Err(problem);
    }
    let (Some(first), Some(last)) = (seen.steps.first(), seen.steps.last()) else {
        let why = match (seen.asides, &seen.offered[..]) {
            (0, _) => "no request to the model came".to_owned(),
            (_, []) => "no request offered a tool".to_owned(),
            (_, tools) => {
                format!("no request offered `{}`; its tools are {}", turn.tool.name, tools.join(", "))
            }
        };
        return Err(why + &ending(tree));
    };
    if seen.steps.len() != asked.steps + 1 {
        let (came, wanted) = (seen.steps.len(), asked.steps + 1);
        return Err(format!("{came} requests came instead of {wanted}{}", ending(tree)));
    }
    if !tree.status.is_some_and(|status| status.success()) {
        return Err(format!("the turn was done{}", ending(tree)));
    }
    let ms = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64() * 1_000.0;
    let kb = |bytes: usize| bytes as f64 / 1_000.0;
    let overheads = seen.steps.windows(2).map(|pair| ms(pair[0].replied, pair[1].first_byte)).collect();
    Ok(Run {
        start: ms(tree.started, first.first_byte),
        overheads,
        cpu: tree.cpu,
        peak_mb: tree.peak_mb,
        wall: tree.wall,
        first_kb: kb(first.body_bytes),
        last_kb: kb(last.body_bytes),
        asides: seen.asides,
        outside: seen.outside,
    })
}

fn ending(tree: &Tree) -> String {
    match tree.status {
        None => format!("; it was ended after {:.0} s", tree.wall),
        Some(status) => format!("; it ended with {status}"),
    }
}

/// The folders of a run.
struct Place {
    home: PathBuf,
    work: PathBuf,
    tmp: PathBuf,
}

impl Place {
    fn new(root: &Path) -> Result<Self> {
        let place = Self { home: root.join("home"), work: root.join("work"), tmp: root.join("tmp") };
        for folder in [&place.home, &place.work, &place.tmp] {
            std::fs::create_dir(folder)?;
        }
        Ok(place)
    }

    fn fill(&self, text: &str, port: u16, steps: usize, dsn: &str) -> String {
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let origin = format!("http://127.0.0.1:{port}");
        let values = [
            ("{home}", path(&self.home)),
            ("{work}", path(&self.work)),
            ("{tmp}", path(&self.tmp)),
            ("{base_url}", format!("{origin}/v1")),
            ("{steps}", steps.to_string()),
            // Room for the last answer.
            ("{limit}", (steps + 10).to_string()),
            ("{prompt}", PROMPT.to_owned()),
            ("{dsn}", dsn.to_owned()),
        ];
        values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }
}

const TEN: usize = 10;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::peers::table::{Tool, Work};

    /// A peer of a few lines that speaks chat completions, whose turn goes on for as long as it is told to call. Cargo
    /// gives tests a variable that no peer may see.
    const PEER: &str = r#"
port=${1#*127.0.0.1:} messages= n=0
exec 3<>/dev/tcp/127.0.0.1/${port%/v1}
while :; do
    body="{\"tools\":[{\"name\":\"noop\"}],\"messages\":[$messages]}"
    printf 'POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%s' ${#body} "$body" >&3
    reply=
    while read -r line <&3; do reply+=$line; [[ $line == $'0\r' ]] && break; done
    read -r line <&3
    [[ $reply == *tool_calls* ]] || break
    messages+="${messages:+,}\"$(printf "$2" $n)\""
    n=$((n + 1))
done
echo "${CARGO_MANIFEST_DIR-nothing of the environment}" >&2
exit $ENDS_WITH
"#;

    fn turn(args: &'static [&'static str], env: &'static [(&'static str, &'static str)]) -> Turn {
        let tool = Tool { name: "noop", arguments: r#"{"n":{n}}"#, result: "{entry}" };
        Turn { label: "", work: Work::Read, files: &[], env, args, script: Some(PEER), needs: None, tool }
    }

    fn ran(turn: &Turn) -> Result<Run, String> {
        let have = Have { program: "/bin/bash".into(), version: String::new() };
        let asked = Asked { steps: 12, patience: Duration::from_secs(100), ..Asked::default() };
        once(&asked, turn, &have, "").unwrap()
    }

    #[test]
    fn a_turn_is_measured_from_the_first_request_to_the_last() {
        let run = ran(&turn(&["{base_url}", "entry-%06d"], &[("ENDS_WITH", "0")])).unwrap();
        assert_eq!(run.overheads.len(), 12);
        assert!(run.start > 0.0 && run.peak_mb > 1.0 && run.wall > 0.0, "{run:?}");
        assert!(run.last_kb > run.first_kb, "{run:?}");
        assert_eq!((run.asides, &run.outside[..]), (0, &[][..]));
    }

    #[test]
    fn a_turn_that_is_not_done_as_it_was_to_be_is_not_told() {
        let why = ran(&turn(&["{base_url}", "nothing-%d"], &[("ENDS_WITH", "0")])).unwrap_err();
        assert!(why.starts_with("the result of call 0 is not in the next request"), "{why}");
        let why = ran(&turn(&["{base_url}", "entry-%06d"], &[("ENDS_WITH", "3")])).unwrap_err();
        assert!(why.contains("exit status: 3\nnothing of the environment"), "{why}");
    }

    #[test]
    fn the_first_and_the_last_ten() {
        let run = Run {
            start: 0.0,
            overheads: (1..=30).map(f64::from).collect(),
            cpu: 0.0,
            peak_mb: 0.0,
            wall: 0.0,
            first_kb: 0.0,
            last_kb: 0.0,
            asides: 0,
            outside: Vec::new(),
        };
        // Of an even number the upper one.
        assert_eq!((run.overhead_first(), run.overhead_last()), (6.0, 26.0));
    }
}
