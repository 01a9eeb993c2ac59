//! `/name rest` at the command line: which skill or prompt file it runs, and what its turn may use.

use sterna::Sterna;
use sterna::skills::{Expansion, KEPT_TOOLS, Slash, nearest};
use sterna::trust::Trust;
use sterna_runtime::TurnConfig;

use crate::context::Context;
use crate::failure::Failure;
use crate::print::one_line;

/// What a prompt stands for. `None`: for itself. `builtin`: what else a person can say here.
pub fn expand(
    cx: &Context,
    sterna: &Sterna,
    said: &str,
    builtin: &[&str],
) -> Result<Option<Expansion>, Failure> {
    let name = match sterna.shelf().slash(said) {
        Slash::Prompt => return Ok(None),
        Slash::Run(expansion) => return Ok(Some(expansion)),
        Slash::Unknown { name } => name,
    };
    let known = sterna.shelf().slash_names();
    let near = nearest(&name, known.iter().map(|(name, _)| name.as_str()).chain(builtin.iter().copied()));
    let failure = Failure::usage(format!("there is no command /{}", one_line(&name, 40)));
    let untrusted = matches!(cx.trust, Trust::Untrusted { .. });
    Err(match near.as_slice() {
        [] if untrusted => {
            failure.hint("this folder's own are not used: `sterna trust` trusts them as they are")
        }
        [] if builtin.is_empty() => {
            failure.hint("`sterna skills list` shows them; a blank before the `/` makes it a prompt")
        }
        [] => failure.hint("/help and /skills show what there is"),
        near => {
            let names: Vec<String> = near.iter().map(|name| format!("/{name}")).collect();
            failure.hint(format!("did you mean {}?", names.join(" or ")))
        }
    })
}

/// The prompt, with its turn narrowed to the tools that the skill names. It never gets one that it would not have.
pub fn apply(expansion: Expansion, config: &mut TurnConfig) -> Result<String, Failure> {
    let Expansion { name, text, tools } = expansion;
    let Some(tools) = tools else { return Ok(text) };
    if !config.tools.iter().chain(&config.deferred).any(|tool| tools.contains(tool)) {
        let message = format!("/{name} wants the tools {}, and none of them is there", tools.join(", "));
        return Err(Failure::usage(message).hint("`allowed-tools` of its file names them"));
    }
    let kept = |tool: &String| tools.contains(tool) || KEPT_TOOLS.contains(&tool.as_str());
    config.deferred.retain(kept);
    let finds = !config.deferred.is_empty();
    config
        .tools
        .retain(|tool| kept(tool) || (finds && ["call_tool", "tool_search"].contains(&tool.as_str())));
    Ok(text)
}
