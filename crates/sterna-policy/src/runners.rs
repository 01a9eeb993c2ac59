//! Programs that run another one, by where they are told it. Some do much else, so only those words count.

use std::borrow::Cow;

use crate::characters::is_name;
use crate::feeds;
use crate::glimpse::glimpse;
use crate::paths::base_name;
use crate::shell::{SimpleCommand, Word, joined};

/// Whether a command may run something that it is given. Not so for most.
pub(crate) fn is_listed(command: &SimpleCommand) -> bool {
    let name = base_name(command.program());
    !command.env_prefix.is_empty() || TABLE.iter().any(|(programs, ..)| programs.contains(&name))
}

/// What a program runs of the words that it is given, as it is written there. `None`: more than can be looked at.
pub(crate) fn given(command: &SimpleCommand) -> Option<Vec<SimpleCommand>> {
    let name = base_name(command.program());
    let mut found = Vec::new();
    for variable in &command.env_prefix {
        if let Some((name, value)) = variable.split_once('=')
            && VARIABLES.iter().any(|end| name.trim_end_matches(NUMBER).ends_with(end))
        {
            found.append(&mut lines_in(value));
        }
    }
    for (_, behind, form) in TABLE.iter().filter(|(programs, ..)| programs.contains(&name)) {
        let argv = &*apart(&command.argv, behind);
        for start in starts(argv, behind)? {
            match form {
                Form::Words(operands) => {
                    let mut programs = heads(argv, start)?;
                    for _ in 0..*operands {
                        programs = each(programs, |at| heads(argv, at + 1))?;
                    }
                    for at in programs {
                        if argv[at].text.contains(char::is_whitespace) {
                            found.append(&mut glimpse(&argv[at].text));
                        }
                        found.push(tail(command, argv, at));
                    }
                }
                Form::Joined => {
                    for at in heads(argv, start)? {
                        found.append(&mut glimpse(&joined(&argv[at..])));
                    }
                }
                Form::Line(options) => {
                    for value in values(&argv[start..], options)? {
                        found.append(&mut lines_in(value));
                    }
                }
                Form::Setting(options) => {
                    for value in values(&argv[start..], options)? {
                        found.append(&mut setting(value, argv));
                    }
                }
            }
        }
    }
    Some(found)
}

/// Where the words that a program runs stand.
enum Form {
    /// Behind so many operands of the program itself.
    Words(usize),
    /// A shell gets all of them as one line.
    Joined,
    /// One of these options has a line as its value.
    Line(&'static [&'static str]),
    /// One of these options has a setting as its value, which may be a line.
    Setting(&'static [&'static str]),
}

/// What a value that is a line, or holds one, makes somebody run: also behind a sign or a word that leads from a language of
/// the program's own to a shell, before other options, and in the place of a name's value.
fn lines_in(value: &str) -> Vec<SimpleCommand> {
    let line = value.trim_start_matches([':', '!', '+', '%', '=']);
    let mut found = glimpse(line);
    let signs = line.match_indices('!').map(|(at, sign)| at + sign.len());
    let words = SHELL_WORDS.iter().filter_map(|word| Some(line.find(word)? + word.len()));
    for at in signs.take(MAX_MARKS).chain(words) {
        found.append(&mut glimpse(&line[at..]));
    }
    for inner in [line.split_once('=').map(|(_, line)| line), line.split_once(',').map(|(line, _)| line)] {
        found.append(&mut inner.map(glimpse).unwrap_or_default());
    }
    found
}

/// The words with each of these options for itself, where programs take it joined to others and to its value: `-Hxrm`,
/// `--exec=rm`.
fn apart<'a>(argv: &'a [Word], behind: &[&str]) -> Cow<'a, [Word]> {
    let is_joined = |w: &Word| behind.iter().any(|mark| joined_to(&w.text, mark).is_some());
    let joins = argv.first().is_some_and(|w| JOINS.contains(&base_name(&w.text)));
    if !joins || !argv.iter().any(is_joined) {
        return Cow::Borrowed(argv);
    }
    let mut words = Vec::new();
    for word in argv {
        let found = behind.iter().find_map(|mark| Some((mark, joined_to(&word.text, mark)?)));
        let Some((mark, (before, value))) = found else {
            words.push(word.clone());
            continue;
        };
        words.extend((before.len() > 1).then(|| Word::literal(before)));
        words.push(Word::literal(*mark));
        words.extend((!value.is_empty()).then(|| Word { text: value.to_owned(), ..word.clone() }));
    }
    Cow::Owned(words)
}

/// What stands before and behind an option in the word that has it, where that is more than the option.
fn joined_to<'a>(text: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    let (before, value) = match mark.strip_prefix('-').filter(|letter| letter.len() == 1) {
        Some(letter) if text.starts_with('-') && !text.starts_with("--") => {
            let at = text.find(letter)?;
            (&text[..at], &text[at + letter.len()..])
        }
        Some(_) => return None,
        None => ("", text.strip_prefix(mark)?.strip_prefix('=')?),
    };
    (text != mark).then(|| (before, value.strip_prefix('=').unwrap_or(value)))
}

fn tail(command: &SimpleCommand, argv: &[Word], at: usize) -> SimpleCommand {
    let mut tail = SimpleCommand {
        argv: argv[at..].to_vec(),
        folders: command.folders.clone(),
        ..SimpleCommand::default()
    };
    if base_name(command.program()).starts_with("fd") {
        let own = argv[..at].to_vec();
        tail.input = feeds::found_by_fd(&own);
        tail.via.push(own);
    }
    tail
}

/// The places right behind these words: an option wherever it stands, and commands of commands in their order.
fn starts(argv: &[Word], behind: &[&str]) -> Option<Vec<usize>> {
    let mut places = vec![1.min(argv.len())];
    for mark in behind {
        let is = |at: &usize| {
            argv.get(*at).is_some_and(|w| w.text == *mark || w.text.rsplit('@').next() == Some(mark))
        };
        places = each(places, |from| match mark.starts_with('-') {
            true => Some((from..argv.len()).filter(is).collect()),
            false => heads(argv, from),
        })?;
        places = places.into_iter().filter(is).map(|at| at + 1).collect();
        if places.len() > if mark.starts_with('-') { MAX_MARKS } else { MAX_PLACES } {
            return None;
        }
    }
    Some(places)
}

fn each(places: Vec<usize>, of: impl Fn(usize) -> Option<Vec<usize>>) -> Option<Vec<usize>> {
    let mut found = Vec::new();
    for at in places {
        found.append(&mut of(at)?);
    }
    found.sort_unstable();
    found.dedup();
    Some(found)
}

/// Where the first operand may stand from here on: what comes after an option may be its value.
fn heads(argv: &[Word], from: usize) -> Option<Vec<usize>> {
    let mut found = Vec::new();
    let mut value = false;
    for (at, word) in argv.iter().enumerate().skip(from) {
        let text = word.text.as_str();
        if text == "--" {
            found.extend((at + 1 < argv.len()).then_some(at + 1));
            break;
        }
        if text.starts_with(['-', '+']) && text.len() > 1 {
            value = !text.contains('=');
        } else if text.split_once('=').is_some_and(|(name, _)| is_name(name)) {
            value = false;
        } else {
            found.push(at);
            if !std::mem::take(&mut value) {
                break;
            }
            if found.len() > MAX_PLACES {
                return None;
            }
        }
    }
    Some(found)
}

/// The values of these options: `-x V`, `-axV`, `-TTV`, `--long V`, `--long=V`, `--lo=V`; of a name with a colon what stands
/// behind it wherever it is, and of others what they begin.
fn values<'a>(words: &'a [Word], options: &[&str]) -> Option<Vec<&'a str>> {
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let text = word.text.as_str();
        let next = || words.get(at + 1).map(|w| w.text.as_str());
        for option in options {
            let value = if option.starts_with("--") {
                let (key, value) = text.split_once('=').map_or((text, ""), |(key, value)| (key, value));
                (key.len() > 4 && option.starts_with(key) || key == *option).then_some(value)
            } else if let Some(letters) = option.strip_prefix('-') {
                let own = text.strip_prefix('-').filter(|own| !own.starts_with('-'));
                own.and_then(|own| own.split_once(letters)).map(|(_, value)| value)
            } else if option.ends_with(':') {
                let at = text.to_ascii_lowercase().find(option);
                at.map(|at| &text[at + option.len()..])
            } else {
                text.strip_prefix(option)
            };
            found.extend(value.and_then(|value| if value.is_empty() { next() } else { Some(value) }));
        }
        if found.len() > MAX_VALUES {
            return None;
        }
    }
    Some(found)
}

/// `core.pager=rm x`, `alias.x=!rm x`, `alias.x=push`, `ProxyCommand rm x`.
fn setting(text: &str, argv: &[Word]) -> Vec<SimpleCommand> {
    let Some((key, value)) = text.split_once(['=', ' ']) else { return Vec::new() };
    let alias = key.strip_prefix("alias.").filter(|_| !value.starts_with('!'));
    let Some(alias) = alias else { return glimpse(value.trim_start_matches('!')) };
    let rest = argv.iter().skip_while(|w| w.text != alias).skip(1);
    let words = value.split_whitespace().map(Word::literal).chain(rest.cloned());
    let argv = std::iter::once(Word::literal("git")).chain(words).collect();
    vec![SimpleCommand { argv, ..SimpleCommand::default() }]
}

const MAX_PLACES: usize = 64;
/// Times that an option which is given once is looked behind.
const MAX_MARKS: usize = 8;
const MAX_VALUES: usize = 32;
/// Variables with such names hold a line for some program.
const VARIABLES: [&str; 14] = [
    "EXTERNAL_DIFF",
    "GIT_CONFIG_VALUE",
    "GIT_CONFIG_PARAMETERS",
    "RSYNC_CONNECT_PROG",
    "_COMMAND",
    "PAGER",
    "EDITOR",
    "VISUAL",
    "BROWSER",
    "_ASKPASS",
    "GIT_SSH",
    "_RSH",
    "LESSOPEN",
    "LESSCLOSE",
];
/// What the names of such variables may end in.
const NUMBER: [char; 11] = ['_', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'];
/// Words that lead from a language of a program's own to a shell.
const SHELL_WORDS: [&str; 2] = ["shell ", "system "];
/// Programs that take an option, those before it and its value in one word.
const JOINS: [&str; 4] = ["fd", "fdfind", "nix", "just"];

/// Programs, the words behind which they are told what to run, and how.
type Row = (&'static [&'static str], &'static [&'static str], Form);

const TABLE: &[Row] = &[
    // Package managers and what keeps their versions apart.
    (&["npx", "pnpx", "bunx", "uvx", "cross-env", "env-cmd", "dotenv"], &[], Form::Words(0)),
    (&["npx", "pnpx"], &[], Form::Line(&["-c", "--call"])),
    (
        &[
            "npm", "pnpm", "yarn", "bundle", "rbenv", "pyenv", "nodenv", "asdf", "mise", "rtx", "opam",
            "dune", "stack", "cabal", "composer", "lerna", "nx", "tox",
        ],
        &["exec"],
        Form::Words(0),
    ),
    (&["nvm", "chamber", "aws-vault"], &["exec"], Form::Words(1)),
    (&["npm", "pnpm", "yarn", "mise", "rtx"], &["exec"], Form::Line(&["-c", "--call", "--command"])),
    (&["yarn"], &["workspace"], Form::Words(1)),
    (&["yarn"], &["workspaces", "foreach"], Form::Words(0)),
    (&["npm", "bun", "mise", "rtx"], &["x"], Form::Words(0)),
    (&["npm", "mise", "rtx"], &["x"], Form::Line(&["-c", "--call", "--command"])),
    (&["pnpm", "yarn"], &["dlx"], Form::Words(0)),
    (
        &[
            "poetry",
            "pipenv",
            "hatch",
            "pdm",
            "uv",
            "rye",
            "pixi",
            "conda",
            "mamba",
            "micromamba",
            "pipx",
            "honcho",
            "foreman",
            "op",
            "doppler",
            "infisical",
            "dotenvx",
            "volta",
        ],
        &["run"],
        Form::Words(0),
    ),
    (&["rustup"], &["run"], Form::Words(1)),
    (&["uv"], &["tool", "run"], Form::Words(0)),
    (&["doppler"], &["run"], Form::Line(&["--command"])),
    (&["mix"], &["cmd"], Form::Words(0)),
    (&["cargo"], &["watch", "--"], Form::Words(0)),
    (&["cargo"], &["watch"], Form::Line(&["-s", "--shell"])),
    (&["nix-shell"], &[], Form::Line(&["--run", "--command"])),
    (&["nix"], &["-c"], Form::Words(0)),
    (&["nix"], &["--command"], Form::Words(0)),
    (&["guix"], &["--"], Form::Words(0)),
    // Builds.
    (&["cmake"], &["-E"], Form::Words(0)),
    (&["cmake"], &["-E", "env"], Form::Words(0)),
    (&["cmake"], &["-E", "time"], Form::Words(0)),
    (&["cmake"], &["-E", "chdir"], Form::Words(1)),
    (&["make", "gmake"], &[], Form::Line(&["SHELL=", "--eval", "-E"])),
    (&["just"], &["-c"], Form::Words(0)),
    (&["just"], &["--command"], Form::Words(0)),
    // git. What it runs by settings that are there is looked at elsewhere.
    (&["git"], &["bisect", "run"], Form::Words(0)),
    (&["git"], &["submodule", "foreach"], Form::Joined),
    (&["git"], &["rebase"], Form::Line(&["-x", "--exec"])),
    (&["git"], &["difftool"], Form::Line(&["-x", "--extcmd"])),
    (&["git"], &["grep"], Form::Line(&["-O", "--open-files-in-pager"])),
    (
        &["git"],
        &["filter-branch"],
        Form::Line(&[
            "--setup",
            "--env-filter",
            "--tree-filter",
            "--index-filter",
            "--parent-filter",
            "--msg-filter",
            "--commit-filter",
            "--tag-name-filter",
        ]),
    ),
    (&["git"], &["clone"], Form::Line(&["-u"])),
    (&["git"], &[], Form::Line(&["--upload-pack", "--receive-pack", "--exec"])),
    (&["git"], &[], Form::Setting(&["-c", "--config"])),
    // Archives and copies.
    (
        &["tar", "gtar", "bsdtar"],
        &[],
        Form::Line(&[
            "-I",
            "-F",
            "--use-compress-program",
            "--to-command",
            "--checkpoint-action",
            "--info-script",
            "--new-volume-script",
            "--rsh-command",
            "--rmt-command",
        ]),
    ),
    (&["zip"], &[], Form::Line(&["-TT", "--unzip-command"])),
    (&["rsync"], &[], Form::Line(&["-e", "--rsh", "--rsync-path"])),
    (&["scp", "sftp"], &[], Form::Line(&["-S"])),
    (&["ssh", "scp", "sftp"], &[], Form::Setting(&["-o"])),
    // This machine by another name.
    (&["ssh"], &["localhost"], Form::Joined),
    (&["ssh"], &["127.0.0.1"], Form::Joined),
    (&["ssh"], &["::1"], Form::Joined),
    // Terminals, and what shows a text.
    (&["screen"], &[], Form::Words(0)),
    (&["tmux"], &["new-session"], Form::Joined),
    (&["tmux"], &["new"], Form::Joined),
    (&["tmux"], &["new-window"], Form::Joined),
    (&["tmux"], &["neww"], Form::Joined),
    (&["tmux"], &["split-window"], Form::Joined),
    (&["tmux"], &["splitw"], Form::Joined),
    (&["tmux"], &["respawn-pane"], Form::Joined),
    (&["tmux"], &["run-shell"], Form::Joined),
    (&["tmux"], &["run"], Form::Joined),
    (&["tmux"], &["send-keys"], Form::Joined),
    (&["tmux"], &["send"], Form::Joined),
    (&["tmux"], &["popup"], Form::Joined),
    (&["tmux"], &["display-popup"], Form::Joined),
    (&["man"], &[], Form::Line(&["-P", "--pager"])),
    (
        &["gdb", "lldb"],
        &[],
        Form::Line(&[
            "-ex",
            "--eval-command",
            "--init-eval-command",
            "-eval-command",
            "-o",
            "-O",
            "--one-line",
        ]),
    ),
    (&["socat"], &[], Form::Line(&["exec:", "system:", "shell:"])),
    (&["less", "more", "vi", "vim", "nvim", "view", "ex"], &[], Form::Line(&["-c", "--cmd", "+"])),
    // Searches.
    (&["fd", "fdfind"], &["-x"], Form::Words(0)),
    (&["fd", "fdfind"], &["-X"], Form::Words(0)),
    (&["fd", "fdfind"], &["--exec"], Form::Words(0)),
    (&["fd", "fdfind"], &["--exec-batch"], Form::Words(0)),
    (&["rg"], &[], Form::Line(&["--pre"])),
    (&["sort"], &[], Form::Line(&["--compress-program"])),
    (&["split"], &[], Form::Line(&["--filter"])),
    (&["install"], &[], Form::Line(&["--strip-program"])),
    // Databases whose clients have a shell.
    (&["sqlite3"], &[], Form::Line(&[".shell ", ".system ", "-cmd"])),
    (&["psql", "mysql", "mariadb"], &[], Form::Line(&["-c", "-e", "--command", "--execute"])),
];
