//! Names the folds of this build by their sources: a snapshot that another build made may mean something else.
#![allow(clippy::print_stdout)] // This is how cargo is spoken to.

use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The crates whose code decides what a log folds into.
const CRATES: [&str; 6] =
    ["sterna-model", "sterna-llm", "sterna-log", "sterna-context", "sterna-turn", "sterna-runtime"];

fn main() -> io::Result<()> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let mut name = DefaultHasher::new();
    for krate in CRATES {
        let sources = here.join("..").join(krate).join("src");
        // Outside the workspace the version says it all: what was published never changes.
        if sources.is_dir() {
            println!("cargo:rerun-if-changed={}", sources.display());
            hash(&sources, &mut name)?;
        }
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-env=STERNA_FOLDS={:016x}", name.finish());
    Ok(())
}

fn hash(folder: &Path, name: &mut DefaultHasher) -> io::Result<()> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            hash(&path, name)?;
        } else {
            name.write(path.file_name().unwrap_or_default().as_encoded_bytes());
            name.write(&fs::read(&path)?);
        }
    }
    Ok(())
}
