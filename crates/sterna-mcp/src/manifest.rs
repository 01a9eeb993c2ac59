//! What a server said it offers, kept in the state folder: it is read where the server has not been started yet.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rmcp::model::Tool;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sterna_model::Digest;

use crate::config::ServerConfig;

/// What a server offers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the protocol that was agreed on, such as `2025-11-25`.
    pub protocol: String,
    /// The server's own name and version, where it tells them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    pub resources: bool,
    pub prompts: bool,
    pub tools: Vec<ToolDef>,
}

/// A tool as its server defines it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolDef {
    /// Its name at the server.
    pub name: String,
    pub description: String,
    pub schema: Map<String, Value>,
    /// Hints: to be believed of trusted servers only.
    #[serde(default)]
    pub read_only: bool,
    #[serde(default)]
    pub idempotent: bool,
    /// Of everything above.
    pub hash: Digest,
}

impl ToolDef {
    pub(crate) fn of(tool: &Tool) -> Self {
        let hints = tool.annotations.as_ref();
        let title = tool.title.as_deref().or_else(|| hints.and_then(|hints| hints.title.as_deref()));
        let described = tool.description.as_deref().or(title).unwrap_or_default();
        let mut def = Self {
            name: tool.name.to_string(),
            description: cut(described),
            schema: Map::clone(&tool.input_schema),
            read_only: hints.and_then(|hints| hints.read_only_hint).unwrap_or(false),
            idempotent: hints.and_then(|hints| hints.idempotent_hint).unwrap_or(false),
            hash: Digest([0; 32]),
        };
        def.hash = def.digest();
        def
    }

    fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        let schema = Value::Object(self.schema.clone()).to_string();
        let hints = [u8::from(self.read_only), u8::from(self.idempotent)];
        for part in [self.name.as_bytes(), self.description.as_bytes(), schema.as_bytes(), &hints] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Digest(*hasher.finalize().as_bytes())
    }
}

/// A server's file in the state folder: what it offers, and which definitions of its tools were accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    v: u32,
    pub(crate) manifest: Manifest,
    /// By the tool's name at the server. The first one seen counts as accepted: that is when the server was added.
    pub(crate) accepted: BTreeMap<String, Digest>,
}

impl Kept {
    /// The next state of the file when a server says that it offers this.
    pub(crate) fn next(before: Option<&Self>, manifest: Manifest) -> Self {
        let mut accepted = before.map(|kept| kept.accepted.clone()).unwrap_or_default();
        for tool in &manifest.tools {
            accepted.entry(tool.name.clone()).or_insert(tool.hash);
        }
        Self { v: VERSION, manifest, accepted }
    }

    /// Whether a tool is no longer what was accepted.
    pub(crate) fn is_changed(&self, tool: &ToolDef) -> bool {
        self.accepted.get(&tool.name).is_some_and(|accepted| *accepted != tool.hash)
    }
}

/// Where a server's file is: by its name and by what is started or reached, so that another program under the same name
/// is not taken for it.
pub(crate) fn file_of(state: &Path, config: &ServerConfig) -> PathBuf {
    let what = format!("{}\0{:?}", config.transport.shown(), config.origin.file);
    let hash = blake3::hash(what.as_bytes()).to_hex();
    state.join("mcp").join(format!("{}-{}.json", config.name, &hash[..16]))
}

/// Stands beside a server's file while its last start has failed.
pub(crate) fn failure_note(state: &Path, config: &ServerConfig) -> PathBuf {
    file_of(state, config).with_extension("failed")
}

/// Nothing, also for a file that cannot be read: then the server is asked.
pub(crate) fn load(file: &Path) -> Option<Kept> {
    let bytes = std::fs::read(file).ok()?;
    let kept: Kept = serde_json::from_slice(&bytes).ok()?;
    (kept.v == VERSION).then_some(kept)
}

pub(crate) fn save(file: &Path, kept: &Kept) -> std::io::Result<()> {
    write_private(file, &serde_json::to_vec(kept)?)
}

/// Writes a file of mode 0600 as a whole, in a folder of mode 0700.
pub(crate) fn write_private(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let dir = file.parent().ok_or(std::io::ErrorKind::InvalidInput)?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let temporary = dir.join(format!(".{name}.{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let mut held = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    held.write_all(bytes)?;
    held.sync_all()?;
    std::fs::rename(&temporary, file)
}

/// A description is for a model: more than this helps nobody.
fn cut(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(DESCRIPTION) {
        Some((at, _)) => format!("{} …", &text[..at]),
        None => text.to_owned(),
    }
}

const VERSION: u32 = 1;
/// Characters.
const DESCRIPTION: usize = 8_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(description: &str) -> ToolDef {
        let tool: Tool = serde_json::from_value(serde_json::json!({
            "name": "t", "description": description, "inputSchema": {"type": "object"},
        }))
        .unwrap();
        ToolDef::of(&tool)
    }

    fn manifest(tools: Vec<ToolDef>) -> Manifest {
        let protocol = "2025-11-25".into();
        Manifest { protocol, server: None, instructions: None, resources: false, prompts: false, tools }
    }

    #[test]
    fn a_changed_definition_is_known_until_it_is_accepted() {
        let (old, new) = (tool("old"), tool("new"));
        assert_ne!(old.hash, new.hash);
        let first = Kept::next(None, manifest(vec![old.clone()]));
        assert!(!first.is_changed(&old));
        let mut second = Kept::next(Some(&first), manifest(vec![new.clone()]));
        assert!(second.is_changed(&new));
        second.accepted.insert("t".into(), new.hash);
        let third = Kept::next(Some(&second), manifest(vec![new.clone()]));
        assert!(!third.is_changed(&new) && third.is_changed(&old));
    }

    #[test]
    fn a_file_that_is_none_counts_as_absent() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mcp/x.json");
        assert_eq!(load(&file), None);
        let kept = Kept::next(None, manifest(vec![tool("d")]));
        save(&file, &kept).unwrap();
        assert_eq!(load(&file), Some(kept));
        for bytes in ["", "{", "null", "{\"v\":2}"] {
            std::fs::write(&file, bytes).unwrap();
            assert_eq!(load(&file), None, "{bytes}");
        }
    }
}
