//! Where a store may be: not on a file system that lives on another machine, because locks and shared memory do not
//! hold there and two machines would ruin the file.

use std::fs;
use std::path::Path;

use sterna_blobs::io_error;
use sterna_log::LogError;

/// Refuses a folder on a network file system, and says why.
pub fn check(dir: &Path) -> Result<(), LogError> {
    let found = rustix::fs::statfs(dir).map_err(|error| io_error("look at", dir, &error.into()))?;
    let kind = found.f_type as u32;
    let mounts = if kind == FUSE {
        fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()
    } else {
        String::new()
    };
    let absolute = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    match network(kind, fuse_kind(&mounts, &absolute)) {
        None => Ok(()),
        Some(name) => Err(LogError::Refused(format!(
            "{} is on a network file system ({name}), where locks and shared memory do not hold and the store would \
             be damaged; set STERNA_HOME to a folder on a local disk",
            dir.display()
        ))),
    }
}

/// The name of a network file system; `None` for all others, those of containers and virtual machines included.
fn network(kind: u32, fuse: Option<&str>) -> Option<String> {
    let name = match kind {
        0x6969 => "nfs",
        0x517B => "smb",
        0xFF53_4D42 => "cifs",
        0xFE53_4D42 => "smb2",
        0x5346_414F => "afs",
        0x7375_7245 => "coda",
        0x564C => "ncp",
        0x00C3_6400 => "ceph",
        FUSE => {
            let remote = ["sshfs", "s3fs", "gcsfuse", "rclone", "davfs", "curlftpfs", "goofys", "mount-s3"];
            let fuse = fuse?.strip_prefix("fuse.")?;
            return remote.contains(&fuse).then(|| format!("fuse.{fuse}"));
        }
        _ => return None,
    };
    Some(name.into())
}

/// The type of the file system at a path, from the lines of `mountinfo`: the longest mount point above it counts.
fn fuse_kind<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let mount = |line: &'a str| {
        let (left, right) = line.split_once(" - ")?;
        Some((left.split(' ').nth(4)?, right.split(' ').next()?))
    };
    let above = mounts.lines().filter_map(mount).filter(|(point, _)| path.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind)
}

const FUSE: u32 = 0x6573_5546;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known() {
        let remote = [0x6969, 0x517B, 0xFF53_4D42, 0xFE53_4D42, 0x5346_414F, 0x00C3_6400];
        assert!(remote.iter().all(|kind| network(*kind, None).is_some()));
        // ext4, xfs, btrfs, tmpfs, overlay, 9p, zfs
        let local = [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x794C_7630, 0x0102_1997, 0x2FC1_2FC1];
        assert!(local.iter().all(|kind| network(*kind, None).is_none()));
        assert_eq!(network(FUSE, Some("fuse.sshfs")).as_deref(), Some("fuse.sshfs"));
        assert_eq!(network(FUSE, Some("fuse.ext4")), None);
        assert_eq!(network(FUSE, None), None);
    }

    #[test]
    fn the_nearest_mount_counts() {
        let mounts = "22 1 8:1 / / rw - ext4 /dev/sda rw\n\
                      30 22 0:40 / /home/me/far rw,nosuid shared:9 - fuse.sshfs me@far: rw\n\
                      31 30 0:41 / /home/me/far/near rw - tmpfs tmpfs rw\n";
        let of = |path: &str| fuse_kind(mounts, Path::new(path));
        assert_eq!(of("/home/me/far/store"), Some("fuse.sshfs"));
        assert_eq!(of("/home/me/far/near/store"), Some("tmpfs"));
        assert_eq!(of("/home/me/farther"), Some("ext4"));
        assert_eq!(fuse_kind("nonsense", Path::new("/x")), None);
    }

    #[test]
    fn a_local_folder_is_fine() {
        check(&std::env::temp_dir()).unwrap();
    }
}
