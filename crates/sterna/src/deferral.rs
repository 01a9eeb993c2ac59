//! Which tools are shown by name only.

use sterna_model::ToolSpec;
use sterna_runtime::Toolbox;
use sterna_tool::{CALL_TOOL, SharedTool, TOOL_SEARCH};

/// A tool that may be shown by name only.
#[derive(Clone)]
pub(crate) struct Deferrable {
    pub(crate) tool: SharedTool,
    /// `Some(true)`: always by name only; `Some(false)`: never; `None`: when all schemas together pass the budget.
    pub(crate) deferred: Option<bool>,
}

/// The tools of a turn.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Split {
    /// Shown with their schemas.
    pub(crate) shown: Vec<String>,
    /// Shown by name only.
    pub(crate) deferred: Vec<String>,
}

/// Divides the tools: `names` are shown whatever they cost, `more` as the budget allows, in tokens.
pub(crate) fn split(tools: &Toolbox, mut names: Vec<String>, more: &[Deferrable], budget: u32) -> Split {
    names.retain(|name| !more.iter().any(|of| of.tool.spec().name == *name));
    let cost = |specs: &[ToolSpec]| specs.iter().map(tokens).sum::<u64>();
    let all = || more.iter().map(|of| tokens(of.tool.spec())).sum::<u64>() + cost(&tools.specs(&names));
    // Where none waits for the sum, nothing is counted: every start pays for it.
    let over = more.iter().any(|of| of.deferred.is_none()) && all() > u64::from(budget);
    let (deferred, shown): (Vec<&Deferrable>, Vec<&Deferrable>) =
        more.iter().partition(|of| of.deferred.unwrap_or(over));
    let name = |of: &&Deferrable| of.tool.spec().name.clone();
    names.extend(shown.iter().map(name));
    let mut deferred: Vec<String> = deferred.iter().map(name).collect();
    deferred.sort_unstable();
    if !deferred.is_empty() {
        for needed in [TOOL_SEARCH, CALL_TOOL] {
            if tools.get(needed).is_some() && !names.iter().any(|name| name == needed) {
                names.push(needed.to_owned());
            }
        }
    }
    Split { shown: names, deferred }
}

/// An estimate, before any provider has counted: four bytes of JSON are a token.
fn tokens(spec: &ToolSpec) -> u64 {
    let bytes = spec.name.len() + spec.description.len() + spec.schema.to_string().len();
    bytes as u64 / 4
}

/// Tokens of schemas above which tools are deferred.
pub(crate) const TOOL_BUDGET: u32 = 8_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool_fn_of;

    fn tool(name: &str, bytes: usize) -> SharedTool {
        let run = |_: serde_json::Value| async { Ok(String::new()) };
        tool_fn_of(name, &"x".repeat(bytes), sterna_model::EffectClass::Pure, run)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn tools_are_deferred_above_the_budget() {
        let own = [tool("read", 100), tool(TOOL_SEARCH, 10), tool(CALL_TOOL, 10)];
        let more = |deferred: [Option<bool>; 2]| -> Vec<Deferrable> {
            let of = |name: &str, deferred| Deferrable { tool: tool(name, 400), deferred };
            vec![of("mcp__s__b", deferred[0]), of("mcp__s__a", deferred[1])]
        };
        for (deferred, budget, shown, hidden) in [
            ([None, None], 1_000, &["read", "mcp__s__b", "mcp__s__a"][..], &[][..]),
            ([None, None], 100, &["read", TOOL_SEARCH, CALL_TOOL], &["mcp__s__a", "mcp__s__b"]),
            ([Some(false), None], 100, &["read", "mcp__s__b", TOOL_SEARCH, CALL_TOOL], &["mcp__s__a"]),
            ([Some(true), None], 1_000, &["read", "mcp__s__a", TOOL_SEARCH, CALL_TOOL], &["mcp__s__b"]),
        ] {
            let more = more(deferred);
            let all = own.iter().cloned().chain(more.iter().map(|of| of.tool.clone()));
            let split = split(&Toolbox::new(all), names(&["read"]), &more, budget);
            assert_eq!(split, Split { shown: names(shown), deferred: names(hidden) });
        }
    }
}
