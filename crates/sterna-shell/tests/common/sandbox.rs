//! Levels of the sandbox for the tests: a machine that does not offer one fails them, unless it is excused by name.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sterna_model::EffectKey;
use sterna_shell::sandbox::{Confinement, Gap, Level, Network, Prober, Report};
use sterna_shell::shim::{End, Event, Exit, Handle, Helper, Plan, Run, Shims};

/// The test's own program, which becomes shim, helper and attempts.
pub fn helper_program() -> PathBuf {
    std::env::var_os("STERNA_TEST_HELPER")
        .map_or_else(|| env!("CARGO_BIN_EXE_sterna-shim-test").into(), PathBuf::from)
}

pub fn helper() -> Helper {
    Helper::new(helper_program(), ["shim"])
}

/// A workspace below `/tmp`, a session's folder, and a place for what must stay out of reach.
pub struct World {
    pub folder: tempfile::TempDir,
    pub shims: Shims,
    pub report: Report,
}

pub async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    for name in ["work", "outside", "hidden", "tmp"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    let report = Prober::new(helper(), folder.path().join("state")).report().await;
    World { shims: Shims::new(folder.path().join("spool"), Some(helper())), folder, report }
}

impl World {
    pub fn at(&self, name: &str) -> PathBuf {
        std::fs::canonicalize(self.folder.path()).unwrap().join(name)
    }

    /// Writes `work`, does not see `hidden`, and has no network. `None` when the level was excused.
    pub fn confinement(&self, level: Level) -> Option<Confinement> {
        let mut confinement = Confinement::new(level, self.at("tmp"));
        confinement.writable = vec![self.at("work")];
        confinement.unreadable = vec![self.at("hidden")];
        confinement.readable = vec![self.at("outside"), std::fs::canonicalize(helper_program()).unwrap()];
        match self.report.at(level, confinement) {
            Ok(confinement) => Some(confinement),
            Err(error) => {
                let excused = std::env::var("STERNA_NO_SANDBOX_TESTS").unwrap_or_default();
                assert!(
                    excused.split(',').any(|name| name.trim() == level.as_str()),
                    "{error}\nset STERNA_NO_SANDBOX_TESTS={level} to test without it"
                );
                // What a person sees of a test that did less than it could.
                drop(std::io::Write::write_all(
                    &mut std::io::stderr(),
                    format!("not tested: {error}\n").as_bytes(),
                ));
                None
            }
        }
    }

    pub fn gaps(&self, level: Level, network: &Network) -> Vec<Gap> {
        self.report.gaps(&Confinement { network: network.clone(), ..Confinement::new(level, self.at("tmp")) })
    }

    pub fn plan(&self, line: &str, confine: Option<Confinement>) -> Plan {
        let path = std::env::var("PATH").unwrap();
        let env = [("PATH".to_owned(), path), ("LC_ALL".to_owned(), "C".to_owned())].into();
        let mut plan = Plan::new(Run::Shell { line: line.to_owned() }, self.at("work"), env);
        plan.grace_ms = 2_000;
        plan.confine = confine;
        plan
    }

    pub async fn start(&self, plan: &Plan) -> Handle {
        self.shims.start(&key(), 1, plan).await.unwrap()
    }

    /// Runs a line to its end.
    pub async fn run(&self, line: &str, confine: Option<Confinement>) -> (Exit, String) {
        read(&mut self.start(&self.plan(line, confine)).await).await
    }
}

/// A new one each time.
pub fn key() -> EffectKey {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(1);
    format!("demo/1/{}/tool/0", COUNT.fetch_add(1, Ordering::Relaxed)).parse().unwrap()
}

pub async fn read(handle: &mut Handle) -> (Exit, String) {
    let mut output = Vec::new();
    loop {
        match handle.next().await.unwrap() {
            Event::Output(bytes) => output.extend(bytes),
            Event::End(End::Exited { exit, .. }) => {
                return (exit, String::from_utf8_lossy(&output).into_owned());
            }
            Event::End(other) => panic!("{other:?} after {}", String::from_utf8_lossy(&output)),
        }
    }
}

/// As one word of a shell.
pub fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

/// Runs tests of this program once more, as a person without rights. Only root can.
pub fn as_nobody(tests: &[&str]) {
    let room = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir_in("/var/lib").unwrap();
    for folder in [room.path(), outside.path()] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    // Where they are built, nobody may look.
    let copy = |from: PathBuf, name: &str| {
        let to = room.path().join(name);
        std::fs::copy(from, &to).unwrap();
        to
    };
    let program = copy(std::env::current_exe().unwrap(), "tests");
    let helper = copy(helper_program(), "helper");
    for test in tests {
        let nobody = NOBODY.to_string();
        let output = std::process::Command::new("setpriv")
            .args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups", "--"])
            .arg(&program)
            .args(["--exact", test, "--nocapture"])
            .env("STERNA_TEST_HELPER", &helper)
            .env("STERNA_TEST_OUTSIDE", outside.path())
            .env("TMPDIR", room.path())
            .env("HOME", room.path())
            .current_dir(room.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{test}: {said}");
        assert!(said.contains("1 passed"), "{test}: {said}");
    }
}

const NOBODY: u32 = 65534;
