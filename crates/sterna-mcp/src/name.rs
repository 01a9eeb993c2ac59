//! Names of a server's tools as the model sees them: `mcp__server__tool`, in the letters that every provider takes.

/// A server's name in the names of its tools: letters, digits, `-` and single `_`. `None` for one that has none of
/// these, or is longer than 32.
pub fn server_name(given: &str) -> Option<String> {
    let mut name = String::new();
    for c in given.trim().chars() {
        let c = if is_plain(c) { c } else { '_' };
        if !(c == '_' && name.ends_with('_')) {
            name.push(c);
        }
    }
    let name = name.trim_matches('_');
    (!name.is_empty() && name.len() <= SERVER_MAX).then(|| name.to_owned())
}

/// The name of a server's tool. The prefix is in no name of a built-in tool; a tool whose own name cannot be used as it
/// is gets the beginning of a hash of it, so that two never share a name.
pub fn tool_name(server: &str, tool: &str) -> String {
    let prefix = format!("{PREFIX}{server}__");
    let plain: String = tool.chars().map(|c| if is_plain(c) || c == '_' { c } else { '_' }).collect();
    let room = TOTAL_MAX - prefix.len();
    if plain == tool && !plain.is_empty() && plain.len() <= room {
        return format!("{prefix}{plain}");
    }
    let hash = blake3::hash(tool.as_bytes()).to_hex();
    let kept: String = plain.chars().take(room - HASH - 1).collect();
    format!("{prefix}{kept}_{}", &hash[..HASH])
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-'
}

/// What names of MCP tools begin with.
pub(crate) const PREFIX: &str = "mcp__";
const SERVER_MAX: usize = 32;
/// The shortest limit among providers.
const TOTAL_MAX: usize = 64;
const HASH: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_plain_names() {
        for (given, expected) in [
            ("github", Some("github")),
            (" my server ", Some("my_server")),
            ("a__b", Some("a_b")),
            ("__x__", Some("x")),
            ("é", None),
            ("", None),
            ("a.b/c", Some("a_b_c")),
            ("abcdefghijklmnopqrstuvwxyz-0123456789", None),
        ] {
            assert_eq!(server_name(given).as_deref(), expected, "{given}");
        }
    }

    #[test]
    fn tools_have_names_that_no_other_has() {
        assert_eq!(tool_name("s", "shell"), "mcp__s__shell");
        assert_eq!(tool_name("s", "a__b-c_1"), "mcp__s__a__b-c_1");
        let dotted = tool_name("s", "a.b");
        assert!(dotted.starts_with("mcp__s__a_b_") && dotted.len() == "mcp__s__a_b_".len() + 8, "{dotted}");
        assert_ne!(dotted, tool_name("s", "a_b"));
        assert_ne!(dotted, tool_name("s", "a/b"));
        assert!(tool_name("s", "").starts_with("mcp__s___"));
        let server = "abcdefghijklmnopqrstuvwxyz-01234";
        let long = tool_name(server, &"x".repeat(500));
        assert_eq!(long.len(), 64);
        assert_ne!(long, tool_name(server, &"x".repeat(501)));
        for name in [dotted, long, tool_name("s", "💥\n")] {
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-'), "{name}");
        }
    }
}
