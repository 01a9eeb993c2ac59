//! What a repository would make git's reading commands do: looks at its settings, and at those of its submodules.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use sterna_policy::{Contacts, contacts, has_long_names, submodules, suspect_remote, suspect_setting};

/// Why a reading command of git's in this folder may run a program, read elsewhere or reach a host. `None`: no setting of the
/// repository makes it. Settings of the person and of the system are theirs.
pub fn git_suspect(folder: &Path) -> Option<String> {
    // What does not exist yet would lie in a repository that does.
    let there = folder.ancestors().find_map(|folder| fs::canonicalize(folder).ok())?;
    match around(&there)? {
        Err(why) => Some(why),
        Ok(repository) => repository.suspect(true, &mut BTreeSet::new()),
    }
}

/// Why git in this folder may run a program although its own hooks are switched off: by a setting, in a submodule, or in the
/// repository that a push to `remote` reaches. An empty remote is the one that the settings name.
pub fn git_outside(folder: &Path, remote: Option<&str>) -> Option<String> {
    // The line may come to make it, with settings that are not seen.
    let Ok(there) = fs::canonicalize(folder) else {
        return Some(format!("{} is not there yet", folder.display()));
    };
    let repository = match around(&there)? {
        Err(why) => return Some(why),
        Ok(repository) => repository,
    };
    repository
        .suspect(true, &mut BTreeSet::new())
        .or_else(|| repository.runs_in_modules())
        .or_else(|| remote.and_then(|remote| repository.receiver(remote)))
}

/// Where git in this folder goes when it talks to `remote`, and whether it pushes. An empty remote is one that the settings
/// name. Settings of the person and of the system are theirs.
pub fn git_contacts(folder: &Path, remote: &str, push: bool) -> Contacts {
    let unseen = |why: String| Contacts { hosts: vec!["*".to_owned()], suspect: Some(why) };
    let Ok(there) = fs::canonicalize(folder) else {
        return unseen(format!("{} is not there yet, and", folder.display()));
    };
    match around(&there) {
        None => Contacts::default(),
        Some(Err(why)) => unseen(why),
        Some(Ok(repository)) => repository.contacts(remote, push).unwrap_or_else(unseen),
    }
}

/// The repository that a folder lies in.
fn around(there: &Path) -> Option<Result<Repository, String>> {
    there.ancestors().find_map(at)
}

struct Repository {
    root: PathBuf,
    git: PathBuf,
    common: PathBuf,
}

/// The repository whose work tree, or whose own folder, this is. git goes on upwards from what is none, and so must this.
fn at(folder: &Path) -> Option<Result<Repository, String>> {
    let link = folder.join(".git");
    let found = |git: PathBuf| match common_of(&git) {
        Err(why) => Some(Err(why)),
        Ok(None) => None,
        Ok(Some(common)) => Some(Ok(Repository { root: folder.to_owned(), git, common })),
    };
    match fs::metadata(&link) {
        Ok(meta) if meta.is_dir() => found(link).or_else(|| found(folder.to_owned())),
        Ok(meta) if meta.is_file() => match text_of(&link) {
            Err(why) => Some(Err(why)),
            Ok(text) => match text.as_deref().and_then(|text| text.strip_prefix("gitdir:")) {
                Some(path) => found(folder.join(path.trim()))
                    .or_else(|| Some(Err(format!("{} leads to no repository", link.display())))),
                None => Some(Err(format!("{} is not understood", link.display()))),
            },
        },
        Ok(_) => Some(Err(format!("{} is neither a folder nor a file", link.display()))),
        // A repository without a work tree.
        Err(_) => found(folder.to_owned()),
    }
}

/// Where a repository keeps what its work trees share. `None`: git takes the folder for none. An error: it may or may not.
fn common_of(git: &Path) -> Result<Option<PathBuf>, String> {
    let head = git.join("HEAD");
    let Ok(meta) = fs::symlink_metadata(&head) else { return Ok(None) };
    let common = match text_of(&git.join("commondir"))? {
        None => git.to_owned(),
        Some(path) => git.join(path.trim_end_matches('\n')),
    };
    for part in [common.join("objects"), common.join("refs")] {
        if fs::symlink_metadata(&part).is_err() {
            return Ok(None);
        }
        if fs::metadata(part.join(".")).is_err() {
            return Err(format!("{} cannot be looked at", part.display()));
        }
    }
    let names_a_branch = |text: &str| text.trim_start().starts_with("refs/");
    let is_head = if meta.is_symlink() {
        fs::read_link(&head).is_ok_and(|to| to.to_str().is_some_and(names_a_branch))
    } else {
        let text = text_of(&head)?.unwrap_or_default();
        let hash = text.len() >= 40 && text.bytes().take(40).all(|b| b.is_ascii_hexdigit());
        text.strip_prefix("ref:").map_or(hash, names_a_branch)
    };
    if is_head { Ok(Some(common)) } else { Err(format!("{} is not understood", head.display())) }
}

impl Repository {
    /// `main`: the command itself runs in it.
    fn suspect(&self, main: bool, seen: &mut BTreeSet<PathBuf>) -> Option<String> {
        let git = fs::canonicalize(&self.git).unwrap_or_else(|_| self.git.clone());
        if !seen.insert(git.clone()) {
            return None;
        }
        if seen.len() > MAX_REPOSITORIES {
            return Some(format!("more than {MAX_REPOSITORIES} submodules"));
        }
        let here = fs::canonicalize(&self.root).ok();
        let worktree_is_here = |value: &str| here.is_some() && fs::canonicalize(git.join(value)).ok() == here;
        let mut long_names = false;
        for file in self.configs() {
            let text = match text_of(&file) {
                Ok(Some(text)) => text,
                Ok(None) => continue,
                Err(why) => return Some(why),
            };
            if let Some(what) = suspect_setting(&text, main, &worktree_is_here) {
                return Some(format!("{what} in {}", file.display()));
            }
            long_names |= has_long_names(&text);
        }
        let index = match bytes_of(&self.git.join("index"), MAX_INDEX) {
            Ok(Some(index)) => index,
            Ok(None) => return None,
            Err(why) => return Some(why),
        };
        let subs = match submodules(&index, long_names) {
            Ok(subs) => subs,
            Err(why) => return Some(format!("{why} ({})", self.git.join("index").display())),
        };
        subs.iter().find_map(|sub| match at(&self.root.join(sub)) {
            None => None,
            Some(Err(why)) => Some(why),
            Some(Ok(repository)) => repository.suspect(false, seen),
        })
    }
}

impl Repository {
    fn configs(&self) -> Vec<PathBuf> {
        let mut folders = vec![&self.common];
        if self.common != self.git {
            folders.push(&self.git);
        }
        folders.into_iter().flat_map(|folder| configs_of(folder)).collect()
    }

    /// The repositories of submodules, checked out or not.
    fn modules(&self) -> Result<Vec<PathBuf>, String> {
        let mut folders = vec![self.common.join("modules")];
        let mut found = Vec::new();
        let mut looked_at = 0;
        while let Some(folder) = folders.pop() {
            for module in names_in(&folder).map(|name| folder.join(name)) {
                looked_at += 1;
                if looked_at > MAX_REPOSITORIES {
                    return Err(format!("more than {MAX_REPOSITORIES} submodules"));
                }
                if module.is_symlink() {
                    return Err(format!("{} is a link", module.display()));
                }
                if !module.is_dir() {
                    continue;
                }
                if !module.join("HEAD").exists() {
                    // A submodule's name may have slashes.
                    folders.push(module);
                    continue;
                }
                folders.push(module.join("modules"));
                found.push(module);
            }
        }
        Ok(found)
    }

    /// Why git may run a program in a submodule: hooks are not switched off there.
    fn runs_in_modules(&self) -> Option<String> {
        let modules = match self.modules() {
            Ok(modules) => modules,
            Err(why) => return Some(why),
        };
        for module in modules {
            if let Some(hook) = names_in(&module.join("hooks")).find(|hook| !hook.ends_with(".sample")) {
                return Some(format!("{} has the hook `{hook}`", module.display()));
            }
            let here = |value: &str| {
                fs::canonicalize(module.join(value)).is_ok_and(|tree| tree.starts_with(&self.root))
            };
            for file in configs_of(&module) {
                match text_of(&file) {
                    Err(why) => return Some(why),
                    Ok(None) => {}
                    Ok(Some(text)) => {
                        if let Some(what) = suspect_setting(&text, false, &here) {
                            return Some(format!("{what} in {}", file.display()));
                        }
                    }
                }
            }
        }
        None
    }

    /// Where git goes that talks to a remote; what is fetched is so for submodules, too.
    fn contacts(&self, remote: &str, push: bool) -> Result<Contacts, String> {
        let mut all = contacts(&texts_of(&self.configs())?, remote, push);
        if self.older_remotes().is_some() {
            all.hosts.push("*".to_owned());
        }
        if !push {
            let named = contacts(&texts_of(&[self.root.join(".gitmodules")])?, "", false);
            all.hosts.extend(named.hosts);
            for module in self.modules()? {
                let module = contacts(&texts_of(&configs_of(&module))?, "", false);
                all.hosts.extend(module.hosts);
                all.suspect = all.suspect.or(module.suspect);
            }
        }
        Ok(all)
    }

    /// Where an older way to name remotes is used.
    fn older_remotes(&self) -> Option<PathBuf> {
        let folders = [self.common.join("remotes"), self.common.join("branches")];
        folders.into_iter().find(|folder| names_in(folder).next().is_some())
    }

    /// Why who receives a push may be a repository on this machine.
    fn receiver(&self, remote: &str) -> Option<String> {
        if let Some(folder) = self.older_remotes() {
            return Some(format!("{} names remotes", folder.display()));
        }
        texts_of(&self.configs()).map_or_else(Some, |texts| suspect_remote(&texts, remote))
    }
}

fn configs_of(git: &Path) -> [PathBuf; 2] {
    [git.join("config"), git.join("config.worktree")]
}

/// Those of these files that there are.
fn texts_of(files: &[PathBuf]) -> Result<Vec<String>, String> {
    files.iter().filter_map(|file| text_of(file).transpose()).collect()
}

fn names_in(folder: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

/// `None`: there is no such file. An error says why it cannot be looked at.
fn text_of(path: &Path) -> Result<Option<String>, String> {
    let bytes = bytes_of(path, MAX_CONFIG)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn bytes_of(path: &Path, max: u64) -> Result<Option<Vec<u8>>, String> {
    let cannot = |why: &dyn std::fmt::Display| format!("{} cannot be looked at: {why}", path.display());
    match fs::metadata(path) {
        Ok(meta) if !meta.is_file() => Err(cannot(&"it is no file")),
        Ok(meta) if meta.len() > max => Err(cannot(&"it is too large")),
        Ok(_) => fs::read(path).map(Some).map_err(|error| cannot(&error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot(&error)),
    }
}

const MAX_REPOSITORIES: usize = 256;
const MAX_CONFIG: u64 = 1 << 20;
const MAX_INDEX: u64 = 256 << 20;
