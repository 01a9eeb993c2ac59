//! The arguments of `bwrap` for a confinement.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::confinement::within;
use super::{Confinement, Network};

/// Arguments, and the descriptors that they name by number.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    pub(crate) words: Vec<OsString>,
    pub(crate) inherit: Vec<OwnedFd>,
}

impl Arguments {
    pub(crate) fn add(&mut self, words: &[&str]) {
        self.words.extend(words.iter().map(OsString::from));
    }

    /// An option whose value is a descriptor.
    pub(crate) fn add_fd(&mut self, option: &str, fd: OwnedFd) {
        self.words.extend([option.into(), fd.as_raw_fd().to_string().into()]);
        self.inherit.push(fd);
    }

    fn add_paths(&mut self, option: &str, paths: &[&Path]) {
        self.words.push(option.into());
        self.words.extend(paths.iter().map(|path| path.as_os_str().to_owned()));
    }
}

/// Namespaces, mounts and the folder to start in; not the filter of system calls, nor the command. The confinement is
/// a resolved one.
pub(crate) fn arguments(confinement: &Confinement, cwd: &Path) -> io::Result<Arguments> {
    let mut all = Arguments::default();
    all.add(&["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]);
    match confinement.network {
        // With a domain list, only a forwarder inside reaches the proxy.
        Network::None | Network::Domains(_) => all.add(&["--unshare-net"]),
        Network::All => {}
    }
    all.add(&["--die-with-parent", "--cap-drop", "ALL"]);
    all.add(&["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]);
    for part in PROC_CLOSED {
        all.add(&["--ro-bind-try", part, part]);
    }
    let places = places(confinement);
    for (path, place) in &places {
        match place {
            Place::Empty => all.add_paths("--tmpfs", &[path]),
            Place::Tmp => all.add_paths("--bind", &[&confinement.tmp, path]),
            Place::Writable => all.add_paths("--bind", &[path, path]),
            Place::ReadOnly => all.add_paths("--ro-bind", &[path, path]),
            Place::Closed if path.is_dir() => {
                let inner = places.iter().any(|(other, _)| other != path && within(other, path));
                // What lies open beneath it can be reached, and nothing else be listed.
                all.add(&["--perms", if inner { "0111" } else { "0000" }]);
                all.add_paths("--tmpfs", &[path]);
            }
            Place::Closed => {
                all.add(&["--perms", "0000"]);
                all.add_fd("--ro-bind-data", File::open("/dev/null")?.into());
                all.words.push(path.into());
            }
        }
    }
    // Only now: what lies within them has its place.
    for (path, place) in &places {
        match place {
            Place::Empty => all.add_paths("--remount-ro", &[path]),
            Place::Closed if path.is_dir() => all.add_paths("--remount-ro", &[path]),
            Place::Closed | Place::Tmp | Place::Writable | Place::ReadOnly => {}
        }
    }
    all.add_paths("--chdir", &[cwd]);
    Ok(all)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Everybody's: nothing is in it but what is put there.
    Empty,
    /// The session's own temporary files.
    Tmp,
    Writable,
    ReadOnly,
    Closed,
}

/// What is mounted where, outer before inner. Each path is there once.
fn places(confinement: &Confinement) -> Vec<(PathBuf, Place)> {
    let mut places: Vec<(PathBuf, Place)> = Vec::new();
    let mut put = |path: &Path, place: Place| {
        if !places.iter().any(|(there, _)| there == path) {
            places.push((path.to_owned(), place));
        }
    };
    // Stricter lists first: the first word for a path is kept.
    confinement.unreadable.iter().for_each(|path| put(path, Place::Closed));
    confinement.read_only.iter().for_each(|path| put(path, Place::ReadOnly));
    confinement.writable.iter().for_each(|path| put(path, Place::Writable));
    confinement.readable.iter().for_each(|path| put(path, Place::ReadOnly));
    for path in RUN_KEPT.iter().filter_map(|path| std::fs::canonicalize(path).ok()) {
        put(&path, Place::ReadOnly);
    }
    for path in ["/tmp", "/var/tmp"].iter().filter_map(|path| std::fs::canonicalize(path).ok()) {
        put(&path, Place::Tmp);
    }
    if let Ok(path) = std::fs::canonicalize("/run") {
        put(&path, Place::Empty);
    }
    for path in pins(confinement) {
        put(&path, Place::Writable);
    }
    places.sort_by_key(|(path, _)| path.components().count());
    places
}

/// The folders between something that can be written and something beneath it that cannot. Each becomes a mount of its
/// own, so that nobody can rename it and put another in its place.
fn pins(confinement: &Confinement) -> Vec<PathBuf> {
    let mut pins = Vec::new();
    for path in confinement.read_only.iter().chain(&confinement.unreadable) {
        let mut above = Vec::new();
        for folder in path.ancestors().skip(1) {
            if confinement.writable.iter().any(|writable| writable == folder) {
                pins.append(&mut above);
                break;
            }
            let lists = [&confinement.read_only, &confinement.unreadable, &confinement.readable];
            if lists.iter().any(|list| list.iter().any(|listed| listed == folder)) {
                break;
            }
            above.push(folder.to_owned());
        }
    }
    pins
}

/// Parts of `/proc` through which the user 0 changes the machine, also without capabilities.
const PROC_CLOSED: &[&str] = &["/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/acpi"];
/// What stays of `/run`: name resolution, and where some systems keep their programs and drivers.
const RUN_KEPT: &[&str] = &[
    "/run/systemd/resolve",
    "/run/current-system",
    "/run/booted-system",
    "/run/opengl-driver",
    "/run/host",
    "/run/resolvconf",
    "/run/NetworkManager/resolv.conf",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Level;

    #[test]
    fn outer_comes_before_inner_and_folders_above_a_carve_out_are_pinned() {
        let mut confinement = Confinement::new(Level::Bubblewrap, "/state/tmp/demo");
        confinement.writable = vec!["/home/u/work".into(), "/tmp/other".into()];
        confinement.read_only = vec!["/home/u/work/.git/modules/a/hooks".into(), "/state".into()];
        confinement.unreadable = vec!["/home/u/.ssh".into(), "/home/u/work/.env".into()];
        let places = places(&confinement);
        let at = |path: &str| places.iter().position(|(there, _)| there == Path::new(path)).unwrap();
        for (path, want) in [
            ("/home/u/work", Place::Writable),
            ("/tmp/other", Place::Writable),
            ("/home/u/work/.git", Place::Writable),
            ("/home/u/work/.git/modules", Place::Writable),
            ("/home/u/work/.git/modules/a", Place::Writable),
            ("/home/u/work/.git/modules/a/hooks", Place::ReadOnly),
            ("/home/u/.ssh", Place::Closed),
            ("/home/u/work/.env", Place::Closed),
            ("/tmp", Place::Tmp),
            ("/run", Place::Empty),
            ("/state", Place::ReadOnly),
        ] {
            assert_eq!(places[at(path)].1, want, "{path}");
        }
        assert!(at("/tmp") < at("/tmp/other"));
        assert!(at("/home/u/work") < at("/home/u/work/.git"));
        assert!(!places.iter().any(|(path, _)| path == Path::new("/home/u")), "nothing is opened above");
    }
}
