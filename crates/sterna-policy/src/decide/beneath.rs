//! Rules about files of a name in any folder, held against folders that are searched or copied.

use std::path::{Component, Path, PathBuf};

use sterna_model::{Decision, Scope};

use super::{Judge, Rank, about, described, is_sample};
use crate::access::Look;
use crate::effects::How;
use crate::patterns;
use crate::rule::{Beneath, PathPattern};
use crate::shell::Word;

impl Judge<'_> {
    /// Where everybody is asked for files of a name in any folder (`.env`), a search or a copy asks that would come across one.
    pub(super) fn look_beneath(
        &mut self,
        what: &str,
        folders: &[PathBuf],
        visible: bool,
        glob: Option<&str>,
        covered: bool,
    ) {
        let (ask, places) = (self.ask, self.places);
        let floats =
            |p: &PathPattern| folders.iter().any(|f| p.may_match_beneath(f, places) == Beneath::Anywhere);
        let hidden = |part: Component| part.as_os_str().to_string_lossy().starts_with('.');
        // What a shell puts in the place of a pattern is what fits it, and nothing that is hidden.
        let pattern = glob.map(|text| Word { glob: true, ..Word::literal(text) });
        for (i, rule) in ask.rules.iter().enumerate() {
            let answered = self.permitted && rule.decision() == Decision::Ask;
            let Some(Some(p)) = about(rule, How::Read).filter(|_| rule.restricts() && !answered) else {
                continue;
            };
            if rule.scope() != Scope::Builtin
                || !self.counts(rule)
                || !floats(p)
                || !self.affords(COST_OF_A_LOOK)
            {
                continue;
            }
            for folder in folders {
                let spared = |path: &Path| {
                    let mut parts = path.strip_prefix(folder).unwrap_or(path).components();
                    let other = parts.clone().next().zip(pattern.as_ref()).is_some_and(|(part, pattern)| {
                        hidden(part) || !patterns::may_be(pattern, &part.as_os_str().to_string_lossy())
                    });
                    other || visible && parts.any(hidden)
                };
                let wanted =
                    |path: &Path| p.matches_widely(path, places) && !is_sample(path) && !spared(path);
                match (ask.look)(folder, &wanted) {
                    Look::Found => {
                        let reason = format!("{what}: there is what {} is about", described(rule));
                        self.find(Rank::AskByRule, reason, Some(i));
                    }
                    Look::Unseen if !covered => {
                        let reason = format!(
                            "{what}: there is too much to tell whether {} is about it",
                            described(rule)
                        );
                        self.find(Rank::AskByMode, reason, None);
                    }
                    Look::Unseen | Look::NoFolder | Look::Nothing => {}
                }
            }
        }
    }
}

/// As much as so many paths: a folder is looked through.
const COST_OF_A_LOOK: usize = 200;
