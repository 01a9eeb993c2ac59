//! Where Sterna keeps what: one folder under `STERNA_HOME`, else the XDG folders.

use std::path::{Path, PathBuf};

/// Folders and the managed file. Nothing here is made or looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Holds `config.toml`.
    pub config: PathBuf,
    /// Holds `sterna.db` and its blobs.
    pub data: PathBuf,
    pub state: PathBuf,
    pub cache: PathBuf,
    /// The file of whoever runs the machine. What it sets is locked.
    pub managed: PathBuf,
}

/// No place can be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacesError {
    #[error("HOME is not set, so there is no place for Sterna's files")]
    NoHome,
    #[error("{name} is `{given}`, which is not an absolute path (`~` is not expanded here)")]
    NotAbsolute { name: &'static str, given: String },
}

impl Places {
    /// Reads `STERNA_HOME`, else the XDG variables and `HOME`, through `get`.
    pub fn from_env(get: &dyn Fn(&str) -> Option<String>) -> Result<Self, PlacesError> {
        let set = |name: &str| get(name).filter(|value| !value.is_empty());
        let managed = PathBuf::from(MANAGED);
        if let Some(home) = set("STERNA_HOME") {
            let home = absolute("STERNA_HOME", home)?;
            return Ok(Self {
                data: home.join("data"),
                state: home.join("state"),
                cache: home.join("cache"),
                config: home,
                managed,
            });
        }
        let below = |variable: &str, usual: &str| {
            // The XDG specification: a relative value is to be ignored.
            let folder = match set(variable).map(PathBuf::from).filter(|path| path.is_absolute()) {
                Some(folder) => folder,
                None => absolute("HOME", set("HOME").ok_or(PlacesError::NoHome)?)?.join(usual),
            };
            Ok(folder.join("sterna"))
        };
        Ok(Self {
            config: below("XDG_CONFIG_HOME", ".config")?,
            data: below("XDG_DATA_HOME", ".local/share")?,
            state: below("XDG_STATE_HOME", ".local/state")?,
            cache: below("XDG_CACHE_HOME", ".cache")?,
            managed,
        })
    }

    /// The user's configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// The store's database.
    pub fn store_file(&self) -> PathBuf {
        self.data.join("sterna.db")
    }

    /// Temporary files of sessions, a folder for each.
    pub fn tmp(&self) -> PathBuf {
        self.state.join("tmp")
    }

    /// The secret that keys of waits are signed with: one for all processes of these places.
    pub fn wait_key(&self) -> PathBuf {
        self.data.join("wait.key")
    }

    /// Where `scripts/local-model install` puts its model, unless configuration names a folder.
    pub fn local_model(&self, get: &dyn Fn(&str) -> Option<String>) -> PathBuf {
        match get("STERNA_LOCAL_MODEL_DIR").filter(|dir| !dir.is_empty()) {
            Some(dir) => PathBuf::from(dir),
            None => self.data.join("local-model"),
        }
    }

    /// All folders, by the names that people are shown.
    pub fn folders(&self) -> [(&'static str, &Path); 4] {
        [("config", &self.config), ("data", &self.data), ("state", &self.state), ("cache", &self.cache)]
    }
}

fn absolute(name: &'static str, given: String) -> Result<PathBuf, PlacesError> {
    let path = PathBuf::from(&given);
    if path.is_absolute() { Ok(path) } else { Err(PlacesError::NotAbsolute { name, given }) }
}

const MANAGED: &str = "/etc/sterna/config.toml";

#[cfg(test)]
mod tests {
    use super::*;

    fn places(env: &[(&str, &str)]) -> Result<[String; 4], String> {
        let get =
            |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let places = Places::from_env(&get).map_err(|error| error.to_string())?;
        assert_eq!(places.managed, Path::new("/etc/sterna/config.toml"));
        Ok(places.folders().map(|(_, folder)| folder.display().to_string()))
    }

    #[test]
    fn one_folder_or_the_usual_ones() {
        let own = ["/s", "/s/data", "/s/state", "/s/cache"].map(str::to_owned);
        assert_eq!(places(&[("STERNA_HOME", "/s"), ("HOME", "/h"), ("XDG_DATA_HOME", "/d")]), Ok(own));
        let usual =
            ["/h/.config/sterna", "/h/.local/share/sterna", "/h/.local/state/sterna", "/h/.cache/sterna"];
        assert_eq!(places(&[("HOME", "/h"), ("STERNA_HOME", "")]), Ok(usual.map(str::to_owned)));
        let some =
            ["/c/sterna", "/d/sterna", "/h/.local/state/sterna", "/h/.cache/sterna"].map(str::to_owned);
        let env =
            [("HOME", "/h"), ("XDG_CONFIG_HOME", "/c"), ("XDG_DATA_HOME", "/d"), ("XDG_CACHE_HOME", "x")];
        assert_eq!(places(&env), Ok(some));
    }

    #[test]
    fn no_place_is_guessed() {
        let no_home = "HOME is not set, so there is no place for Sterna's files";
        assert_eq!(places(&[]), Err(no_home.into()));
        let tilde = "STERNA_HOME is `~/s`, which is not an absolute path (`~` is not expanded here)";
        assert_eq!(places(&[("STERNA_HOME", "~/s"), ("HOME", "/h")]), Err(tilde.into()));
    }
}
