//! What a checkpoint holds, what it names, and what it costs.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use common::{Store, Workspace, as_nobody, named, path};
use sterna_checkpoint::{Against, CheckpointError, Checkpointer, Node, Options, Scope, What, Why};
use sterna_log::{BlobWriter, Blobs, LogError, digest};
use sterna_model::{BlobRef, Digest};
use sterna_tool::Cancel;

#[test]
fn an_unchanged_tree_is_not_read_again() {
    let w = Workspace::new();
    w.write("a", "one");
    w.write("b/c", "two");
    w.write("b/same", "two");
    w.link("a", "l");
    let first = w.take();
    assert_eq!((first.files, first.bytes, first.bytes_new, first.files_read), (3, 9, 6, 3));
    let puts = w.store.puts.load(Ordering::SeqCst);

    let second = w.take();
    assert_eq!((second.manifest, second.bytes_new, second.files_read), (first.manifest, 0, 0));
    // Nothing but the list of pages, which is the same blob.
    assert_eq!(w.store.puts.load(Ordering::SeqCst), puts + 1);

    w.write("b/c", "three");
    let third = w.take();
    assert_eq!((third.files_read, third.bytes_new), (1, 5));
    let cancel = Cancel::new();
    let changes = |to| w.checkpointer().diff(&first.manifest, to, &cancel).unwrap();
    let told = changes(Against::Checkpoint(third.manifest));
    assert_eq!(
        told.iter().map(|c| (c.path.clone(), c.what)).collect::<Vec<_>>(),
        [(path("b/c"), What::Modified)]
    );
    assert_eq!(told[0].after.as_ref().unwrap().hash, Some(digest(b"three")));
    assert_eq!(changes(Against::Current).len(), 1);
}

#[test]
fn a_damaged_cache_costs_a_reading_and_nothing_else() {
    let w = Workspace::new();
    w.write("a", "one");
    let first = w.take();
    let cache = fs::read_dir(w.state.path()).unwrap().next().unwrap().unwrap().path();
    fs::write(&cache, b"\xff\xff rubbish").unwrap();
    let again = w.take();
    assert_eq!((again.manifest, again.files_read, again.bytes_new), (first.manifest, 1, 0));
    assert_eq!(w.take().files_read, 0);
}

#[test]
fn a_lost_blob_is_put_again() {
    let mut w = Workspace::new();
    w.write("a", "one");
    let first = w.take();
    w.store.lost = Some(digest(b"one"));
    let again = w.take();
    assert_eq!((again.manifest, again.files_read, again.bytes_new), (first.manifest, 1, 3));
}

#[test]
fn large_files_go_through_the_writer() {
    let w = Workspace::new();
    let large: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7) as u8).collect();
    w.write("large", &large);
    w.write("copy", &large);
    let taken = w.take();
    assert_eq!((taken.bytes, taken.bytes_new), (6_000_000, 3_000_000));
    fs::remove_file(w.at("large")).unwrap();
    assert_eq!(w.restore(&taken).bytes, 3_000_000);
    assert!(fs::read(w.at("large")).unwrap() == large);
}

#[test]
fn limits_are_told_by_name() {
    let w = Workspace::new();
    for (name, size) in [("a", 30), ("b", 10), ("c", 20), ("huge", 101), ("d/x", 1), ("d/y", 1), ("d/z", 1)] {
        w.write(name, vec![b'x'; size]);
    }
    let take = |options: Options| {
        let taken = w.with(options).take(Scope::Hot, &Cancel::new()).unwrap();
        (taken.files, named(&taken.skipped))
    };
    let too_big = ("huge".to_owned(), Why::TooBig { bytes: 101 });
    assert_eq!(take(Options { max_file: 100, ..w.options() }), (6, vec![too_big.clone()]));
    // The largest goes first, and no more than must.
    let total = ("a".to_owned(), Why::TotalLimit { bytes: 30 });
    let options = Options { max_file: 100, max_total: 40, ..w.options() };
    assert_eq!(take(options), (5, vec![total, too_big]));
    let many = vec![("d".to_owned(), Why::TooMany)];
    assert_eq!(take(Options { max_entries: 6, ..w.options() }), (4, many));
}

#[test]
fn special_files_are_named_and_not_opened() {
    let w = Workspace::new();
    w.write("a", "one");
    assert!(Command::new("mkfifo").arg(w.at("pipe")).status().unwrap().success());
    let _socket = UnixListener::bind(w.at("socket")).unwrap();
    let taken = w.take();
    let expected = [("pipe".to_owned(), Why::Special), ("socket".to_owned(), Why::Special)];
    assert_eq!(named(&taken.skipped), expected);
    // They are not in the way of a restore, and are not removed by it.
    fs::write(w.at("a"), "two").unwrap();
    w.restore(&taken);
    assert!(w.at("pipe").exists() && w.at("socket").exists());
}

#[test]
fn cold_folders_are_held_only_when_asked() {
    let w = Workspace::new();
    w.write("package.json", "{}");
    w.write("node_modules/x/index.js", "1");
    w.write("target/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n");
    w.write("target/debug/bin", "elf");
    w.write("src/target/mine.txt", "mine");
    let cold = |sign: &str| Why::Cold { sign: sign.into() };
    let hot = w.take();
    let expected =
        [("node_modules".to_owned(), cold("package.json")), ("target".to_owned(), cold("CACHEDIR.TAG"))];
    assert_eq!((named(&hot.skipped), hot.files), (expected.to_vec(), 2));

    let cancel = Cancel::new();
    let with_cold = w.checkpointer().take(Scope::WithCold, &cancel).unwrap();
    assert_eq!((with_cold.files, with_cold.skipped.len()), (5, 0));
    let before = w.look();
    for gone in ["node_modules", "target", "src"] {
        fs::remove_dir_all(w.at(gone)).unwrap();
    }
    // The one that holds them brings them back; the other says that it cannot.
    let plan = w.preview(&hot);
    let lost: Vec<String> = plan.lost.iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(lost, ["node_modules", "target"]);
    w.restore(&with_cold);
    assert_eq!(w.look(), before);
    // A cold folder that is newer than the checkpoint is a cache and stays.
    w.write("sub/__pycache__/m.pyc", "x");
    w.restore(&hot);
    assert!(w.at("sub/__pycache__/m.pyc").exists());
    w.restore(&with_cold);
    assert!(!w.at("sub").exists());
    // A folder whose files are held is no cache, whatever it is made to look like.
    w.write("src/target/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n");
    fs::write(w.at("src/target/mine.txt"), "ours").unwrap();
    w.restore(&hot);
    assert_eq!(w.look(), before);
}

#[test]
fn our_own_state_is_left_out() {
    let w = Workspace::new();
    w.write("a", "one");
    let options = || {
        let exclude = vec![path("store")];
        Options { exclude, racy_margin: std::time::Duration::ZERO, ..Options::new(w.at(".sterna")) }
    };
    w.write("store/blob", "raw");
    let cancel = Cancel::new();
    let first = w.with(options()).take(Scope::Hot, &cancel).unwrap();
    let checkpointer = w.with(options());
    let second = checkpointer.take(Scope::Hot, &cancel).unwrap();
    let expected = [(".sterna".to_owned(), Why::Excluded), ("store".to_owned(), Why::Excluded)];
    assert_eq!((named(&second.skipped), second.files_read), (expected.to_vec(), 0));
    w.write("store/more", "raw");
    let plan = checkpointer.preview_restore(&first.manifest, true, &cancel).unwrap();
    assert!(plan.is_empty(), "{plan:?}");
    assert!(w.at(".sterna").exists());
}

#[test]
fn cancelled_before_anything_is_read() {
    let w = Workspace::new();
    w.write("a/b", "one");
    let cancel = Cancel::new();
    cancel.cancel();
    let checkpointer = w.checkpointer();
    let taken = checkpointer.take(Scope::Hot, &cancel);
    assert!(matches!(taken, Err(CheckpointError::Cancelled)));
    assert_eq!(w.store.puts.load(Ordering::SeqCst), 0);
    checkpointer.take(Scope::Hot, &Cancel::new()).unwrap();
}

#[test]
fn what_may_not_be_read_is_named() {
    let w = Workspace::new();
    w.write("open", "one");
    w.write("secret", "two");
    w.write("locked/x", "three");
    w.write("listed/y", "four");
    for (path, mode) in [("", 0o777), ("secret", 0), ("locked", 0), ("listed", 0o444)] {
        w.chmod(path, mode);
    }
    fs::set_permissions(w.state.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let (taken, plan) = as_nobody(|| {
        let taken = w.take();
        (taken.clone(), w.preview(&taken))
    });
    let expected = ["listed", "locked", "secret"].map(|path| (path.to_owned(), Why::Unreadable));
    assert_eq!((named(&taken.skipped), taken.files), (expected.to_vec(), 1));
    // Not held, so not touched.
    assert!(plan.is_empty(), "{plan:?}");
    w.chmod("locked", 0o700);
    w.chmod("listed", 0o700);
}

#[test]
fn a_file_that_is_being_written_is_read_again_and_then_told() {
    // How often somebody writes while we read, and what is told.
    for (times, told) in [(0, None), (2, None), (u64::MAX, Some(Why::Changing))] {
        let w = Workspace::new();
        w.write("log", vec![b'x'; 2 << 20]);
        let store =
            Meddling { inner: w.store.clone(), file: w.at("log"), left: Arc::new(AtomicU64::new(times)) };
        let checkpointer = Checkpointer::new(w.root(), Arc::new(store), w.options()).unwrap();
        let taken = checkpointer.take(Scope::Hot, &Cancel::new()).unwrap();
        let expected: Vec<_> = told.into_iter().map(|why| ("log".to_owned(), why)).collect();
        assert_eq!(named(&taken.skipped), expected);
        // Held all the same, as it was read last: it can be restored, and its hash is not believed later.
        let last = fs::read(w.at("log")).unwrap();
        fs::remove_file(w.at("log")).unwrap();
        w.restore(&taken);
        let held = fs::read(w.at("log")).unwrap();
        assert!(last.starts_with(&held) && (held == last || !expected.is_empty()), "{times}");
    }
}

/// A store in whose way somebody appends to a file, as often as `left` says.
struct Meddling {
    inner: Store,
    file: PathBuf,
    left: Arc<AtomicU64>,
}

#[async_trait]
impl Blobs for Meddling {
    async fn put(&self, bytes: Bytes) -> Result<BlobRef, LogError> {
        self.inner.put(bytes).await
    }

    async fn get(&self, hash: &Digest) -> Result<Bytes, LogError> {
        self.inner.get(hash).await
    }

    async fn has(&self, hash: &Digest) -> Result<bool, LogError> {
        self.inner.has(hash).await
    }

    fn writer(&self) -> Result<Box<dyn BlobWriter>, LogError> {
        let writes = self.left.load(Ordering::SeqCst) > 0;
        self.left.fetch_sub(u64::from(writes), Ordering::SeqCst);
        let file = writes.then(|| self.file.clone());
        Ok(Box::new(MeddlingWriter { inner: self.inner.writer()?, file }))
    }
}

struct MeddlingWriter {
    inner: Box<dyn BlobWriter>,
    file: Option<PathBuf>,
}

impl BlobWriter for MeddlingWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        if let Some(file) = self.file.take() {
            fs::File::options().append(true).open(file).unwrap().write_all(b"more").unwrap();
        }
        self.inner.write(bytes)
    }

    fn finish(self: Box<Self>) -> Result<BlobRef, LogError> {
        self.inner.finish()
    }
}

#[test]
fn every_blob_of_a_checkpoint_is_listed() {
    let w = Workspace::new();
    w.write("a", "one");
    w.write("b", "two");
    let taken = w.take();
    let all = w.checkpointer().referenced(&taken.manifest).unwrap();
    assert!([digest(b"one"), digest(b"two"), taken.manifest].iter().all(|hash| all.contains(hash)));
    // Two contents, one page, one list.
    assert_eq!(all.len(), 4);
    let manifest = w.checkpointer().load(&taken.manifest).unwrap();
    assert!(matches!(manifest.entries[&path("a")], Node::File { bytes: 3, .. }));
}
