//! The usual confinement: what of a person's files a build needs, and what no command needs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::git::Parts;
use super::{Confinement, Level, Network, ProbeError, Report};

/// Where things are for one session.
#[derive(Debug, Clone, Default)]
pub struct Places {
    pub home: Option<PathBuf>,
    /// The workspace, and folders that were added to it.
    pub workspace: Vec<PathBuf>,
    /// Our own configuration, state and data: never written by a command.
    pub own: Vec<PathBuf>,
    /// Our own keys: never read by a command.
    pub secret: Vec<PathBuf>,
    /// The session's folder for temporary files. Kept through the session; whoever ends the session removes it.
    pub tmp: PathBuf,
    /// The command's environment: some tools say there where their caches are.
    pub env: BTreeMap<String, String>,
}

impl Places {
    /// Reads the system but no secret, writes the workspace, `tmp` and caches of tools. On the level that is asked for,
    /// else on the best that `report` has, which may be none.
    pub fn confinement(
        &self,
        report: &Report,
        level: Option<Level>,
        network: Network,
    ) -> Result<Confinement, ProbeError> {
        let level = level.unwrap_or_else(|| report.best());
        let mut confinement = Confinement { network, ..Confinement::new(level, &self.tmp) };
        confinement = report.at(level, confinement)?;
        for root in &self.workspace {
            let root = std::fs::canonicalize(root).unwrap_or_else(|_| root.clone());
            let parts = Parts::of(&root, confinement.level);
            confinement.read_only.extend(parts.read_only);
            confinement.writable.extend(parts.writable);
            // Project configuration decides what runs outside of the sandbox.
            confinement.read_only.push(root.join(".sterna"));
            confinement.writable.push(root);
        }
        confinement.writable.extend(self.caches());
        confinement.read_only.extend(self.own.iter().cloned());
        confinement.unreadable.extend(self.secret.iter().cloned());
        confinement.unreadable.extend(SECRETS.iter().map(PathBuf::from));
        if let Some(home) = &self.home {
            confinement.unreadable.extend(HOME_SECRETS.iter().map(|name| home.join(name)));
        }
        let cargo = self.place("CARGO_HOME", ".cargo").into_iter();
        confinement
            .unreadable
            .extend(cargo.flat_map(|cargo| ["credentials", "credentials.toml"].map(|name| cargo.join(name))));
        Ok(confinement)
    }

    /// Caches that are there. One of a tool that is installed is made, as the tool itself would have done.
    fn caches(&self) -> Vec<PathBuf> {
        let mut caches = Vec::new();
        let cache_home = self.place("XDG_CACHE_HOME", ".cache");
        for cache in CACHES {
            let base = match cache.at {
                At::Home(default) => self.place(cache.variable, default),
                At::Cache(default) => {
                    self.variable(cache.variable).or_else(|| Some(cache_home.as_ref()?.join(default)))
                }
            };
            let Some(base) = base else { continue };
            let wanted: Vec<PathBuf> = match cache.parts {
                [] => vec![base],
                parts => parts.iter().map(|part| base.join(part)).collect(),
            };
            for path in wanted {
                if !path.exists() && cache.made_for.is_some_and(|program| self.is_installed(program)) {
                    // Without it, the tool says what it could not write.
                    drop(std::fs::create_dir_all(&path));
                }
                if path.exists() {
                    caches.push(path);
                }
            }
        }
        caches
    }

    fn place(&self, variable: &str, default: &str) -> Option<PathBuf> {
        self.variable(variable).or_else(|| Some(self.home.as_ref()?.join(default)))
    }

    fn variable(&self, name: &str) -> Option<PathBuf> {
        self.env.get(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }

    fn is_installed(&self, program: &str) -> bool {
        let path = self.env.get("PATH").map_or("", String::as_str);
        path.split(':').any(|folder| folder.starts_with('/') && Path::new(folder).join(program).is_file())
    }
}

struct Cache {
    /// The variable that moves it, or nothing.
    variable: &'static str,
    at: At,
    /// What of it is a cache; all of it when empty.
    parts: &'static [&'static str],
    /// It is made when this program is on PATH.
    made_for: Option<&'static str>,
}

#[derive(Clone, Copy)]
enum At {
    Home(&'static str),
    Cache(&'static str),
}

const fn cache(
    variable: &'static str,
    at: At,
    parts: &'static [&'static str],
    made_for: Option<&'static str>,
) -> Cache {
    Cache { variable, at, parts, made_for }
}

/// Where build tools keep what they fetched and made. No folder with programs that a person starts is here.
const CACHES: &[Cache] = &[
    cache("CARGO_HOME", At::Home(".cargo"), &["registry", "git"], Some("cargo")),
    cache(
        "CARGO_HOME",
        At::Home(".cargo"),
        &[".package-cache", ".package-cache-mutate", ".global-cache"],
        None,
    ),
    cache("npm_config_cache", At::Home(".npm"), &[], Some("npm")),
    cache("PIP_CACHE_DIR", At::Cache("pip"), &[], Some("pip")),
    cache("UV_CACHE_DIR", At::Cache("uv"), &[], Some("uv")),
    cache("POETRY_CACHE_DIR", At::Cache("pypoetry"), &[], Some("poetry")),
    cache("GOCACHE", At::Cache("go-build"), &[], Some("go")),
    cache("GOPATH", At::Home("go"), &["pkg"], Some("go")),
    cache("GOMODCACHE", At::Home("go/pkg/mod"), &[], None),
    cache("YARN_CACHE_FOLDER", At::Cache("yarn"), &[], Some("yarn")),
    cache("", At::Home(".yarn/berry/cache"), &[], None),
    cache("", At::Home(".local/share/pnpm/store"), &[], Some("pnpm")),
    cache("", At::Cache("pnpm"), &[], Some("pnpm")),
    cache("", At::Home(".bun/install/cache"), &[], Some("bun")),
    cache("DENO_DIR", At::Cache("deno"), &[], Some("deno")),
    cache("", At::Cache("node-gyp"), &[], None),
    cache("", At::Home(".m2/repository"), &[], Some("mvn")),
    cache(
        "GRADLE_USER_HOME",
        At::Home(".gradle"),
        &["caches", "daemon", "native", "notifications"],
        Some("gradle"),
    ),
    cache("", At::Home(".ivy2/cache"), &[], None),
    cache("", At::Cache("coursier"), &[], None),
    cache("NUGET_PACKAGES", At::Home(".nuget/packages"), &[], Some("dotnet")),
    cache("CCACHE_DIR", At::Cache("ccache"), &[], Some("ccache")),
    cache("", At::Home(".ccache"), &[], None),
    cache("SCCACHE_DIR", At::Cache("sccache"), &[], Some("sccache")),
    cache("", At::Cache("bazel"), &[], Some("bazel")),
    cache("ZIG_GLOBAL_CACHE_DIR", At::Cache("zig"), &[], Some("zig")),
    cache("", At::Home(".bundle/cache"), &[], None),
    cache("COMPOSER_CACHE_DIR", At::Cache("composer"), &[], Some("composer")),
    cache("", At::Home(".cabal/packages"), &[], None),
    cache("", At::Home(".pub-cache"), &["hosted", "git"], Some("dart")),
    cache("", At::Home(".hex/packages"), &[], None),
    cache("", At::Cache("pre-commit"), &[], None),
    cache("RUFF_CACHE_DIR", At::Cache("ruff"), &[], None),
];

/// Keys, passwords, and sessions of people and programs, beneath the home folder. The page `docs/sandbox.md` lists them.
const HOME_SECRETS: &[&str] = &[
    // Keys and passwords of the system's own tools.
    ".ssh",
    ".gnupg",
    ".netrc",
    ".pgpass",
    ".my.cnf",
    ".password-store",
    ".age",
    ".config/age",
    ".config/sops",
    // Clouds and clusters.
    ".aws",
    ".azure",
    ".config/gcloud",
    ".kube",
    ".docker/config.json",
    ".docker/run",
    ".docker/desktop",
    ".config/containers/auth.json",
    ".oci",
    ".config/doctl",
    ".config/rclone",
    ".s3cfg",
    ".boto",
    ".terraform.d/credentials.tfrc.json",
    ".vault-token",
    // Code hosts and registries.
    ".git-credentials",
    ".config/git/credentials",
    ".config/gh",
    ".config/hub",
    ".config/glab-cli",
    ".npmrc",
    ".yarnrc.yml",
    ".pypirc",
    ".gem/credentials",
    ".m2/settings-security.xml",
    // Keyrings and password managers.
    ".local/share/keyrings",
    ".local/share/kwalletd",
    ".config/keepassxc",
    ".config/op",
    ".1password",
    ".config/1Password",
    ".config/Bitwarden",
    ".config/Bitwarden CLI",
    // Browsers and mail: cookies are as good as passwords.
    ".mozilla",
    ".thunderbird",
    ".config/google-chrome",
    ".config/chromium",
    ".config/BraveSoftware",
    ".config/microsoft-edge",
    ".config/vivaldi",
    ".config/opera",
    "snap/firefox",
    "snap/chromium",
    ".var/app/org.mozilla.firefox",
    ".var/app/com.google.Chrome",
    ".var/app/org.chromium.Chromium",
    // Other agents' logins.
    ".claude/.credentials.json",
    ".codex/auth.json",
    ".gemini/oauth_creds.json",
    ".config/github-copilot",
    // What was typed, passwords too.
    ".bash_history",
    ".zsh_history",
    ".python_history",
    ".psql_history",
    ".mysql_history",
    ".node_repl_history",
    ".local/share/fish/fish_history",
    // Money.
    ".bitcoin",
    ".ethereum",
    ".electrum",
    ".config/solana",
];

/// The same, of the machine.
const SECRETS: &[&str] = &[
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/ssh/ssh_host_rsa_key",
    "/etc/ssh/ssh_host_ecdsa_key",
    "/etc/ssh/ssh_host_ed25519_key",
    "/etc/ssl/private",
    "/etc/NetworkManager/system-connections",
    "/var/lib/docker",
    "/var/lib/containerd",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_confinement_names_workspace_caches_and_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let home = std::fs::canonicalize(folder.path()).unwrap();
        for name in [".cargo/registry", ".cargo/bin", "moved/npm", "bin", "work", ".sterna"] {
            std::fs::create_dir_all(home.join(name)).unwrap();
        }
        for program in ["go", "pip"] {
            std::fs::write(home.join("bin").join(program), "").unwrap();
        }
        let env = [("npm_config_cache", home.join("moved/npm")), ("PATH", home.join("bin"))];
        let env = env.map(|(name, value)| (name.to_owned(), value.display().to_string())).into();
        let places = Places {
            home: Some(home.clone()),
            workspace: vec![home.join("work")],
            own: vec![home.join(".sterna")],
            secret: vec![home.join(".sterna/key")],
            tmp: home.join("tmp"),
            env,
        };
        let confinement = places.confinement(&Report::none("for a test"), None, Network::None).unwrap();
        assert_eq!(confinement.level, Level::None);
        let refused = places.confinement(&Report::none("for a test"), Some(Level::Landlock), Network::None);
        assert_eq!(
            refused.unwrap_err().to_string(),
            "sandbox level landlock is not to be had here: for a test"
        );
        let writable = ["work", ".cargo/registry", "moved/npm", ".cache/pip", ".cache/go-build", "go/pkg"];
        let mut want: Vec<PathBuf> = writable.iter().map(|name| home.join(name)).collect();
        want.sort();
        let mut got = confinement.writable.clone();
        got.sort();
        assert_eq!(got, want);
        assert!(home.join(".cache/go-build").is_dir() && !home.join(".cargo/git").exists());
        for name in [".ssh", ".gnupg", ".aws", ".config/gcloud", ".kube", ".docker/config.json", ".mozilla"] {
            assert!(confinement.unreadable.contains(&home.join(name)), "{name}");
        }
        for name in [".sterna/key", ".cargo/credentials.toml", ".local/share/keyrings"] {
            assert!(confinement.unreadable.contains(&home.join(name)), "{name}");
        }
        assert!(confinement.read_only.contains(&home.join(".sterna")));
        assert!(confinement.read_only.contains(&home.join("work/.sterna")));
    }
}
