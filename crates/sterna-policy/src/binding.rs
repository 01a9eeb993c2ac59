//! What a yes is bound to beside a call's arguments: the places that they led to when it was asked for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sterna_model::Digest;

use crate::effects::{How, Reach};
use crate::shell::{SimpleCommand, Word};

/// The places that a call leads to, each once and in one order. A place in the workspace is told from there, so that what
/// is granted for all sessions holds in each workspace; whatever may be a program is told by its full path.
#[derive(Debug, Default)]
pub(crate) struct Binding {
    places: BTreeSet<Vec<u8>>,
}

impl Binding {
    /// A path that is touched, wherever it really leads.
    pub(crate) fn path(
        &mut self,
        how: How,
        reach: Reach,
        real: &[PathBuf],
        rest: &Path,
        root: Option<&Path>,
    ) {
        for place in real {
            let place = if rest.as_os_str().is_empty() { place.clone() } else { place.join(rest) };
            let inside = root.and_then(|root| place.strip_prefix(root).ok());
            let (from, path) = inside.map_or(("/", place.as_path()), |inside| (".", inside));
            self.add(format!("{how:?} {reach:?} {from}"), path.as_os_str().as_encoded_bytes());
        }
    }

    pub(crate) fn host(&mut self, host: &str) {
        self.add("Host".to_owned(), host.to_ascii_lowercase().as_bytes());
    }

    /// A program that is named by its path.
    pub(crate) fn program(&mut self, real: &[PathBuf]) {
        for place in real {
            self.add("Program".to_owned(), place.as_os_str().as_encoded_bytes());
        }
    }

    /// How much of the call is known: a repository may come to make git run what it says.
    pub(crate) fn class(&mut self, class: &str) {
        self.add("Class".to_owned(), class.as_bytes());
    }

    pub(crate) fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        for place in &self.places {
            hasher.update(&(place.len() as u64).to_le_bytes());
            hasher.update(place);
        }
        Digest(*hasher.finalize().as_bytes())
    }

    fn add(&mut self, kind: String, what: &[u8]) {
        let mut line = kind.into_bytes();
        line.push(0);
        line.extend_from_slice(what);
        self.places.insert(line);
    }
}

/// The words of a command that name a program by its path: `./build.sh`, also behind wrappers, and the script that a
/// shell or an interpreter is given.
pub(crate) fn programs_by_path(command: &SimpleCommand) -> Vec<&Word> {
    let heads = command.via.iter().filter_map(|argv| argv.first()).chain(command.argv.first());
    let by_path = |word: &&Word| word.tilde || word.text.contains('/');
    let mut words: Vec<&Word> = heads.filter(by_path).collect();
    let program = crate::paths::base_name(command.program());
    if RUN_FILES.iter().any(|name| program == *name || version_of(program, name)) {
        // The first that is no option: what comes before it may have values, which are bound too.
        let args = command.argv.iter().skip(1);
        words.extend(args.filter(|word| !word.text.starts_with('-')));
    }
    words
}

/// `python3.12` for `python`.
fn version_of(program: &str, name: &str) -> bool {
    program.strip_prefix(name).is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
}

/// Programs whose argument is a program.
const RUN_FILES: [&str; 21] = [
    "sh", "bash", "rbash", "dash", "zsh", "ksh", "ash", "mksh", "fish", "source", ".", "python", "pypy",
    "node", "deno", "bun", "ruby", "perl", "php", "lua", "Rscript",
];
