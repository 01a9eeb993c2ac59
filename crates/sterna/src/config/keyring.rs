//! The keyring of the operating system, in builds with the feature `keyring`.

use sterna_llm_http::Secret;

use super::ConfigError;

/// Whether this build can read one.
pub(super) const IS_BUILT: bool = cfg!(feature = "keyring");

/// The entry's secret. A keyring that is locked may ask the person to unlock it.
#[cfg(feature = "keyring")]
pub(super) fn get(entry: &str, place: &str) -> Result<Secret, ConfigError> {
    let failed = |why: String| {
        ConfigError::new(format!("{place}: the keyring entry `{entry}` of the service `{SERVICE}` {why}"))
            .hint("put the key there with the system's own tool, or use key_file or key_command")
    };
    let cannot = |error: keyring::Error| failed(format!("cannot be read: {error}"));
    let found = keyring::Entry::new(SERVICE, entry).and_then(|entry| entry.get_password()).map_err(cannot)?;
    super::provider::secret(&found).ok_or_else(|| failed("holds no key".into()))
}

/// There is none: configuration that names an entry is refused before this is asked.
#[cfg(not(feature = "keyring"))]
pub(super) fn get(entry: &str, place: &str) -> Result<Secret, ConfigError> {
    let message = format!("{place}: this build of Sterna cannot read the keyring entry `{entry}`");
    Err(ConfigError::new(message).hint("build it with --features keyring"))
}

#[cfg(feature = "keyring")]
const SERVICE: &str = "sterna";
