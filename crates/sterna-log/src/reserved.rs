//! The names of logs that are no session's. What outlives sessions is kept in them: one for the user, one for each project.

use sterna_model::{Body, Draft, Mode, Route, SessionId, SessionOpened};

use crate::{Append, Expect, Log, LogError, Receipt};

/// The log of what the user keeps for all projects.
pub fn user_log() -> SessionId {
    reserved("user")
}

/// The log of what is kept for the project in this folder: an absolute path, symlinks resolved.
pub fn project_log(root: &str) -> SessionId {
    let hash = blake3::hash(root.as_bytes()).to_hex();
    reserved(&format!("project:{}", &hash[..PROJECT_DIGITS]))
}

/// The log of schedules and triggers.
pub fn automation_log() -> SessionId {
    reserved("automations")
}

/// The log of what the sessions below this one, and it itself, may spend together.
pub fn tree_log(root: &SessionId) -> SessionId {
    reserved(&format!("tree:{}", &blake3::hash(root.as_str().as_bytes()).to_hex()[..PROJECT_DIGITS]))
}

/// Whether this is the name of such a log. Sessions may not bear it, and lists of sessions leave it out.
pub fn is_reserved(id: &SessionId) -> bool {
    id.as_str().starts_with(PREFIX)
}

/// `user_log` of one of many users whose sessions a host keeps in one store.
pub fn user_log_of(user: &str) -> SessionId {
    reserved(&format!("user:{}", &blake3::hash(user.as_bytes()).to_hex()[..PROJECT_DIGITS]))
}

/// `project_log` of one of many users: what one of them keeps for a folder, the others do not find there.
pub fn project_log_of(user: &str, root: &str) -> SessionId {
    let mut hasher = blake3::Hasher::new();
    // Its length first, so that no two pairs are alike.
    hasher.update(&(user.len() as u64).to_le_bytes()).update(user.as_bytes()).update(root.as_bytes());
    reserved(&format!("of:{}", &hasher.finalize().to_hex()[..PROJECT_DIGITS]))
}

/// Appends a record to a reserved log, which is made when there is none. `root`: the folder that it is kept for.
/// The same `once` with the same content gets the first receipt.
pub async fn append_reserved(
    log: &dyn Log,
    id: &SessionId,
    root: &str,
    once: &str,
    draft: Draft,
) -> Result<Receipt, LogError> {
    append_reserved_all(log, id, root, once, vec![draft]).await
}

/// The same for several records, which become visible together. There is at least one.
pub async fn append_reserved_all(
    log: &dyn Log,
    id: &SessionId,
    root: &str,
    once: &str,
    drafts: Vec<Draft>,
) -> Result<Receipt, LogError> {
    let of = |expect, append: &str, records| Append {
        session: id.clone(),
        expect,
        id: append.to_owned(),
        records,
        blobs: Vec::new(),
    };
    match log.append(of(Expect::Any, once, drafts.clone())).await {
        Err(LogError::NotFound(_)) => {}
        done => return done,
    }
    let opened = SessionOpened {
        id: id.clone(),
        parent: None,
        root: root.to_owned(),
        cwd: root.to_owned(),
        route: Route { provider: "sterna".into(), model: "none".into() },
        mode: Mode::default(),
        sterna: env!("CARGO_PKG_VERSION").into(),
        spawned: None,
    };
    let at = drafts.first().map(|draft| draft.at).unwrap_or_default();
    let opening = Draft { at, turn: None, step: None, body: Body::SessionOpened(opened) };
    match log.append(of(Expect::New(None), "open", vec![opening])).await {
        // Another process made it just now.
        Ok(_) | Err(LogError::Exists(_)) => {}
        Err(error) => return Err(error),
    }
    log.append(of(Expect::Any, once, drafts)).await
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
        let all = [
            user_log(),
            tree_log(&SessionId::new("a").unwrap()),
            tree_log(&SessionId::new("b").unwrap()),
            user_log_of("a"),
            user_log_of("b"),
            project_log("/a"),
            project_log_of("a", "/a"),
            project_log_of("b", "/a"),
            project_log_of("a", "/b"),
            project_log_of("a/", "b"),
        ];
        let distinct: std::collections::BTreeSet<&str> = all.iter().map(SessionId::as_str).collect();
        assert_eq!(distinct.len(), all.len());
        assert!(all.iter().all(is_reserved));
    }
}
