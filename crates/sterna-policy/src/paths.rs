//! Paths as text: joining, normalising and comparing without looking at a file system.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

/// The last component of a program's path.
pub(crate) fn base_name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

/// Removes `.` and resolves `..` by name alone. Absolute paths stay absolute.
pub(crate) fn normalise(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                if !out.pop() {
                    out.push("/");
                }
            }
            Component::RootDir => out.push("/"),
            Component::Prefix(_) | Component::Normal(_) => out.push(part),
        }
    }
    if out.as_os_str().is_empty() { PathBuf::from("/") } else { out }
}

/// Whether `path` is `folder` or lies in it.
pub(crate) fn within(path: &Path, folder: &Path) -> bool {
    path.starts_with(folder)
}

/// As `within`, taking upper and lower case for the same: some file systems do.
pub(crate) fn within_any_case(path: &Path, folder: &Path) -> bool {
    let mut parts = path.components();
    folder
        .components()
        .all(|want| parts.next().is_some_and(|got| same_any_case(got.as_os_str(), want.as_os_str())))
}

fn same_any_case(a: &OsStr, b: &OsStr) -> bool {
    a == b || a.to_string_lossy().to_lowercase() == b.to_string_lossy().to_lowercase()
}

/// Device files that hold nothing and change nothing.
pub(crate) fn is_harmless_device(path: &Path) -> bool {
    let Some(text) = path.to_str() else { return false };
    let Some(name) = text.strip_prefix("/dev/") else { return false };
    // What a shell gives a command to read in place of `<(…)`.
    name == "fd/63"
        || ["null", "zero", "full", "stdin", "stdout", "stderr", "tty", "random", "urandom"].contains(&name)
}

/// Whether a path is a device, or a name in `/dev` that a shell gives a meaning of its own.
pub(crate) fn is_device(path: &Path) -> bool {
    within(path, Path::new("/dev")) && !within(path, Path::new("/dev/shm")) && !is_harmless_device(path)
}
