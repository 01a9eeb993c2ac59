//! The repositories that a git index names as submodules: git starts processes of its own in them.

/// The paths of an index's submodules, relative to the work tree. `long_names`: objects have names of 32 bytes. An error
/// says why it cannot be told.
pub fn submodules(index: &[u8], long_names: bool) -> Result<Vec<String>, &'static str> {
    let mut found = Vec::new();
    let name_bytes = if long_names { 32 } else { 20 };
    let mut at = Cursor { bytes: index, at: 0 };
    if at.take(4)? != b"DIRC" {
        return Err("its index is no index");
    }
    let (version, count) = (at.number()?, at.number()?);
    if !(2..=4).contains(&version) {
        return Err("its index is of another version");
    }
    let mut path: Vec<u8> = Vec::new();
    for _ in 0..count {
        let begin = at.at;
        at.take(24)?;
        let mode = at.number()?;
        at.take(12 + name_bytes)?;
        let flags = at.short()?;
        if flags & EXTENDED != 0 {
            at.take(2)?;
        }
        if version == 4 {
            let keep = path.len().checked_sub(at.offset()?).ok_or(CUT)?;
            path.truncate(keep);
        } else {
            path.clear();
        }
        path.extend_from_slice(at.until_nul()?);
        if version != 4 {
            // Entries are padded to a multiple of 8 bytes, with one NUL at least.
            let used = at.at - begin;
            at.take(used.next_multiple_of(8) - used)?;
        }
        if mode & TYPE == SUBMODULE {
            found.push(String::from_utf8(path.clone()).map_err(|_| "a submodule's path is not UTF-8")?);
        }
    }
    while at.bytes.len() - at.at > name_bytes {
        let (kind, length) = (at.take(4)?.to_owned(), at.number()? as usize);
        if kind == b"link" {
            return Err("its index is split in two files");
        }
        at.take(length)?;
    }
    Ok(found)
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], &'static str> {
        let end = self.at.checked_add(count).ok_or(CUT)?;
        let taken = self.bytes.get(self.at..end).ok_or(CUT)?;
        self.at = end;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u32, &'static str> {
        Ok(self.take(4)?.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
    }

    fn short(&mut self) -> Result<u16, &'static str> {
        Ok(self.take(2)?.iter().fold(0, |sum, byte| sum << 8 | u16::from(*byte)))
    }

    /// A number in groups of 7 bits, as in packs: each further group counts one more.
    fn offset(&mut self) -> Result<usize, &'static str> {
        let mut value = 0_usize;
        for round in 0.. {
            let byte = self.take(1)?.first().copied().ok_or(CUT)?;
            let low = usize::from(byte & 0x7f);
            value = match round {
                0 => low,
                _ => (value + 1).checked_mul(128).ok_or(CUT)? + low,
            };
            if byte & 0x80 == 0 {
                break;
            }
        }
        Ok(value)
    }

    fn until_nul(&mut self) -> Result<&'a [u8], &'static str> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| *byte == 0).ok_or(CUT)?;
        let text = self.take(length)?;
        self.take(1)?;
        Ok(text)
    }
}

const CUT: &str = "its index is cut or damaged";
const EXTENDED: u16 = 0x4000;
const TYPE: u32 = 0o170_000;
const SUBMODULE: u32 = 0o160_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn index(version: u32, entries: &[(u32, &str, u8, &str)]) -> Vec<u8> {
        let mut bytes = b"DIRC".to_vec();
        bytes.extend(version.to_be_bytes());
        bytes.extend((entries.len() as u32).to_be_bytes());
        for (mode, name, cut, suffix) in entries {
            let begin = bytes.len();
            bytes.extend([0; 24]);
            bytes.extend(mode.to_be_bytes());
            bytes.extend([0; 32]);
            bytes.extend((name.len() as u16).to_be_bytes());
            if version == 4 {
                bytes.push(*cut);
                bytes.extend(suffix.as_bytes());
                bytes.push(0);
            } else {
                bytes.extend(name.as_bytes());
                let used = bytes.len() - begin;
                bytes.extend(vec![0; (used + 1).next_multiple_of(8) - used]);
            }
        }
        bytes.extend(b"TREE\0\0\0\x02ab");
        bytes.extend([7; 20]);
        bytes
    }

    #[test]
    fn submodules_are_found_in_every_version() {
        let entries =
            [(0o100_644, "a/b", 0, "a/b"), (0o160_000, "a/longer", 1, "longer"), (0o160_000, "z", 8, "z")];
        for version in 2..=4 {
            let bytes = index(version, &entries);
            assert_eq!(submodules(&bytes, false), Ok(vec!["a/longer".to_owned(), "z".to_owned()]));
            for cut in 0..bytes.len() - 31 {
                assert!(submodules(&bytes[..cut], false).is_err(), "{version} {cut}");
            }
        }
        let mut split = index(2, &entries);
        let at = split.windows(4).position(|w| w == b"TREE").unwrap();
        split[at..at + 4].copy_from_slice(b"link");
        assert!(submodules(&split, false).is_err());
        assert!(submodules(&index(5, &entries), false).is_err());
    }
}
