use std::sync::Arc;

use sterna_log::conformance::Store;

use super::store;

sterna_log::conformance_tests!({
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(store(dir.path()));
    (Store { log: store.clone(), blobs: store }, dir)
});
