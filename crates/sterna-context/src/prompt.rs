//! The prompt: sections with an owner and a stability, tools, and the manifest that names them all by hash.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use sterna_llm::SystemPart;
use sterna_model::{BlobRef, Digest, Manifest, PromptPart, Stability, ToolPart, ToolSpec};

/// One section of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    pub name: String,
    /// Who it belongs to: `sterna`, a file, a host.
    pub owner: String,
    pub stability: Stability,
    pub text: String,
}

/// Which built-in template a prompt starts from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Template {
    #[default]
    Main,
    /// Short, for small models: the `minimal` profile.
    Minimal,
}

/// A prompt that is ready to be derived from: assembled, or loaded by its manifest.
#[derive(Debug, Clone)]
pub struct Prompt {
    hash: Digest,
    system: Arc<[SystemPart]>,
    tools: Arc<[ToolSpec]>,
    /// Tail texts by the name of their section.
    notes: Arc<BTreeMap<String, String>>,
    /// As they were put together.
    sections: Arc<[Section]>,
    blobs: Arc<[Vec<u8>]>,
}

/// A manifest that cannot be turned back into a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptError(pub String);

impl std::fmt::Display for PromptError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the stored prompt cannot be read: {}", self.0)
    }
}

impl std::error::Error for PromptError {}

impl Prompt {
    /// Puts a prompt together. Tools are sorted by name, sections keep their order within a stability class.
    pub fn assemble(mut sections: Vec<Section>, mut tools: Vec<ToolSpec>) -> Result<Self, PromptError> {
        sections.sort_by_key(|section| section.stability);
        tools.sort_by(|a, b| a.name.cmp(&b.name));
        let mut blobs = Vec::with_capacity(sections.len() + tools.len() + 1);
        let mut keep = |bytes: Vec<u8>| {
            let blob = BlobRef { hash: Digest(*blake3::hash(&bytes).as_bytes()), bytes: bytes.len() as u64 };
            blobs.push(bytes);
            blob
        };
        let parts = sections.iter().map(|section| PromptPart {
            name: section.name.clone(),
            owner: section.owner.clone(),
            stability: section.stability,
            text: keep(section.text.clone().into_bytes()),
        });
        let parts = parts.collect();
        let mut specs = Vec::with_capacity(tools.len());
        for tool in &tools {
            specs.push(ToolPart { name: tool.name.clone(), spec: keep(json(tool)?) });
        }
        let manifest = json(&Manifest { v: MANIFEST_VERSION, parts, tools: specs })?;
        let hash = keep(manifest).hash;
        Ok(Self::of(hash, &sections, tools, blobs))
    }

    /// Reads a prompt back: `get` gives the blob of a hash.
    pub fn load(
        hash: &Digest,
        mut get: impl FnMut(&Digest) -> Result<Vec<u8>, PromptError>,
    ) -> Result<Self, PromptError> {
        let bytes = get(hash)?;
        let bad = |e: serde_json::Error| PromptError(format!("manifest {hash}: {e}"));
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(bad)?;
        if manifest.v > MANIFEST_VERSION {
            return Err(PromptError(format!(
                "manifest {hash} has version {}, newer than this Sterna",
                manifest.v
            )));
        }
        let mut sections = Vec::with_capacity(manifest.parts.len());
        let mut blobs = Vec::new();
        for part in manifest.parts {
            let bytes = get(&part.text.hash)?;
            let text =
                String::from_utf8(bytes.clone()).map_err(|e| PromptError(format!("{}: {e}", part.name)))?;
            blobs.push(bytes);
            sections.push(Section { name: part.name, owner: part.owner, stability: part.stability, text });
        }
        let mut tools = Vec::with_capacity(manifest.tools.len());
        for tool in manifest.tools {
            let bytes = get(&tool.spec.hash)?;
            tools.push(serde_json::from_slice(&bytes).map_err(bad)?);
            blobs.push(bytes);
        }
        blobs.push(bytes);
        Ok(Self::of(*hash, &sections, tools, blobs))
    }

    /// The manifest's hash: the prompt's name in the log.
    pub fn hash(&self) -> Digest {
        self.hash
    }

    pub fn system(&self) -> Arc<[SystemPart]> {
        self.system.clone()
    }

    pub fn tools(&self) -> Arc<[ToolSpec]> {
        self.tools.clone()
    }

    /// The tail text of this name; empty when the prompt has none.
    pub fn note(&self, name: &str) -> &str {
        self.notes.get(name).map_or("", String::as_str)
    }

    /// The sections, in their order.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// All bytes that must be in the store for `load` to work, the manifest last.
    pub fn blobs(&self) -> &[Vec<u8>] {
        &self.blobs
    }

    /// What the prompt is made of, by hash.
    pub fn manifest(&self) -> Option<Manifest> {
        serde_json::from_slice(self.blobs.last()?).ok()
    }

    fn of(hash: Digest, sections: &[Section], tools: Vec<ToolSpec>, blobs: Vec<Vec<u8>>) -> Self {
        let system = system_of(sections);
        let notes = sections.iter().filter(|section| section.stability == Stability::Tail);
        let notes = notes.map(|section| (section.name.clone(), section.text.trim().to_owned())).collect();
        Self {
            hash,
            system: system.into(),
            tools: tools.into(),
            notes: Arc::new(notes),
            sections: sections.to_vec().into(),
            blobs: blobs.into(),
        }
    }
}

/// What stands before the history: the stable part and the frame, without empty sections.
pub(crate) fn system_of(sections: &[Section]) -> Vec<SystemPart> {
    let texts = |wanted: Stability| {
        let of = sections.iter().filter(move |s| s.stability == wanted && !s.text.trim().is_empty());
        let texts: Vec<&str> = of.map(|section| section.text.trim()).collect();
        texts.join("\n\n")
    };
    [Stability::Stable, Stability::Frame]
        .into_iter()
        .map(texts)
        .filter(|text| !text.is_empty())
        .map(|text| SystemPart { text, boundary: true })
        .collect()
}

/// The sections that Sterna brings, as files in `prompts/`.
pub fn builtin_sections(template: Template) -> Vec<Section> {
    let section = |name: &str, stability: Stability, text: &str| Section {
        name: name.into(),
        owner: "sterna".into(),
        stability,
        text: text.into(),
    };
    let mut sections = match template {
        Template::Main => vec![
            section("identity", Stability::Stable, include_str!("prompts/identity.md")),
            section("rules", Stability::Stable, include_str!("prompts/rules.md")),
            section("tool_use", Stability::Stable, include_str!("prompts/tool_use.md")),
            section("environment", Stability::Tail, include_str!("prompts/environment.md")),
        ],
        Template::Minimal => vec![section("minimal", Stability::Stable, include_str!("prompts/minimal.md"))],
    };
    sections.extend([
        section("nudge_empty", Stability::Tail, include_str!("prompts/nudge_empty.md")),
        section("nudge_stalled", Stability::Tail, include_str!("prompts/nudge_stalled.md")),
        section("output_continue", Stability::Tail, include_str!("prompts/output_continue.md")),
        section("budget_continue", Stability::Tail, include_str!("prompts/budget_continue.md")),
        section("grace", Stability::Tail, include_str!("prompts/grace.md")),
        section("files_rewound", Stability::Tail, include_str!("prompts/files_rewound.md")),
        section("output_schema", Stability::Tail, include_str!("prompts/output_schema.md")),
        section("output_repair", Stability::Tail, include_str!("prompts/output_repair.md")),
        section("plan_mode", Stability::Tail, include_str!("prompts/plan_mode.md")),
    ]);
    sections
}

fn json<T: Serialize>(value: &T) -> Result<Vec<u8>, PromptError> {
    serde_json::to_vec(value).map_err(|e| PromptError(e.to_string()))
}

const MANIFEST_VERSION: u32 = 1;
