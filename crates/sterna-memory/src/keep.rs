//! Notes kept in the log of their scope, and found again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use sterna_llm::embed::{Embedder, LocalEmbedder, similarity};
use sterna_log::fold::{Note, Notes, name_key};
use sterna_log::{
    Append, Expect, LogError, SharedLog, append_reserved, project_log, project_log_of, read_history,
    user_log, user_log_of, words,
};
use sterna_model::{
    Body, Draft, MemoryChange, MemoryNote, MemoryScope, Millis, RecalledNote, Seq, SessionId,
};
use sterna_secrets::{Redactor, Scoped};
use sterna_tool::{Memory, MemoryError, MemoryPlace, NewNote, PastHit, Remembered};

use crate::past;
use crate::rank::{Document, bm25, fused, is_common, names};

/// Notes of one scope that are in use, at most.
pub const LIMIT: usize = 1_000;
/// Bytes of a note's text, at most.
pub const MAX_NOTE_BYTES: usize = 8 << 10;
/// How long a note is recalled that nobody uses: 30 days.
pub const UNUSED_MS: Millis = 30 * DAY_MS;

/// Finds secrets in what is to be kept.
type Secrets = Arc<dyn Fn() -> Scoped + Send + Sync>;

/// Memory in the reserved logs of a store. Cheap to clone.
#[derive(Clone)]
pub struct LogMemory(Arc<Inner>);

struct Inner {
    log: SharedLog,
    /// Whose notes: `None` is the one user of the store.
    user: Option<String>,
    secrets: Secrets,
    embedder: Arc<dyn Embedder>,
    /// Folds of logs, as far as they were read.
    read: Mutex<BTreeMap<SessionId, Read>>,
    /// Vectors of texts, by the hash of the embedder's name and the text.
    vectors: Mutex<BTreeMap<[u8; 32], Arc<[f32]>>>,
}

#[derive(Clone)]
struct Read {
    next: Seq,
    notes: Notes,
}

impl LogMemory {
    /// Notes of the one user of a store. Reads nothing yet.
    pub fn new(log: SharedLog) -> Self {
        let redactor = std::sync::OnceLock::new();
        let secrets: Secrets = Arc::new(move || {
            let made = redactor.get_or_init(|| {
                Redactor::new(sterna_secrets::Config::default()).expect("the built-in patterns compile")
            });
            made.scoped("")
        });
        Self(Arc::new(Inner {
            log,
            user: None,
            secrets,
            embedder: Arc::new(LocalEmbedder),
            read: Mutex::default(),
            vectors: Mutex::default(),
        }))
    }

    /// Notes of one of many users whose sessions are in one store: none of them finds those of another.
    pub fn of_user(self, user: impl Into<String>) -> Self {
        let user = Some(user.into());
        self.with(|inner| Inner { user, ..inner })
    }

    /// What is a secret here, beside what looks like one.
    pub fn secrets(self, secrets: impl Fn() -> Scoped + Send + Sync + 'static) -> Self {
        self.with(|inner| Inner { secrets: Arc::new(secrets), ..inner })
    }

    /// Makes the vectors of notes and queries. When it fails, the local one does.
    pub fn embedder(self, embedder: Arc<dyn Embedder>) -> Self {
        self.with(|inner| Inner { embedder, ..inner })
    }

    fn with(self, change: impl FnOnce(Inner) -> Inner) -> Self {
        let of = &self.0;
        Self(Arc::new(change(Inner {
            log: of.log.clone(),
            user: of.user.clone(),
            secrets: of.secrets.clone(),
            embedder: of.embedder.clone(),
            read: Mutex::default(),
            vectors: Mutex::default(),
        })))
    }

    /// The log of a scope. `None`: the place has no session.
    fn log_of(&self, at: &MemoryPlace, scope: MemoryScope) -> Option<SessionId> {
        match (scope, &self.0.user) {
            (MemoryScope::User, None) => Some(user_log()),
            (MemoryScope::User, Some(user)) => Some(user_log_of(user)),
            (MemoryScope::Project, None) => Some(project_log(&at.root)),
            (MemoryScope::Project, Some(user)) => Some(project_log_of(user, &at.root)),
            (MemoryScope::Session, _) => at.session.clone(),
        }
    }

    async fn notes(&self, at: &MemoryPlace, scope: MemoryScope) -> Result<Notes, MemoryError> {
        let Some(id) = self.log_of(at, scope) else { return Ok(Notes::new(scope)) };
        match self.read(&id, scope).await {
            Ok(notes) => Ok(notes),
            // Never made, or removed with all that was in it.
            Err(MemoryError::Log(LogError::NotFound(_) | LogError::Tombstone(_))) => Ok(Notes::new(scope)),
            Err(error) => Err(error),
        }
    }

    /// Through forks: what was remembered before a fork is remembered in it.
    async fn session_notes(&self, id: &SessionId) -> Result<Read, MemoryError> {
        let mut read = Read { next: 1, notes: Notes::new(MemoryScope::Session) };
        let mut history = read_history(&*self.0.log, id).await?;
        loop {
            let page = history.next_page().await?;
            if page.is_empty() {
                return Ok(read);
            }
            for (owner, sealed) in page {
                read.notes.apply(&sealed.record);
                if owner == *id {
                    read.next = sealed.record.seq + 1;
                }
            }
        }
    }

    /// What was read before is not read again.
    async fn read(&self, id: &SessionId, scope: MemoryScope) -> Result<Notes, MemoryError> {
        let known = self.0.read.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        let mut read = match (known, scope) {
            (Some(known), _) => known,
            (None, MemoryScope::Session) => self.session_notes(id).await?,
            (None, MemoryScope::User | MemoryScope::Project) => Read { next: 1, notes: Notes::new(scope) },
        };
        loop {
            let page = self.0.log.read(id, read.next, PAGE).await?;
            for sealed in &page {
                read.notes.apply(&sealed.record);
                read.next = sealed.record.seq + 1;
            }
            if page.len() < PAGE {
                break;
            }
        }
        let notes = read.notes.clone();
        let mut held = self.0.read.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= LOGS {
            held.clear();
        }
        held.insert(id.clone(), read);
        Ok(notes)
    }

    async fn all(&self, at: &MemoryPlace) -> Result<Vec<Note>, MemoryError> {
        let mut all = Vec::new();
        for scope in MemoryScope::ALL {
            all.extend(self.notes(at, scope).await?.iter().cloned());
        }
        Ok(all)
    }

    async fn keep(&self, at: &MemoryPlace, once: &str, new: NewNote) -> Result<Remembered, MemoryError> {
        let new = checked(new)?;
        let secrets = (self.0.secrets)();
        let parts = [&new.name, &new.text].into_iter().chain(&new.tags).chain(&new.aliases);
        for part in parts {
            if secrets.finds(part) {
                return Err(refused(
                    "it holds a secret, and nothing secret is remembered; leave it out and say where it is kept",
                ));
            }
            if let Some((_, placeholder)) = sterna_model::placeholders(part).next() {
                return Err(refused(&format!(
                    "it holds `{placeholder}`, which stands for a secret, and nothing secret is remembered; leave it \
                     out and say where it is kept"
                )));
            }
        }
        let scope = new.scope;
        let log = self.log_of(at, scope).ok_or_else(|| refused("there is no session to remember it in"))?;
        let notes = self.notes(at, scope).await?;
        let held = notes.named(&new.name);
        let in_use = notes.iter().filter(|note| is_used(note, at.now)).count();
        if held.is_none() && in_use >= LIMIT {
            return Err(refused(&format!(
                "{scope} has {LIMIT} notes, which is all it may have; forget some, or let one note say what several do"
            )));
        }
        let clashing = notes.iter().find(|note| {
            name_key(&note.note.name) != name_key(&new.name)
                && note.note.aliases.iter().any(|alias| name_key(alias) == name_key(&new.name))
        });
        if let Some(clashing) = clashing {
            return Err(refused(&format!(
                "`{}` is another name of the note `{}`; write that one, or take another name",
                new.name, clashing.note.name
            )));
        }
        let id = held.map_or_else(|| id_of(&log, &new.name), |held| held.note.id.clone());
        let replaced = held.is_some();
        let NewNote { scope, name, text, tags, aliases, source, tainted } = new;
        let note = MemoryNote { id: id.clone(), name, scope, text, tags, aliases, source, tainted };
        self.append(at, scope, &log, once, MemoryChange::Kept(note)).await?;
        Ok(Remembered { id, replaced })
    }

    async fn append(
        &self,
        at: &MemoryPlace,
        scope: MemoryScope,
        log: &SessionId,
        once: &str,
        change: MemoryChange,
    ) -> Result<(), MemoryError> {
        let draft = Draft { at: at.now, turn: None, step: None, body: Body::Memory(Box::new(change)) };
        let done = match scope {
            MemoryScope::User => append_reserved(&*self.0.log, log, "/", once, draft).await,
            MemoryScope::Project => append_reserved(&*self.0.log, log, &at.root, once, draft).await,
            MemoryScope::Session => {
                let (session, id) = (log.clone(), once.to_owned());
                let (expect, records, blobs) = (Expect::Any, vec![draft], Vec::new());
                self.0.log.append(Append { session, expect, id, records, blobs }).await
            }
        };
        match done {
            // The same call again, after a crash took its outcome: what it wrote stands.
            Ok(_) | Err(LogError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn drop_note(
        &self,
        at: &MemoryPlace,
        once: &str,
        reference: &str,
        scope: Option<MemoryScope>,
        by: &str,
    ) -> Result<Note, MemoryError> {
        let found = self.find(at, reference, scope).await?;
        let found = found.ok_or_else(|| MemoryError::Unknown(shown(reference)))?;
        let scope = found.note.scope;
        let log = self.log_of(at, scope).ok_or_else(|| MemoryError::Unknown(shown(reference)))?;
        let change = MemoryChange::Forgotten { ids: vec![found.note.id.clone()], by: by.to_owned() };
        self.append(at, scope, &log, once, change).await?;
        Ok(found)
    }

    /// By id, then by name, then by alias; the nearest scope first.
    async fn find(
        &self,
        at: &MemoryPlace,
        reference: &str,
        scope: Option<MemoryScope>,
    ) -> Result<Option<Note>, MemoryError> {
        let key = name_key(reference);
        let mut all = self.all(at).await?;
        all.retain(|note| scope.is_none_or(|scope| scope == note.note.scope));
        all.sort_by_key(|note| std::cmp::Reverse(note.note.scope));
        let by = |fits: &dyn Fn(&MemoryNote) -> bool| all.iter().find(|note| fits(&note.note)).cloned();
        Ok(by(&|note| note.id == reference.trim())
            .or_else(|| by(&|note| name_key(&note.name) == key))
            .or_else(|| by(&|note| note.aliases.iter().any(|alias| name_key(alias) == key))))
    }

    async fn ranked(
        &self,
        at: &MemoryPlace,
        query: &str,
        limit: usize,
        embedder: &Arc<dyn Embedder>,
        floor: f64,
    ) -> Result<Vec<Note>, MemoryError> {
        let mut all = self.all(at).await?;
        all.retain(|note| is_used(note, at.now));
        if all.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        let documents: Vec<Document> = all.iter().map(|note| document(&note.note)).collect();
        let by_words = bm25(&documents, query);
        let said = documents.iter().map(|document| f64::from(u8::from(names(document, query))));
        let said: Vec<f64> = said.collect();
        let near = self.near(&all, query, embedder).await;
        let order = fused(&[(&by_words, 0.0), (&said, 0.0), (&near, floor)]);
        Ok(order.into_iter().take(limit).filter_map(|at| all.get(at).cloned()).collect())
    }

    /// How near each note is to a query, by the angle of their vectors.
    async fn near(&self, all: &[Note], query: &str, embedder: &Arc<dyn Embedder>) -> Vec<f64> {
        let mut texts = vec![query.to_owned()];
        texts.extend(all.iter().map(|note| {
            let note = &note.note;
            [&note.name, &note.text].into_iter().chain(&note.aliases).cloned().collect::<Vec<_>>().join("\n")
        }));
        let local: Arc<dyn Embedder> = Arc::new(LocalEmbedder);
        let is_local = embedder.name() == local.name();
        let vectors = if is_local { None } else { self.vectors(&texts, embedder).await };
        let vectors = match vectors {
            Some(vectors) => Some(vectors),
            // It knows spelling alone: what is in every text would make all of them alike.
            None => {
                texts.iter_mut().for_each(|text| *text = telling(text));
                self.vectors(&texts, &local).await
            }
        };
        let Some(vectors) = vectors else { return vec![0.0; all.len()] };
        let (query, notes) = vectors.split_at(1);
        notes.iter().map(|note| f64::from(similarity(&query[0], note))).collect()
    }

    /// A vector for each text, those of the notes from before where they are known. `None`: none could be had.
    async fn vectors(&self, texts: &[String], embedder: &Arc<dyn Embedder>) -> Option<Vec<Arc<[f32]>>> {
        let name = embedder.name();
        let key = |text: &String| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(name.as_bytes()).update(&[0]).update(text.as_bytes());
            *hasher.finalize().as_bytes()
        };
        let keys: Vec<[u8; 32]> = texts.iter().map(key).collect();
        let missing: Vec<usize> = {
            let known = self.0.vectors.lock().unwrap_or_else(PoisonError::into_inner);
            (0..texts.len()).filter(|at| !known.contains_key(&keys[*at])).collect()
        };
        let mut made = BTreeMap::new();
        for some in missing.chunks(EMBED_AT_ONCE) {
            let asked: Vec<String> = some.iter().map(|at| texts[*at].clone()).collect();
            let embedded = embedder.embed(&asked).await.ok()?;
            made.extend(some.iter().map(|at| keys[*at]).zip(embedded.vectors.into_iter().map(Arc::from)));
        }
        let mut known = self.0.vectors.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() > VECTORS {
            known.clear();
        }
        let of = |key: &[u8; 32]| made.get(key).or_else(|| known.get(key)).cloned();
        let found: Option<Vec<Arc<[f32]>>> = keys.iter().map(of).collect();
        // Queries come and go: only the notes' are kept.
        if let Some(query) = keys.first() {
            made.remove(query);
        }
        known.extend(made);
        found
    }

    /// Writes down that notes were recalled, once a day. Best effort: nothing hangs on it but how long they are.
    async fn used(&self, at: &MemoryPlace, notes: &[Note]) {
        for scope in [MemoryScope::User, MemoryScope::Project] {
            let due = |note: &&Note| note.note.scope == scope && at.now >= note.used.saturating_add(DAY_MS);
            let mut ids: Vec<String> = notes.iter().filter(due).map(|note| note.note.id.clone()).collect();
            let Some(log) = self.log_of(at, scope).filter(|_| !ids.is_empty()) else { continue };
            ids.sort_unstable();
            let of = blake3::hash(ids.join(" ").as_bytes()).to_hex();
            let once = format!("used:{}:{}", at.now / DAY_MS, &of[..ID_DIGITS]);
            let _ = self.append(at, scope, &log, &once, MemoryChange::Used { ids }).await;
        }
    }
}

impl Memory for LogMemory {
    fn remember<'a>(
        &'a self,
        at: &'a MemoryPlace,
        once: &'a str,
        note: NewNote,
    ) -> BoxFuture<'a, Result<Remembered, MemoryError>> {
        self.keep(at, once, note).boxed()
    }

    fn forget<'a>(
        &'a self,
        at: &'a MemoryPlace,
        once: &'a str,
        reference: &'a str,
        scope: Option<MemoryScope>,
        by: &'a str,
    ) -> BoxFuture<'a, Result<Note, MemoryError>> {
        self.drop_note(at, once, reference, scope, by).boxed()
    }

    fn list<'a>(&'a self, at: &'a MemoryPlace) -> BoxFuture<'a, Result<Vec<Note>, MemoryError>> {
        self.all(at).boxed()
    }

    fn get<'a>(
        &'a self,
        at: &'a MemoryPlace,
        reference: &'a str,
    ) -> BoxFuture<'a, Result<Option<Note>, MemoryError>> {
        async move {
            let found = self.find(at, reference, None).await?;
            self.used(at, found.as_slice()).await;
            Ok(found)
        }
        .boxed()
    }

    fn search<'a>(
        &'a self,
        at: &'a MemoryPlace,
        query: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Note>, MemoryError>> {
        async move {
            let found = self.ranked(at, query, limit.min(MOST_HITS), &self.0.embedder, NEAR).await?;
            self.used(at, &found).await;
            Ok(found)
        }
        .boxed()
    }

    fn remind<'a>(
        &'a self,
        at: &'a MemoryPlace,
        input: &'a str,
    ) -> BoxFuture<'a, Result<Vec<RecalledNote>, MemoryError>> {
        async move {
            if at.session.is_none() && !self.0.log.may_hold_reserved() {
                return Ok(Vec::new());
            }
            let input = &input[..input.floor_char_boundary(INPUT_BYTES)];
            let found = self.ranked(at, input, REMINDED, &self.0.embedder, REMIND_NEAR).await?;
            self.used(at, &found).await;
            Ok(found.into_iter().map(reminder).collect())
        }
        .boxed()
    }

    fn past<'a>(
        &'a self,
        at: &'a MemoryPlace,
        query: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<PastHit>, MemoryError>> {
        past::search(&*self.0.log, at, query, limit.min(MOST_HITS)).boxed()
    }
}

fn document(note: &MemoryNote) -> Document {
    let names = std::iter::once(&note.name).chain(&note.aliases).map(String::as_str);
    Document::new(names, note.tags.iter().map(String::as_str).chain([note.text.as_str()]))
}

fn reminder(note: Note) -> RecalledNote {
    let MemoryNote { id, scope, name, mut text, tainted, .. } = note.note;
    let cut = text.len() > REMINDER_BYTES;
    text.truncate(text.floor_char_boundary(REMINDER_BYTES));
    RecalledNote { id, scope, name, text, cut, tainted }
}

/// Whether a note is recalled still.
fn is_used(note: &Note, now: Millis) -> bool {
    // What belongs to one session lasts as long as it.
    note.note.scope == MemoryScope::Session || now < note.used.saturating_add(UNUSED_MS)
}

fn id_of(log: &SessionId, name: &str) -> String {
    let hash = blake3::hash(format!("{log}\0{}", name_key(name)).as_bytes()).to_hex();
    format!("m{}", &hash[..ID_DIGITS])
}

/// A note in its proper form, or what is wrong with it.
fn checked(mut new: NewNote) -> Result<NewNote, MemoryError> {
    new.name = new.name.trim().to_owned();
    new.text = new.text.trim().to_owned();
    if new.name.is_empty() || new.text.is_empty() {
        return Err(refused("a note needs a name and a text"));
    }
    if new.text.len() > MAX_NOTE_BYTES {
        return Err(refused(&format!(
            "its text has {} bytes and may have {MAX_NOTE_BYTES}; keep the point of it, or write a file and note its \
             path",
            new.text.len()
        )));
    }
    for (what, list, most) in [("tag", &mut new.tags, TAG_CHARS), ("alias", &mut new.aliases, NAME_CHARS)] {
        list.iter_mut().for_each(|one| *one = one.trim().to_owned());
        list.retain(|one| !one.is_empty());
        let mut seen = std::collections::BTreeSet::new();
        list.retain(|one| seen.insert(name_key(one)));
        if list.len() > LIST {
            return Err(refused(&format!("it has {} {what} entries and may have {LIST}", list.len())));
        }
        if let Some(long) = list.iter().find(|one| !is_line(one, most)) {
            return Err(refused(&format!(
                "the {what} `{}` is not one line of {most} characters",
                shown(long)
            )));
        }
    }
    if !is_line(&new.name, NAME_CHARS) {
        return Err(refused(&format!("its name is not one line of {NAME_CHARS} characters")));
    }
    let key = name_key(&new.name);
    new.aliases.retain(|alias| name_key(alias) != key);
    Ok(new)
}

fn is_line(text: &str, most: usize) -> bool {
    text.chars().count() <= most && !text.chars().any(char::is_control)
}

/// The words that tell something, or all of them where none does.
fn telling(text: &str) -> String {
    let telling: Vec<String> = words(text).filter(|word| !is_common(word)).collect();
    if telling.is_empty() { text.to_owned() } else { telling.join(" ") }
}

fn shown(text: &str) -> String {
    text.chars().take(NAME_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn refused(why: &str) -> MemoryError {
    MemoryError::Refused(format!("not remembered: {why}"))
}

const DAY_MS: Millis = 24 * 3_600 * 1_000;
const NAME_CHARS: usize = 120;
const TAG_CHARS: usize = 64;
const LIST: usize = 16;
const ID_DIGITS: usize = 12;
const PAGE: usize = 512;
/// Logs whose folds are kept.
const LOGS: usize = 256;
/// Hits of a search, at most (design: 20).
const MOST_HITS: usize = 20;
/// Notes that a turn is reminded of (design: top 5).
const REMINDED: usize = 5;
const REMINDER_BYTES: usize = 1 << 10;
/// Of a long input the beginning says what it is about.
const INPUT_BYTES: usize = 8 << 10;
/// How near a note must be to be found by its vector alone. The local vectors of texts that have nothing in common are
/// 0.1 apart from nothing, and those with a misspelt word in common above 0.3.
const NEAR: f64 = 0.25;
/// The same for a reminder, which nobody has asked for.
const REMIND_NEAR: f64 = 0.35;
/// Texts that an embedder is sent at once.
const EMBED_AT_ONCE: usize = 256;
/// Vectors that are kept: 8 MiB of the local ones.
const VECTORS: usize = 4_096;
