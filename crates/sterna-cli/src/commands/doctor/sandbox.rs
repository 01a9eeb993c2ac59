//! The levels of the sandbox, tried just now.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use serde::Serialize;
use sterna_model::SandboxWish;
use sterna_shell::sandbox::{Gap, Level, Prober, Report};

use crate::commands::shim;
use crate::context::Context;

/// How commands are confined.
#[derive(Debug, Serialize)]
pub(super) struct Sandbox {
    /// The level that commands run on, as it is configured. `none` where none can be had.
    level: Level,
    /// What is configured.
    wish: &'static str,
    /// Best first.
    levels: Vec<Tried>,
}

#[derive(Debug, Serialize)]
struct Tried {
    level: Level,
    holds: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
    /// What its program says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    cannot_hold: Vec<Gap>,
}

/// A folder that goes with it.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> io::Result<Self> {
        let name = format!("sterna-doctor-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        // Ours alone: one that is there already is somebody else's.
        DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

impl Sandbox {
    /// Tries all levels. What is found is kept where something is kept already; a home that is empty stays empty.
    pub(super) async fn look(cx: &Context) -> Self {
        let helper = shim::helper();
        let report = if cx.places.state.is_dir() {
            Prober::new(helper, &cx.places.state).probe().await
        } else {
            match Scratch::make() {
                Ok(scratch) => Prober::new(helper, &scratch.0).probe().await,
                Err(error) => Report::none(&format!("no temporary folder can be made to try it: {error}")),
            }
        };
        let wish = cx.settings.sandbox.unwrap_or_default();
        let holds = |level: Level| report.tried(level).is_some_and(|tried| tried.fault.is_none());
        let level = match wish {
            SandboxWish::Auto | SandboxWish::Required => report.best(),
            SandboxWish::Landlock if holds(Level::Landlock) => Level::Landlock,
            SandboxWish::Bubblewrap if holds(Level::Bubblewrap) => Level::Bubblewrap,
            SandboxWish::Landlock | SandboxWish::Bubblewrap | SandboxWish::None => Level::None,
        };
        let levels = report.levels.into_iter().filter(|tried| tried.level != Level::None);
        let levels = levels.map(|tried| Tried {
            level: tried.level,
            holds: tried.fault.is_none(),
            fault: tried.fault,
            version: tried.version,
            cannot_hold: tried.cannot_hold,
        });
        Self { level, wish: wish.word(), levels: levels.collect() }
    }

    /// What commands meet that have to run confined and cannot.
    pub(super) fn problem(&self) -> Option<(String, String)> {
        let strict = SandboxWish::ALL.into_iter().any(|wish| wish.word() == self.wish && wish.is_strict());
        (strict && self.level == Level::None).then(|| {
            let what = format!("sandbox = \"{}\", and it cannot be had: no command runs", self.wish);
            (what, "the part `sandbox` of this report says why".into())
        })
    }

    pub(super) fn text(&self, good: &dyn Fn(bool, &str) -> String) -> String {
        let confined = self.level != Level::None;
        let told = match (confined, self.wish) {
            (true, _) => format!("commands run under {}", self.level),
            (false, "none") => {
                "commands are not confined, as configured: those that write ask first".to_owned()
            }
            (false, "auto") => "commands cannot be confined here: those that write ask first".to_owned(),
            (false, wish) => format!("sandbox = \"{wish}\" cannot be had: no command runs"),
        };
        let mut text = good(confined, &told);
        for Tried { level, fault, version, cannot_hold, .. } in &self.levels {
            let version = version.as_ref().map(|version| format!(" ({version})")).unwrap_or_default();
            text += &match fault {
                Some(why) => good(false, &format!("{level}{version}: {why}")),
                None => {
                    let gaps: Vec<&str> = cannot_hold.iter().map(|gap| gap.told()).collect();
                    good(true, &format!("{level}{version} works; it cannot hold {}", gaps.join("; ")))
                }
            };
        }
        text
    }
}
