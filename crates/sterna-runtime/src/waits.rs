//! Answers to waits: the first one counts, from any process, before or after a restart, and with a signed key also
//! before the wait is opened.

use sterna_log::{LogError, Receipt};
use sterna_model::{
    Body, Draft, EffectClass, GrantScope, Mode, Record, Rewrite, Ruling, Seq, SessionId, ToolCall,
    TurnStarted, WaitId, WaitOn, waiting_call,
};
use sterna_turn::TurnMachine;

use crate::effects::pipeline::places_of;
use crate::kept::granted;
use crate::tools::{inside, with_arguments};
use crate::{Runtime, RuntimeError};

/// An answer to a wait.
pub struct Resolve {
    pub session: SessionId,
    pub wait: WaitId,
    pub ruling: Ruling,
    /// Allow the same content again without asking, for this long.
    pub grant: Option<GrantScope>,
    pub by: String,
}

impl Runtime {
    /// Answers a wait. The first answer counts.
    pub async fn resolve(&self, resolve: Resolve) -> Result<Receipt, RuntimeError> {
        self.settle(resolve, false).await
    }

    /// A key for a wait of this session, for whoever is to answer it from outside. With it the wait can be answered
    /// before it is opened. Signed with the host's secret.
    ///
    /// Errors: `Refused` when the host has no secret (`Env::wait_secret`).
    pub fn wait_key(&self, wait: &WaitId) -> Result<String, RuntimeError> {
        let secret = self.0.parts.env.wait_secret();
        let secret =
            secret.ok_or_else(|| RuntimeError::Refused("this host has no secret to sign keys".into()))?;
        Ok(sign(&secret, wait))
    }

    /// Answers the wait of a key, also when it is not open yet. The first answer counts.
    ///
    /// Errors: `ForgedKey`, `AlreadyResolved`, `NoWait` when the turn that it would belong to is over, `Refused` for an
    /// edit of what is not known yet.
    pub async fn resolve_key(
        &self,
        key: &str,
        ruling: Ruling,
        by: &str,
    ) -> Result<(SessionId, Receipt), RuntimeError> {
        let secret = self.0.parts.env.wait_secret();
        let wait = secret.and_then(|secret| verify(&secret, key)).ok_or(RuntimeError::ForgedKey)?;
        let session = waiting_call(&wait).ok_or(RuntimeError::ForgedKey)?.session;
        let resolve = Resolve { session: session.clone(), wait, ruling, grant: None, by: by.into() };
        Ok((session, self.settle(resolve, true).await?))
    }

    /// Writes an answer down. `may_be_early`: also for a wait that is not open yet.
    async fn settle(&self, resolve: Resolve, may_be_early: bool) -> Result<Receipt, RuntimeError> {
        let Resolve { session, wait, ruling, grant, by } = resolve;
        let no_wait = || RuntimeError::NoWait { session: session.clone(), wait: wait.clone() };
        let mut folded = self.folded(&session).await?;
        if folded.places().wait(&wait).is_none() {
            if !(may_be_early && may_come(folded.machine(), &session, &wait)) {
                return Err(no_wait());
            }
            if matches!(ruling, Ruling::Edited(_)) {
                let why = "what waits for this key is not known yet, so it cannot be edited";
                return Err(RuntimeError::Refused(why.into()));
            }
            check_plan(&ruling)?;
            let (early, by) = (ruling.clone(), by.clone());
            let body = Body::WaitResolved { wait: wait.clone(), ruling: early, by, early: true };
            let id = format!("early:{wait}");
            let receipt = self.first(&session, id, vec![self.draft(None, body)], &wait).await?;
            let mut opened = false;
            let look = |_: &TurnMachine, record: &Record| {
                let opens = matches!(&record.body, Body::WaitOpened(open) if open.wait == wait);
                opened |= opens && record.seq < receipt.first;
            };
            self.read_on(&mut folded, look).await?;
            if !opened {
                return Ok(receipt);
            }
            // It was opened meanwhile, so that this came too late to be early.
        }
        let Some(opened) = folded.places().wait(&wait).filter(|opened| !opened.answered) else {
            return Err(already(wait));
        };
        if !may_come(folded.machine(), &session, &wait) {
            return Err(no_wait());
        }
        let on = self.waits_on(&session, opened.seq).await?.ok_or_else(no_wait)?;
        if !on.takes(&ruling) {
            let wants = match &on {
                WaitOn::Approval(_) => "an approval, which is allowed or denied",
                WaitOn::Questions(_) => "a question, which is answered or refused",
                WaitOn::Child(_) => "a child's turn, whose end answers it",
                WaitOn::Plan(_) => "a plan, which is approved or refused",
                WaitOn::Timer => "a time, which comes by itself",
                WaitOn::Signal { .. } => "a signal, which is sent by its name",
            };
            return Err(RuntimeError::Refused(format!("`{wait}` is {wants}")));
        }
        // The last turn is the one of the wait.
        let turn = match folded.places().turn() {
            Some(seq) if grant.is_some() || matches!(ruling, Ruling::Edited(_)) => {
                self.started(&session, seq).await?
            }
            _ => None,
        };
        let ruling = self.checked(&on, called(folded.machine(), &wait), turn.as_deref(), ruling)?;
        let mut drafts = Vec::new();
        let mut kept = None;
        if let (WaitOn::Approval(approval), Some(scope), Ruling::Allow) = (&on, grant, &ruling) {
            let grant = granted(approval, scope, self.0.parts.env.now());
            kept = scope.is_stored().then(|| (grant.clone(), by.clone()));
            drafts.push(self.draft(None, Body::GrantGiven { grant, by: by.clone() }));
        }
        drafts.push(self.draft(None, Body::WaitResolved { wait: wait.clone(), ruling, by, early: false }));
        let receipt = self.first(&session, resolution_id(&wait), drafts, &wait).await?;
        if let Some((grant, by)) = kept {
            // Only now: had somebody else answered first, nothing would be granted.
            let root = turn.as_ref().map_or("", |turn| turn.given.root.as_str());
            self.keep_grant(root, grant, &by).await?;
        }
        Ok(receipt)
    }

    /// What a wait is for, by the record that opened it.
    pub(crate) async fn waits_on(
        &self,
        session: &SessionId,
        seq: Seq,
    ) -> Result<Option<WaitOn>, RuntimeError> {
        let read = self.0.parts.log.read(session, seq, 1).await?.pop();
        Ok(read.and_then(|sealed| match sealed.record.body {
            Body::WaitOpened(opened) => Some(opened.on),
            _ => None,
        }))
    }

    /// The turn that this record began.
    async fn started(&self, session: &SessionId, seq: Seq) -> Result<Option<Box<TurnStarted>>, RuntimeError> {
        let read = self.0.parts.log.read(session, seq, 1).await?.pop();
        Ok(read.and_then(|sealed| match sealed.record.body {
            Body::TurnStarted(started) => Some(started),
            _ => None,
        }))
    }

    /// A person's own words are checked as the model's are, before they are taken.
    fn checked(
        &self,
        on: &WaitOn,
        call: Option<ToolCall>,
        turn: Option<&TurnStarted>,
        ruling: Ruling,
    ) -> Result<Ruling, RuntimeError> {
        check_plan(&ruling)?;
        let (WaitOn::Approval(approval), Ruling::Edited(Rewrite { arguments, .. })) = (on, &ruling) else {
            return Ok(ruling);
        };
        let (tools, tool) = (&self.0.parts.tools, &approval.tool);
        let plain =
            || ToolCall { id: String::new(), name: tool.clone(), arguments: String::new(), truncated: false };
        let call = call.unwrap_or_else(plain);
        // Of a call inside another one a person may write either.
        let whole = ToolCall { arguments: arguments.clone(), ..call.clone() };
        let is_whole = inside(&whole).is_some_and(|inner| inner.name == *tool);
        let edited = if is_whole { whole } else { with_arguments(&call, arguments.clone()) };
        let (class, effects) = match tools.get(tool) {
            Some(known) => {
                let inner = inside(&edited).unwrap_or_else(|| edited.clone());
                let args = tools.arguments(tool, &inner.arguments).map_err(|why| {
                    RuntimeError::Refused(format!("`{tool}` does not take these arguments: {why}"))
                })?;
                let env = &*self.0.parts.env;
                let effects = turn.and_then(|turn| places_of(&known, &args, turn, env));
                (tools.class(&inner), effects)
            }
            // Whoever drives the turn knows the tool, and checks. Nobody may run it twice.
            None => (EffectClass::AtMostOnce, None),
        };
        Ok(Ruling::Edited(Rewrite { arguments: edited.arguments, class, effects }))
    }

    /// Appends an answer that is refused when there is one.
    pub(crate) async fn first(
        &self,
        session: &SessionId,
        id: String,
        drafts: Vec<Draft>,
        wait: &WaitId,
    ) -> Result<Receipt, RuntimeError> {
        match self.append(&self.0.shared(session), &id, drafts).await {
            // Somebody else was faster, with other words.
            Err(RuntimeError::Log(error)) if matches!(*error, LogError::Conflict { .. }) => {
                Err(already(wait.clone()))
            }
            Ok(receipt) if receipt.repeated => Err(already(wait.clone())),
            other => other,
        }
    }
}

/// The turn of this wait is not over.
fn may_come(machine: &TurnMachine, session: &SessionId, wait: &str) -> bool {
    let over = machine.turn().map_or(machine.turns(), |turn| turn.number.saturating_sub(1));
    waiting_call(wait).is_some_and(|key| key.session == *session && key.turn > over)
}

/// The call that a wait of the current step is about.
fn called(machine: &TurnMachine, wait: &str) -> Option<ToolCall> {
    let key = waiting_call(wait)?;
    let turn = machine.turn().filter(|turn| (turn.number, turn.steps()) == (key.turn, key.step))?;
    turn.calls().get(key.ordinal as usize).map(|called| called.call.clone())
}

/// Refuses an approval of a plan that cannot be one.
fn check_plan(ruling: &Ruling) -> Result<(), RuntimeError> {
    let Ruling::Plan { mode, content } = ruling else { return Ok(()) };
    let wrong = |why: &str| Err(RuntimeError::Refused(why.into()));
    if *mode == Some(Mode::Plan) {
        return wrong("a plan is approved to leave plan mode: name another mode");
    }
    match content {
        Some(text) if text.trim().is_empty() || text.len() > PLAN_BYTES => {
            wrong("a plan has some text, and at most 64 KiB")
        }
        Some(_) | None => Ok(()),
    }
}

/// The id under which the store takes one answer to an open wait, whoever gives it.
pub(crate) fn resolution_id(wait: &str) -> String {
    format!("resolved:{wait}")
}

fn already(wait: WaitId) -> RuntimeError {
    RuntimeError::AlreadyResolved { wait }
}

/// A key for this wait: `{wait}~{32 hex digits}`.
pub(crate) fn sign(secret: &[u8; 32], wait: &str) -> String {
    format!("{wait}{MARK}{}", proof(secret, wait))
}

/// The wait of a key that was made with this secret.
pub(crate) fn verify(secret: &[u8; 32], key: &str) -> Option<WaitId> {
    let (wait, said) = key.rsplit_once(MARK)?;
    // Hashes are compared, so that the time taken tells nothing of the proof.
    let same = blake3::hash(said.as_bytes()) == blake3::hash(proof(secret, wait).as_bytes());
    same.then(|| wait.to_owned())
}

fn proof(secret: &[u8; 32], wait: &str) -> String {
    let hash = blake3::keyed_hash(secret, format!("{PURPOSE}{wait}").as_bytes());
    hash.to_hex()[..PROOF_DIGITS].to_owned()
}

/// Bytes of a plan.
const PLAN_BYTES: usize = 64 << 10;
const MARK: char = '~';
/// What else the secret may come to sign is another text.
const PURPOSE: &str = "sterna wait 1\n";
/// 128 bits.
const PROOF_DIGITS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secret_makes_a_key_of_a_wait() {
        let (ours, theirs) = ([1; 32], [2; 32]);
        let key = sign(&ours, "s/1/1/tool/0");
        assert_eq!(verify(&ours, &key).as_deref(), Some("s/1/1/tool/0"));
        assert_eq!(verify(&theirs, &key), None);
        let mut forged = vec![key.replace("/0~", "/1~"), key.replace('~', ""), "~".into(), String::new()];
        forged.extend((0..key.len()).map(|to| key[..to].to_owned()));
        for key in forged {
            assert_eq!(verify(&ours, &key), None, "{key}");
        }
    }
}
