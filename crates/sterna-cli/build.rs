//! Makes the program small in memory and quick to load, as far as the linker and the system know how.
//!
//! - Relative relocations are packed where the system's loader reads them packed (glibc 2.36): the program is 2 MB smaller.
//! - What a run takes lies side by side (`link-order.txt`, made by `cargo xtask link-order`), where the linker orders by name.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=link-order.txt");
    let linux = of("CARGO_CFG_TARGET_OS") == "linux" && of("CARGO_CFG_TARGET_ENV") == "gnu";
    // Only what is built for this very system is known to meet its loader.
    let known = ["x86_64", "aarch64"].contains(&of("CARGO_CFG_TARGET_ARCH").as_str());
    let own = linux && known && of("HOST") == of("TARGET");
    if own && loader_reads_packed() {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    // Names of functions that were there when the list was made and are no more: not worth a word.
    let order = format!(
        "-Wl,--no-warn-symbol-ordering,--symbol-ordering-file={}/link-order.txt",
        of("CARGO_MANIFEST_DIR")
    );
    if own && of("PROFILE") == "release" && linker_takes(&order) {
        println!("cargo:rustc-link-arg-bins={order}");
    }
}

/// `glibc 2.36` or later.
fn loader_reads_packed() -> bool {
    let Ok(told) = Command::new("getconf").arg("GNU_LIBC_VERSION").output() else { return false };
    let told = String::from_utf8_lossy(&told.stdout);
    let numbers = told.trim().strip_prefix("glibc ").and_then(|version| version.split_once('.'));
    let Some((major, minor)) = numbers else { return false };
    let minor = minor.split('.').next().unwrap_or_default();
    matches!((major.parse::<u32>(), minor.parse::<u32>()), (Ok(2), Ok(minor)) if minor >= 36)
}

/// Links a program that does nothing, in the way in which ours will be linked. LLD knows the argument; others fail at it.
fn linker_takes(argument: &str) -> bool {
    let out = of("OUT_DIR");
    let source = Path::new(&out).join("probe.rs");
    if std::fs::write(&source, "fn main() {}").is_err() {
        return false;
    }
    let mut rustc = Command::new(of("RUSTC"));
    rustc.args(of("CARGO_ENCODED_RUSTFLAGS").split('\u{1f}').filter(|flag| !flag.is_empty()));
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    rustc.arg(format!("-Clink-arg={argument}")).args(["--crate-type", "bin", "--out-dir", &out]).arg(&source);
    rustc.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    rustc.status().is_ok_and(|status| status.success())
}

fn of(name: &str) -> String {
    env::var(name).unwrap_or_default()
}
