use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use futures::executor::block_on;
use sterna_log::{Blobs, Filter, MemoryLog, Page};
use sterna_sqlite::{Options, SqliteStore};

use super::*;
use crate::{LocalCheckpoints, SystemEnv, collect};

struct World {
    _dir: tempfile::TempDir,
    home: PathBuf,
    work: PathBuf,
    own: Vec<PathBuf>,
    log: Arc<MemoryLog>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(dir.path()).unwrap();
        let work = home.join("work");
        fs::create_dir_all(work.join(".git")).unwrap();
        Self { _dir: dir, own: vec![home.join(".sterna")], work, home, log: Arc::default() }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.work.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn look(&self) -> Look<'_> {
        Look { own: &self.own, home: Some(&self.home) }
    }

    fn find(&self) -> Option<Project> {
        Project::find(&self.work, self.look())
    }

    fn book(&self) -> TrustBook {
        TrustBook::new(self.log.clone(), self.log.clone())
    }

    fn trust(&self) {
        block_on(self.book().trust(&self.find().unwrap(), 1, "person")).unwrap();
    }

    /// Why nothing counts; `None` when all does.
    fn why(&self) -> Option<Why> {
        match block_on(Trust::of(&self.work, self.look(), Some(&self.book()))).unwrap() {
            Trust::Untrusted { why, .. } => Some(why),
            Trust::Trusted(_) => None,
            Trust::Nothing => panic!("there is nothing"),
        }
    }
}

/// Everything that could make us do something.
const HOSTILE: [&str; 13] = [
    ".agents/skills/x/SKILL.md",
    ".claude/agents/x.md",
    ".claude/commands/x.md",
    ".claude/hooks/run.sh",
    ".claude/settings.json",
    ".claude/settings.local.json",
    ".claude/skills/x/scripts/run.py",
    ".mcp.json",
    ".sterna/config.local.toml",
    ".sterna/config.toml",
    ".sterna/hooks.json",
    ".sterna/plugins/p/plugin.json",
    ".sterna/skills/x/SKILL.md",
];

#[test]
fn what_was_trusted_outlasts_a_sweep() {
    let world = World::new();
    world.write(".mcp.json", "{}");
    let store = Arc::new(SqliteStore::open(&world.home.join("data"), Options::default()).unwrap());
    let book = TrustBook::new(store.clone(), store.clone());
    block_on(book.trust(&world.find().unwrap(), 1, "person")).unwrap();
    block_on(store.put(bytes::Bytes::from_static(b"nobody's"))).unwrap();
    let checkpoints = LocalCheckpoints::new(store.clone(), world.home.join("state"), Vec::new(), None);
    let env = Arc::new(SystemEnv::new(&[], Vec::new()));
    let swept = block_on(collect(&store, Arc::new(checkpoints), env)).unwrap();
    assert_eq!((swept.blobs, swept.bytes), (1, 8));
    world.write(".mcp.json", "{ }");
    let now = block_on(Trust::of(&world.work, world.look(), Some(&book))).unwrap();
    let Trust::Untrusted { why, .. } = now else { panic!("{now:?}") };
    assert_eq!(why, Why::Changed(vec![".mcp.json".into()]));
}

#[test]
fn one_byte_of_any_file_is_asked_about_again() {
    let world = World::new();
    // What a program may read, and what is never loaded, is nothing to trust.
    for text in ["AGENTS.md", ".env", "src/main.rs", ".claude/notes.md"] {
        world.write(text, "x");
    }
    assert_eq!(world.find(), None);
    for path in HOSTILE {
        world.write(path, "one");
    }
    let project = world.find().unwrap();
    assert_eq!(project.root, world.work);
    assert_eq!(project.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), HOSTILE);
    assert_eq!(world.why(), Some(Why::Never));
    world.trust();
    assert_eq!(world.why(), None);
    for path in HOSTILE {
        world.write(path, "onf");
        assert_eq!(world.why(), Some(Why::Changed(vec![path.into()])));
        world.write(path, "one");
        assert_eq!(world.why(), None, "as it was when it was trusted");
    }
    world.write(".sterna/skills/y/SKILL.md", "new");
    fs::remove_file(world.work.join(".mcp.json")).unwrap();
    let changed = vec![".mcp.json".into(), ".sterna/skills/y/SKILL.md".into()];
    assert_eq!(world.why(), Some(Why::Changed(changed)));
    world.trust();
    assert_eq!(world.why(), None);
    assert!(block_on(world.book().revoke(&world.work, 2, "person")).unwrap());
    assert_eq!(world.why(), Some(Why::Revoked));
    assert!(!block_on(world.book().revoke(&world.work, 3, "person")).unwrap());
    world.trust();
    assert_eq!(world.why(), None, "the same bytes can be trusted again");
    // The log of it is no session.
    let all = block_on(world.log.list(&Filter::default(), Page { after: None, limit: 9 })).unwrap();
    assert!(all.is_empty(), "{all:?}");
}

#[test]
fn trust_is_of_one_folder_with_all_below_it() {
    let world = World::new();
    world.write(".mcp.json", "{}");
    world.write("a/b/.mcp.json", "{}");
    world.trust();
    // From below, its own files count too: nobody has seen them.
    let below = world.work.join("a/b");
    let trust = block_on(Trust::of(&below, world.look(), Some(&world.book()))).unwrap();
    let Trust::Untrusted { why, project } = trust else { panic!("{trust:?}") };
    assert_eq!((why, &project.root), (Why::Changed(vec!["a/b/.mcp.json".into()]), &world.work));
    // The same files at another place were never trusted.
    let copy = world.home.join("copy");
    fs::create_dir_all(copy.join(".git")).unwrap();
    fs::write(copy.join(".mcp.json"), "{}").unwrap();
    let trust = block_on(Trust::of(&copy, world.look(), Some(&world.book()))).unwrap();
    assert!(matches!(trust, Trust::Untrusted { why: Why::Never, .. }), "{trust:?}");
}

/// The user's own configuration is no project's, wherever the work is.
#[test]
fn the_users_own_folders_are_no_project() {
    let world = World::new();
    fs::create_dir_all(world.home.join(".sterna")).unwrap();
    fs::write(world.home.join(".sterna/config.toml"), "").unwrap();
    fs::create_dir_all(world.home.join(".claude")).unwrap();
    fs::write(world.home.join(".claude/settings.json"), "{}").unwrap();
    fs::remove_dir(world.work.join(".git")).unwrap();
    assert_eq!(world.find(), None);
}

#[test]
fn links_are_followed_and_what_cannot_be_read_is_refused() {
    let world = World::new();
    let out = world.home.join("out");
    fs::create_dir_all(&out).unwrap();
    fs::write(out.join("SKILL.md"), "one").unwrap();
    fs::create_dir_all(world.work.join(".sterna/skills")).unwrap();
    symlink(&out, world.work.join(".sterna/skills/x")).unwrap();
    symlink(&world.work, out.join("circle")).unwrap();
    world.trust();
    assert_eq!(world.why(), None);
    fs::write(out.join("SKILL.md"), "two").unwrap();
    assert_eq!(world.why(), Some(Why::Changed(vec![".sterna/skills/x/SKILL.md".into()])));

    symlink("nowhere", world.work.join(".mcp.json")).unwrap();
    let Some(Why::Refused(why)) = world.why() else { panic!() };
    assert!(why.starts_with("`.mcp.json` cannot be read: "), "{why}");
    fs::remove_file(world.work.join(".mcp.json")).unwrap();
    symlink("/dev/zero", world.work.join(".mcp.json")).unwrap();
    assert_eq!(world.why(), Some(Why::Refused("`.mcp.json` cannot be read: it is no regular file".into())));
}
