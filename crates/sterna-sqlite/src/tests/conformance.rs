use std::sync::Arc;

use sterna_log::conformance::Store;

use super::store;

sterna_log::conformance_tests!({
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(store(dir.path()));
    (Store { log: store.clone(), blobs: store }, dir)
});

/// A store keeps the tables that it was made with.
mod version_2 {
    use super::*;
    use crate::tests::old_store;

    sterna_log::conformance_tests!({
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(old_store(dir.path()));
        (Store { log: store.clone(), blobs: store }, dir)
    });
}
