//! Cold folders: large, made by a tool, and made again by it. Each is known by a sign, never by a name alone that
//! a person might have given to something else.
//!
//! | folder | sign |
//! |---|---|
//! | any | a `CACHEDIR.TAG` that begins as the standard says (cargo's `target`, pytest, mypy, ruff and many others) |
//! | any | `pyvenv.cfg` in it: a Python environment |
//! | any | `CMakeCache.txt` in it and no `CMakeLists.txt`: a build outside its source |
//! | `target` | `.rustc_info.json` in it, or `pom.xml` or `build.sbt` beside it |
//! | `node_modules` | `package.json` beside it, or a package manager's own file in it |
//! | `__pycache__`, `.pytest_cache`, `.mypy_cache`, `.ruff_cache`, `.tox`, `.nox` | the name: nobody else uses it |
//! | `.gradle`, `build` | a Gradle script beside it |
//! | `.next`, `.nuxt`, `.svelte-kit`, `.parcel-cache`, `.turbo`, `.angular`, `.cache` | `package.json` beside it |
//! | `.dart_tool` | `pubspec.yaml` beside it |
//! | `Pods` | `Podfile` beside it |
//! | `_build`, `deps` | `mix.exs` beside it |
//! | `zig-cache`, `.zig-cache`, `zig-out` | `build.zig` beside it |
//! | `.terraform` | `.terraform.lock.hcl` beside it |
//! | `.stack-work`, `dist-newstyle` | the name |

/// The sign beside a folder of this name, or the name itself, if it makes the folder cold.
/// `beside` are the names in the folder that holds it.
pub(crate) fn by_place(name: &[u8], beside: &[Vec<u8>]) -> Option<&'static str> {
    let rules = PLACES.iter().filter(|(names, _)| names.iter().any(|known| known.as_bytes() == name));
    rules
        .flat_map(|(_, signs)| signs.iter())
        .find(|sign| sign.is_empty() || beside.iter().any(|found| found == sign.as_bytes()))
        .map(|sign| if sign.is_empty() { "its name" } else { *sign })
}

/// The sign in a folder, if there is one. `tag` reads the beginning of its `CACHEDIR.TAG`.
pub(crate) fn by_content(
    name: &[u8],
    inside: &[Vec<u8>],
    tag: impl FnOnce() -> Option<Vec<u8>>,
) -> Option<&'static str> {
    let has = |sign: &str| inside.iter().any(|found| found == sign.as_bytes());
    let named = INSIDE.iter().find(|(known, sign)| known.as_bytes() == name && has(sign));
    if let Some((_, sign)) = named {
        return Some(sign);
    }
    if has("pyvenv.cfg") {
        return Some("pyvenv.cfg");
    }
    if has("CMakeCache.txt") && !has("CMakeLists.txt") {
        return Some("CMakeCache.txt");
    }
    (has(TAG) && tag().is_some_and(|bytes| bytes.starts_with(TAG_BEGINS))).then_some(TAG)
}

/// The file of the cache folder standard, and how it must begin.
pub(crate) const TAG: &str = "CACHEDIR.TAG";
pub(crate) const TAG_BEGINS: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Names, and what must stand beside them; the empty text for nothing.
const PLACES: [(&[&str], &[&str]); 11] = [
    (&["__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".tox", ".nox"], &[""]),
    (&[".stack-work", "dist-newstyle"], &[""]),
    (&["node_modules"], &["package.json"]),
    (&[".next", ".nuxt", ".svelte-kit", ".parcel-cache", ".turbo", ".angular", ".cache"], &["package.json"]),
    (&["target"], &["pom.xml", "build.sbt"]),
    (&[".gradle", "build"], &["build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts"]),
    (&[".dart_tool"], &["pubspec.yaml"]),
    (&["Pods"], &["Podfile"]),
    (&["_build", "deps"], &["mix.exs"]),
    (&["zig-cache", ".zig-cache", "zig-out"], &["build.zig"]),
    (&[".terraform"], &[".terraform.lock.hcl"]),
];

/// Names, and what must stand in them.
const INSIDE: [(&str, &str); 5] = [
    ("target", ".rustc_info.json"),
    ("node_modules", ".package-lock.json"),
    ("node_modules", ".yarn-integrity"),
    ("node_modules", ".modules.yaml"),
    ("node_modules", ".bin"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<Vec<u8>> {
        list.iter().map(|name| name.as_bytes().to_vec()).collect()
    }

    #[test]
    fn a_name_needs_its_sign() {
        // Folder, names beside it, names in it, the beginning of its tag, the sign.
        let table: [(&str, &[&str], &[&str], &[u8], Option<&str>); 13] = [
            ("target", &["src"], &["shot.rs"], b"", None),
            ("target", &["pom.xml"], &[], b"", Some("pom.xml")),
            ("target", &["Cargo.toml"], &[TAG, "debug"], TAG_BEGINS, Some(TAG)),
            ("target", &["Cargo.toml"], &[TAG], b"Signature: something else", None),
            ("anything", &[], &[TAG], b"Signature: 8a477f597d28d172789f06886806bc55\n# more", Some(TAG)),
            ("node_modules", &["package.json"], &["left-pad"], b"", Some("package.json")),
            ("node_modules", &["notes.txt"], &["mine.js"], b"", None),
            ("node_modules", &[], &[".bin", "x"], b"", Some(".bin")),
            ("__pycache__", &[], &[], b"", Some("its name")),
            (".venv", &[], &["pyvenv.cfg"], b"", Some("pyvenv.cfg")),
            ("build", &["Makefile"], &["x.c"], b"", None),
            ("out", &[], &["CMakeCache.txt"], b"", Some("CMakeCache.txt")),
            ("out", &[], &["CMakeCache.txt", "CMakeLists.txt"], b"", None),
        ];
        for (name, beside, inside, tag, expected) in table {
            let name = name.as_bytes();
            let found = by_place(name, &names(beside))
                .or_else(|| by_content(name, &names(inside), || Some(tag.to_vec())));
            assert_eq!(found, expected, "{name:?} {beside:?} {inside:?}");
        }
    }
}
