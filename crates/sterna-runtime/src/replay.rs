//! Replay: derive every request of a stored session again, without a model call, and compare.

use serde::Serialize;
use sterna_context::{CONTEXT_VERSION, Prompt, PromptError, TurnFacts, derive};
use sterna_llm::{EncodeCache, Encoded};
use sterna_log::SharedBlobs;
use sterna_model::{Body, Digest, EffectKey, Intended, Manifest, Seq, SessionId};

use crate::driver::compact::{bring_summary, summary_request};
use crate::driver::judge::judge_request;
use crate::state::{State, for_each_record};
use crate::{Parts, RuntimeError, files};

/// What a replay found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replayed {
    pub session: SessionId,
    /// Records folded, shared history included.
    pub records: u64,
    /// Requests derived again.
    pub requests: u64,
    /// Requests that another program made, before the session was imported: they cannot be derived.
    pub imported: u64,
    /// The first one that is not what was sent.
    pub difference: Option<Difference>,
    /// Where a prompt cache had to start anew, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prefix_breaks: Vec<PrefixBreak>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PrefixBreak {
    pub seq: Seq,
    pub key: EffectKey,
    /// `tool grep new`, `section project changed`, `history`, `route a was b`.
    pub changed: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    pub seq: Seq,
    pub key: EffectKey,
    pub what: String,
}

/// Folds a session and derives each of its requests. Makes no model call, starts no tool, reads no clock.
pub async fn replay(parts: &Parts, session: &SessionId) -> Result<Replayed, RuntimeError> {
    let mut records = Vec::new();
    let read = for_each_record(&parts.log, session, |owner, sealed| {
        records.push((owner.clone(), sealed.record));
        Ok(())
    });
    read.await?;
    let mut state = State::default();
    let mut prompts: Option<(Digest, Prompt)> = None;
    let mut cache = EncodeCache::default();
    let mut shown = sterna_context::Loaded::new();
    let mut found = Replayed {
        session: session.clone(),
        records: records.len() as u64,
        requests: 0,
        imported: 0,
        difference: None,
        prefix_breaks: Vec::new(),
    };
    for (owner, record) in &records {
        if let Body::Intent(intent) = &record.body
            && let Intended::Judge(judge) = &intent.what
        {
            found.requests += 1;
            let body = judge_request(parts, judge).await?;
            let sent = (judge.request, judge.bytes, judge.encoder.as_str());
            found.compare(record.seq, &intent.key, &body, sent, &parts.provider.encoder(&judge.route));
        }
        if let Body::Intent(intent) = &record.body
            && let Some(model) = intent.what.request()
        {
            if model.is_imported() {
                found.imported += 1;
                state.apply_of(owner == session, owner, record)?;
                continue;
            }
            let prompt = match &prompts {
                Some((hash, prompt)) if *hash == model.manifest => prompt.clone(),
                _ => {
                    let loaded = load_prompt(&parts.blobs, &model.manifest).await;
                    let prompt = loaded.map_err(|e| RuntimeError::Refused(e.to_string()))?;
                    prompts = Some((model.manifest, prompt.clone()));
                    prompt
                }
            };
            let Some(turn) = state.turn.clone() else {
                return Err(RuntimeError::NoTurn(owner.clone()));
            };
            bring_summary(&parts.blobs, &mut state.transcript).await?;
            let facts = TurnFacts::of(&turn).schema_native(model.schema_native).thinking(model.thinking);
            let request = match &intent.what {
                Intended::Compact(compact) => summary_request(&prompt, &state, &facts, compact),
                _ => {
                    let items = state.transcript.with(&model.inputs);
                    let sight = model.files.map(|files| files.sight).unwrap_or_default();
                    let has_files = state.transcript.has_files(&items);
                    let (items, _) = files::shown(items, has_files, sight, &parts.blobs, &mut shown).await?;
                    derive(
                        &prompt,
                        items,
                        &state.folded.world,
                        &facts,
                        &model.route,
                        model.transition,
                        model.tools_off,
                        model.max_output,
                    )
                }
            };
            let body = parts.provider.encode(&request, &mut cache);
            found.requests += 1;
            if !model.prefix_broken.is_empty() {
                let changed = model.prefix_broken.clone();
                found.prefix_breaks.push(PrefixBreak { seq: record.seq, key: intent.key.clone(), changed });
            }
            let sent = (model.request, model.bytes, model.encoder.as_str());
            found.compare(record.seq, &intent.key, &body, sent, &parts.provider.encoder(&model.route));
        }
        state.apply_of(owner == session, owner, record)?;
    }
    Ok(found)
}

impl Replayed {
    /// Notes the first request that is not what was sent: hash, size and encoder of that are in its intent.
    fn compare(
        &mut self,
        seq: Seq,
        key: &EffectKey,
        body: &Encoded,
        (request, bytes, by): (Digest, u64, &str),
        encoder: &str,
    ) {
        if self.difference.is_some() || (body.hash, body.bytes) == (request, bytes) {
            return;
        }
        let encoder = format!("{encoder}+context/{CONTEXT_VERSION}");
        let what = if encoder == by {
            format!(
                "the request has {} bytes and hash {}, the one that was sent {bytes} bytes and {request}",
                body.bytes, body.hash
            )
        } else {
            format!("it was encoded by {by}, this Sterna encodes by {encoder}")
        };
        self.difference = Some(Difference { seq, key: key.clone(), what });
    }
}

/// Reads a stored prompt: the manifest and all that it names.
pub(crate) async fn load_prompt(blobs: &SharedBlobs, manifest: &Digest) -> Result<Prompt, PromptError> {
    let missing = |e: sterna_log::LogError| PromptError(e.to_string());
    let bytes = blobs.get(manifest).await.map_err(missing)?;
    let parsed: Manifest = serde_json::from_slice(&bytes).map_err(|e| PromptError(e.to_string()))?;
    let mut held = std::collections::HashMap::from([(*manifest, bytes.to_vec())]);
    for hash in parsed.parts.iter().map(|p| p.text.hash).chain(parsed.tools.iter().map(|t| t.spec.hash)) {
        if let std::collections::hash_map::Entry::Vacant(slot) = held.entry(hash) {
            slot.insert(blobs.get(&hash).await.map_err(missing)?.to_vec());
        }
    }
    Prompt::load(manifest, |hash| {
        held.get(hash).cloned().ok_or_else(|| PromptError(format!("blob {hash} is missing")))
    })
}
