//! What outlives sessions: grants that a person stored, in reserved logs of the same store.

use sterna_log::{LogError, SharedLog, append_reserved, is_reserved, project_log, user_log};
use sterna_model::{Body, Digest, Draft, Grant, GrantScope, Millis, SessionId, WaitId, WaitOn};

use crate::{Env, Runtime, RuntimeError};

/// How long a stored grant lasts: 30 days.
pub const STORED_MS: Millis = 30 * 24 * 3_600 * 1_000;

/// A grant that a person stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredGrant {
    pub grant: Grant,
    pub at: Millis,
    pub by: String,
    /// The folder of the project; `None` for one of the user.
    pub root: Option<String>,
}

impl Runtime {
    /// What the user and the project in this folder have granted and neither revoked nor let expire, oldest first.
    pub async fn stored_grants(&self, root: &str) -> Result<Vec<StoredGrant>, RuntimeError> {
        let now = self.0.parts.env.now();
        let stored = stored(&self.0.parts.log, root).await?;
        Ok(stored.into_iter().filter(|stored| lasts(&stored.grant, now)).collect())
    }

    /// Takes back what the user and the project in this folder have granted for this content. How many there were.
    pub async fn revoke_grant(&self, root: &str, content: Digest, by: &str) -> Result<usize, RuntimeError> {
        let log = &self.0.parts.log;
        let mut revoked = 0;
        for id in [user_log(), project_log(root)] {
            let held = of(log, &id).await?.into_iter().filter(|held| held.grant.content == content).count();
            if held > 0 {
                let body = Body::GrantRevoked { content, by: by.to_owned() };
                append(log, &*self.0.parts.env, &id, root, body).await?;
            }
            revoked += held;
        }
        Ok(revoked)
    }

    /// The grant that an answer to this wait would give: for people, before they say so.
    pub async fn grant_of(
        &self,
        session: &SessionId,
        wait: &WaitId,
        scope: GrantScope,
    ) -> Result<Grant, RuntimeError> {
        let folded = self.folded(session).await?;
        let on = match folded.places().wait(wait) {
            Some(opened) => self.waits_on(session, opened.seq).await?,
            None => None,
        };
        match on {
            Some(WaitOn::Approval(asked)) => Ok(granted(&asked, scope, self.0.parts.env.now())),
            _ => Err(RuntimeError::NoWait { session: session.clone(), wait: wait.clone() }),
        }
    }

    pub(crate) async fn keep_grant(&self, root: &str, grant: Grant, by: &str) -> Result<(), RuntimeError> {
        let id = if grant.scope == GrantScope::Project { project_log(root) } else { user_log() };
        let body = Body::GrantGiven { grant, by: by.to_owned() };
        append(&self.0.parts.log, &*self.0.parts.env, &id, root, body).await
    }
}

/// The grant for what an approval was asked for.
pub(crate) fn granted(approval: &sterna_model::Approval, scope: GrantScope, now: Millis) -> Grant {
    Grant {
        tool: approval.tool.clone(),
        summary: approval.summary.clone(),
        scope,
        content: approval.content,
        effects: approval.effects,
        expires: scope.is_stored().then(|| now.saturating_add(STORED_MS)),
        permits: None,
    }
}

/// The stored grants that hold in this folder, expired ones too.
pub(crate) async fn stored(log: &SharedLog, root: &str) -> Result<Vec<StoredGrant>, LogError> {
    let mut all = of(log, &user_log()).await?;
    let project = of(log, &project_log(root)).await?.into_iter();
    all.extend(project.map(|stored| StoredGrant { root: Some(root.to_owned()), ..stored }));
    Ok(all)
}

fn lasts(grant: &Grant, now: Millis) -> bool {
    grant.expires.is_none_or(|at| now < at)
}

/// The grants of one log that nobody revoked. None where there is no such log.
async fn of(log: &SharedLog, id: &SessionId) -> Result<Vec<StoredGrant>, LogError> {
    debug_assert!(is_reserved(id));
    let mut held: Vec<StoredGrant> = Vec::new();
    let mut from = 1;
    loop {
        let page = match log.read(id, from, PAGE).await {
            Err(LogError::NotFound(_)) => return Ok(held),
            page => page?,
        };
        let Some(last) = page.last() else { return Ok(held) };
        from = last.record.seq + 1;
        for sealed in page {
            let at = sealed.record.at;
            match sealed.record.body {
                Body::GrantGiven { grant, by } => held.push(StoredGrant { grant, at, by, root: None }),
                Body::GrantRevoked { content, .. } => held.retain(|held| held.grant.content != content),
                _ => {}
            }
        }
    }
}

/// Appends to a reserved log, which is made when there is none.
async fn append(
    log: &SharedLog,
    env: &dyn Env,
    id: &SessionId,
    root: &str,
    body: Body,
) -> Result<(), RuntimeError> {
    let once = format!("once:{}", env.new_session_id());
    append_reserved(&**log, id, root, &once, Draft { at: env.now(), turn: None, step: None, body }).await?;
    Ok(())
}

const PAGE: usize = 256;
