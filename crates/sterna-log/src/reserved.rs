//! The names of logs that are no session's. What outlives sessions is kept in them: one for the user, one for each project.

use sterna_model::SessionId;

/// The log of what the user keeps for all projects.
pub fn user_log() -> SessionId {
    reserved("user")
}

/// The log of what is kept for the project in this folder: an absolute path, symlinks resolved.
pub fn project_log(root: &str) -> SessionId {
    let hash = blake3::hash(root.as_bytes()).to_hex();
    reserved(&format!("project:{}", &hash[..PROJECT_DIGITS]))
}

/// Whether this is the name of such a log. Sessions may not bear it, and lists of sessions leave it out.
pub fn is_reserved(id: &SessionId) -> bool {
    id.as_str().starts_with(PREFIX)
}

fn reserved(name: &str) -> SessionId {
    SessionId::new(&format!("{PREFIX}{name}")).expect("a short text of letters, digits and colons")
}

/// What all of them begin with, and nothing else.
const PREFIX: &str = "sterna:";
/// 128 bits.
const PROJECT_DIGITS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_are_told_from_sessions() {
        assert_eq!(user_log().as_str(), "sterna:user");
        assert_ne!(project_log("/a"), project_log("/b"));
        assert_eq!(project_log("/a"), project_log("/a"));
        for (name, want) in
            [("sterna:user", true), ("sterna:project:0", true), ("sterna", false), ("s", false)]
        {
            assert_eq!(is_reserved(&SessionId::new(name).unwrap()), want, "{name}");
        }
    }
}
