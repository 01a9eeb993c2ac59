//! Memory as a record tells it: what its turns were reminded of, and nothing more.

use std::collections::BTreeMap;

use futures::FutureExt;
use futures::future::BoxFuture;
use sterna_log::fold::Note;
use sterna_model::{Body, MemoryChange, MemoryScope, RecalledNote, Record, Seq, input_text};
use sterna_tool::{Memory, MemoryError, MemoryPlace, NewNote, PastHit, Remembered};

/// Reminders by the text of the inputs that they were given for.
pub(super) struct PlayedMemory(BTreeMap<String, Vec<RecalledNote>>);

impl PlayedMemory {
    /// `None`: no turn was reminded of anything.
    pub fn of<'a>(records: impl Iterator<Item = &'a Record>) -> Option<Self> {
        let (mut inputs, mut last) = (BTreeMap::<Seq, String>::new(), String::new());
        let mut told = BTreeMap::new();
        for record in records {
            match &record.body {
                Body::InputAccepted(input) => {
                    inputs.insert(record.seq, input_text(&input.parts));
                }
                Body::InputEdited { input, parts, .. } => {
                    inputs.insert(*input, input_text(parts));
                }
                Body::TurnStarted(started) => {
                    let texts = started.inputs.iter().filter_map(|seq| inputs.get(seq)).cloned();
                    last = texts.collect::<Vec<_>>().join("\n");
                }
                Body::Memory(change) => {
                    if let MemoryChange::Recalled { notes } = &**change {
                        told.insert(last.clone(), notes.clone());
                    }
                }
                _ => {}
            }
        }
        (!told.is_empty()).then_some(Self(told))
    }
}

impl Memory for PlayedMemory {
    fn remember<'a>(
        &'a self,
        _: &'a MemoryPlace,
        _: &'a str,
        _: NewNote,
    ) -> BoxFuture<'a, Result<Remembered, MemoryError>> {
        std::future::ready(Err(refused())).boxed()
    }

    fn forget<'a>(
        &'a self,
        _: &'a MemoryPlace,
        _: &'a str,
        _: &'a str,
        _: Option<MemoryScope>,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Note, MemoryError>> {
        std::future::ready(Err(refused())).boxed()
    }

    fn list<'a>(&'a self, _: &'a MemoryPlace) -> BoxFuture<'a, Result<Vec<Note>, MemoryError>> {
        std::future::ready(Err(refused())).boxed()
    }

    fn get<'a>(&'a self, _: &'a MemoryPlace, _: &'a str) -> BoxFuture<'a, Result<Option<Note>, MemoryError>> {
        std::future::ready(Err(refused())).boxed()
    }

    fn search<'a>(
        &'a self,
        _: &'a MemoryPlace,
        _: &'a str,
        _: usize,
    ) -> BoxFuture<'a, Result<Vec<Note>, MemoryError>> {
        std::future::ready(Err(refused())).boxed()
    }

    fn remind<'a>(
        &'a self,
        _: &'a MemoryPlace,
        input: &'a str,
    ) -> BoxFuture<'a, Result<Vec<RecalledNote>, MemoryError>> {
        std::future::ready(Ok(self.0.get(input).cloned().unwrap_or_default())).boxed()
    }

    fn past<'a>(
        &'a self,
        _: &'a MemoryPlace,
        _: &'a str,
        _: usize,
    ) -> BoxFuture<'a, Result<Vec<PastHit>, MemoryError>> {
        std::future::ready(Err(refused())).boxed()
    }
}

fn refused() -> MemoryError {
    MemoryError::Refused("a session that is lived again touches no memory".into())
}
