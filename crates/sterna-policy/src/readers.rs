//! The table of programs that only read, and how their arguments name what.

use crate::effects::{Effects, How, NO_OPTIONS, Options, Reach, parse};
use crate::shell::Word;

/// The effects of a program that only reads; `None`: it is not one.
pub(crate) fn effects(name: &str, args: &[Word]) -> Option<Result<Effects, String>> {
    READERS.iter().find(|r| r.names.contains(&name)).map(|reader| read(reader, args))
}

/// A program that reads what it is given.
struct Reader {
    names: &'static [&'static str],
    options: Options,
    /// Operands before the files.
    skip: usize,
    /// Short options that give what would else be the first operand.
    instead: &'static str,
    /// Reads names and sizes, not content.
    names_only: bool,
    /// Goes into folders by itself, or with one of these options.
    tree: Option<&'static str>,
    /// Reads the current folder when no file is given.
    here: bool,
}

const READER: Reader = Reader {
    names: &[],
    options: NO_OPTIONS,
    skip: 0,
    instead: "",
    names_only: false,
    tree: None,
    here: false,
};

/// The options of `ls`.
pub(crate) const LISTING: Options = Options {
    values: "IwT",
    long_values: &[
        "ignore",
        "hide",
        "width",
        "tabsize",
        "format",
        "sort",
        "time",
        "time-style",
        "indicator-style",
        "quoting-style",
        "block-size",
    ],
    ..NO_OPTIONS
};

const READERS: &[Reader] = &[
    Reader { names: &["ls", "dir"], options: LISTING, names_only: true, here: true, ..READER },
    Reader { names: &["stat", "readlink", "realpath"], names_only: true, here: true, ..READER },
    Reader {
        names: &["du"],
        options: Options {
            values: "dtB",
            bad_long: &["files0-from", "exclude-from"],
            long_values: &["exclude", "max-depth", "threshold", "block-size"],
            bad: "X",
            ..NO_OPTIONS
        },
        names_only: true,
        here: true,
        ..READER
    },
    Reader { names: &["df"], names_only: true, ..READER },
    Reader {
        names: &["cat", "tac", "nl", "rev", "wc"],
        options: Options { bad_long: &["files0-from"], ..NO_OPTIONS },
        ..READER
    },
    Reader {
        names: &["tree"],
        options: Options {
            values: "LPI",
            bad: "oR",
            bad_long: &["output", "fromfile", "fromtabfile"],
            ..NO_OPTIONS
        },
        names_only: true,
        here: true,
        ..READER
    },
    Reader {
        names: &["hexdump", "hd"],
        options: Options { values: "ens", files: "f", ..NO_OPTIONS },
        ..READER
    },
    Reader { names: &["od", "strings"], ..READER },
    Reader {
        names: &["cksum", "md5sum", "sha1sum", "sha256sum", "sha512sum", "b2sum"],
        options: Options { bad: "c", bad_long: &["files0-from", "check"], ..NO_OPTIONS },
        ..READER
    },
    Reader {
        names: &[
            "head", "tail", "cut", "fold", "fmt", "paste", "expand", "unexpand", "column", "comm", "join",
        ],
        options: Options { values: "cndfbwlst", bad: "r", bad_long: &["pid"], ..NO_OPTIONS },
        ..READER
    },
    Reader {
        names: &["sort"],
        options: Options {
            values: "kt",
            bad: "oTS",
            bad_long: &["output", "compress-program", "temporary-directory", "files0-from", "buffer-size"],
            ..NO_OPTIONS
        },
        ..READER
    },
    Reader {
        names: &["file"],
        options: Options {
            bad: "CmfzZS",
            bad_long: &["compile", "magic-file", "files-from", "uncompress", "no-sandbox"],
            ..NO_OPTIONS
        },
        ..READER
    },
    Reader { names: &["cmp"], options: Options { values: "in", ..NO_OPTIONS }, ..READER },
    Reader {
        names: &["diff"],
        options: Options {
            values: "IUCWxLFDS",
            bad: "lX",
            bad_long: &["paginate", "exclude-from", "from-file", "to-file"],
            long_values: &[
                "exclude",
                "label",
                "ignore-matching-lines",
                "show-function-line",
                "starting-file",
                "ifdef",
                "width",
                "horizon-lines",
                "tabsize",
            ],
            ..NO_OPTIONS
        },
        // Shows a file that the other folder lacks, too.
        tree: Some("rNP"),
        ..READER
    },
    Reader {
        names: &["grep", "egrep", "fgrep"],
        options: Options {
            values: "eABCm",
            bad: "RdD",
            bad_long: &["dereference-recursive", "directories", "devices"],
            files: "f",
            long_values: &["include", "exclude", "exclude-dir", "regexp", "max-count", "context"],
            ..NO_OPTIONS
        },
        skip: 1,
        instead: "ef",
        tree: Some("rR"),
        ..READER
    },
    Reader {
        names: &["rg"],
        options: Options {
            values: "eABCgtTmMjrE",
            files: "f",
            bad: "zuL.",
            bad_long: &[
                "pre",
                "hostname-bin",
                "search-zip",
                "hidden",
                "unrestricted",
                "no-ignore",
                "follow",
                "ignore-file",
            ],
            ..NO_OPTIONS
        },
        skip: 1,
        instead: "ef",
        tree: Some(""),
        here: true,
        ..READER
    },
    Reader {
        names: &["jq"],
        options: Options {
            // What a filter in a file does is not seen.
            bad: "Lf",
            bad_long: &["slurpfile", "rawfile", "argfile", "from-file", "run-tests"],
            ..NO_OPTIONS
        },
        skip: 1,
        ..READER
    },
];

fn read(reader: &Reader, args: &[Word]) -> Result<Effects, String> {
    let parsed = parse(args, &reader.options)?;
    // A filter of jq's reads modules and data from where it likes.
    let loads = |w: &&&Word| ["import", "include"].iter().any(|word| w.text.contains(word));
    if reader.names.contains(&"jq") && parsed.operands.iter().any(|w| loads(&w)) {
        return Err("a filter that reads other files".into());
    }
    // Arguments from a file, wherever it is named.
    if reader.names.contains(&"strings") && args.iter().any(|w| w.text.starts_with('@')) {
        return Err("a file of arguments".into());
    }
    // Abbreviations count.
    let long = |names: &[&str]| parsed.long.iter().any(|l| names.iter().any(|n| n.starts_with(l.as_str())));
    let given = parsed.short.contains(|c| reader.instead.contains(c))
        || long(&["regexp", "file", "files", "from-file"]);
    let skip = if given { 0 } else { reader.skip };
    let files = parsed.operands.get(skip..).unwrap_or_default();
    let recursive = match reader.tree {
        None => false,
        Some("") => true,
        Some(letters) => {
            parsed.has(letters, &[]) || long(&["recursive", "new-file", "unidirectional-new-file"])
        }
    };
    let reach = if reader.names_only {
        Reach::Names
    } else if recursive && (reader.names.contains(&"rg") || passes_over_hidden(args)) {
        Reach::Visible
    } else if recursive {
        Reach::Tree
    } else {
        Reach::This
    };
    let mut effects = Effects::none().with(How::Read, files, reach);
    // What comes before the files is no file, but of the names that a pattern becomes only the first does.
    for word in parsed.operands.iter().take(skip).filter(|word| word.glob) {
        effects.touch(How::Read, word, reach);
    }
    // The value of an option that is not known may stand where a file would.
    let unsure = reader.tree == Some("") && (!parsed.long.is_empty() || parsed.short.contains('d'));
    if (files.is_empty() && (reader.here || recursive)) || unsure {
        effects.touch(How::Read, &Word::literal("."), reach);
    }
    for file in &parsed.files {
        effects.touch(How::Read, file, Reach::This);
    }
    if reader.names.contains(&"diff") {
        compared(&parsed.operands, &mut effects);
    }
    Ok(effects)
}

/// Whether `grep` is told to look only into files of some kinds (`--include=*.rs`), or not into hidden ones.
fn passes_over_hidden(args: &[Word]) -> bool {
    let next = |i: usize| args.get(i + 1).map_or("", |word| word.text.as_str());
    let include = |(i, word): (usize, &'_ Word)| match word.text.as_str() {
        "--include" => Some(next(i).to_owned()),
        text => text.strip_prefix("--include=").map(str::to_owned),
    };
    let mut kinds = args.iter().enumerate().filter_map(include).peekable();
    let is_kind = |pattern: String| {
        let kind = pattern.strip_prefix("*.").unwrap_or_default();
        let plain = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric());
        // `.envrc`, `.env2` and `.env.prod` are hidden, and fit.
        plain && !kind.starts_with("env") && !OF_SETTINGS.contains(&kind)
    };
    kinds.peek().is_some() && kinds.all(is_kind) || args.iter().any(|word| word.text == "--exclude=.*")
}

/// Of two folders `diff` compares the files in them, and of a folder and a file the one of that name. What may be a
/// folder is held against rules that forbid what is in it.
fn compared(operands: &[&Word], effects: &mut Effects) {
    let last =
        |word: &Word| word.text.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    for (i, word) in operands.iter().enumerate().take(MOST_COMPARED) {
        let name = last(word);
        if !name.contains('.') || [".", ".."].contains(&name.as_str()) || word.text.ends_with('/') {
            effects.touch(How::Named, word, Reach::Tree);
        } else {
            effects.touch(How::Named, word, Reach::MayTree);
        }
        for other in operands.iter().enumerate().take(MOST_COMPARED).filter(|(j, _)| *j != i).map(|(_, w)| w)
        {
            let text = format!("{}/{}", word.text.trim_end_matches('/'), last(other));
            let glob = word.glob || other.glob;
            effects.touch(How::Named, &Word { text, glob, ..(*word).clone() }, Reach::This);
        }
    }
}

/// What the names of files with settings end in: `.env.local`.
const OF_SETTINGS: [&str; 37] = [
    "local",
    "dev",
    "devel",
    "development",
    "prod",
    "production",
    "live",
    "staging",
    "stage",
    "stg",
    "test",
    "testing",
    "tests",
    "e2e",
    "ci",
    "qa",
    "uat",
    "preview",
    "demo",
    "sandbox",
    "beta",
    "canary",
    "release",
    "docker",
    "remote",
    "default",
    "defaults",
    "shared",
    "secret",
    "secrets",
    "private",
    "vault",
    "bak",
    "backup",
    "old",
    "orig",
    "save",
];
/// More than two are an error.
const MOST_COMPARED: usize = 3;
