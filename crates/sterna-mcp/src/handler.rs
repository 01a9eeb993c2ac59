//! What a server may ask of us: where the workspace is, a question to the person, and nothing else: a call of our model
//! (sampling) is refused, as it is where a handler does not say otherwise.
#![expect(deprecated, reason = "roots are, and servers of 2025-11-25 ask for them")]

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rmcp::model::{
    ClientCapabilities, ClientConfig, ElicitRequestParams, ElicitResult, ElicitationAction, ErrorData,
    Implementation, ListRootsResult, ProgressNotificationParam, ProgressToken, ProtocolVersion, RequestId,
    Root,
};
use rmcp::service::{InboundStreamOrigin, NotificationContext, RequestContext};
use rmcp::{ClientHandler, RoleClient};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::error::cut;

/// What happens to a call while it is under way.
pub(crate) enum CallEvent {
    Progress(String),
    Question { asked: Box<ElicitRequestParams>, reply: oneshot::Sender<ElicitResult> },
}

/// The calls of a connection that are under way.
#[derive(Default)]
pub(crate) struct Calls(Mutex<HashMap<RequestId, Slot>>);

struct Slot {
    token: ProgressToken,
    events: mpsc::Sender<CallEvent>,
}

impl Calls {
    pub(crate) fn open(&self, id: RequestId, token: ProgressToken) -> mpsc::Receiver<CallEvent> {
        let (events, receiver) = mpsc::channel(EVENTS);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Slot { token, events });
        receiver
    }

    pub(crate) fn close(&self, id: &RequestId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// The call that a question belongs to: the one whose answer it came with, else the only one there is. With several
    /// nobody can say, and a question must not reach the person of another session.
    fn asked_by(&self, origin: Option<&InboundStreamOrigin>) -> Option<mpsc::Sender<CallEvent>> {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(InboundStreamOrigin::OutboundRequest(id)) = origin {
            return calls.get(id).map(|slot| slot.events.clone());
        }
        let mut all = calls.values();
        match (all.next(), all.next()) {
            (Some(only), None) => Some(only.events.clone()),
            _ => None,
        }
    }

    fn of_token(&self, token: &ProgressToken) -> Option<mpsc::Sender<CallEvent>> {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.values().find(|slot| slot.token == *token).map(|slot| slot.events.clone())
    }
}

/// Our side of one connection.
pub(crate) struct Handler {
    pub(crate) calls: Arc<Calls>,
    pub(crate) roots: Vec<PathBuf>,
    /// Told when the server's tools are others.
    pub(crate) changed: Arc<Notify>,
}

impl ClientHandler for Handler {
    fn get_info(&self) -> ClientConfig {
        let capabilities = serde_json::json!({
            "roots": {"listChanged": false},
            "elicitation": {"form": {}, "url": {}},
        });
        // The form is constant, and a test reads it back.
        let capabilities: ClientCapabilities = serde_json::from_value(capabilities).unwrap_or_default();
        let mut own = Implementation::default();
        own.name = "sterna".into();
        own.title = Some("Sterna".into());
        own.version = env!("CARGO_PKG_VERSION").into();
        ClientConfig::new(capabilities, own).with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
    }

    async fn list_roots(&self, _: RequestContext<RoleClient>) -> Result<ListRootsResult, ErrorData> {
        Ok(ListRootsResult::new(roots(&self.roots)))
    }

    async fn create_elicitation(
        &self,
        asked: ElicitRequestParams,
        context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let declined = || ElicitResult::new(ElicitationAction::Decline);
        let origin = context.extensions.get::<InboundStreamOrigin>();
        let mut events = self.calls.asked_by(origin);
        // It may be quicker than our own note of the call that it belongs to.
        for _ in 0..20 {
            if events.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            events = self.calls.asked_by(origin);
        }
        let Some(events) = events else { return Ok(declined()) };
        let (reply, answer) = oneshot::channel();
        if events.send(CallEvent::Question { asked: Box::new(asked), reply }).await.is_err() {
            return Ok(declined());
        }
        // Nobody answers any more: the call is over, or the person has said no.
        Ok(answer.await.unwrap_or_else(|_| ElicitResult::new(ElicitationAction::Cancel)))
    }

    async fn on_progress(&self, progress: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        if let Some(events) = self.calls.of_token(&progress.progress_token) {
            let told = progress.message.unwrap_or_else(|| match progress.total {
                Some(total) => format!("{} of {total}", progress.progress),
                None => progress.progress.to_string(),
            });
            // Who does not keep up loses progress, never answers.
            let _ = events.try_send(CallEvent::Progress(cut(&told)));
        }
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.changed.notify_one();
    }
}

pub(crate) fn roots(dirs: &[PathBuf]) -> Vec<Root> {
    let url = |dir: &PathBuf| reqwest::Url::from_directory_path(dir).ok();
    dirs.iter().filter_map(url).map(|url| Root::new(url.as_str().trim_end_matches('/'))).collect()
}

/// Events of one call that nobody has read yet.
const EVENTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_offer_what_we_can_do() {
        let handler = Handler { calls: Arc::default(), roots: Vec::new(), changed: Arc::default() };
        let info = serde_json::to_value(handler.get_info()).unwrap();
        assert_eq!(info["protocolVersion"], "2025-11-25");
        assert_eq!(info["clientInfo"]["name"], "sterna");
        assert_eq!(info["capabilities"]["elicitation"], serde_json::json!({"form": {}, "url": {}}));
        assert!(info["capabilities"]["roots"].is_object());
        assert!(info["capabilities"].get("sampling").is_none());
    }

    #[test]
    fn a_question_goes_to_its_own_call_or_to_nobody() {
        let calls = Calls::default();
        let id = |n: i64| RequestId::Number(n);
        let token = |n: i64| ProgressToken(RequestId::Number(n));
        let mut first = calls.open(id(1), token(1));
        let ask = |origin: Option<&InboundStreamOrigin>| calls.asked_by(origin);
        let only = ask(None).unwrap();
        only.try_send(CallEvent::Progress("x".into())).unwrap();
        assert!(matches!(first.try_recv(), Ok(CallEvent::Progress(_))));
        let _second = calls.open(id(2), token(2));
        assert!(ask(None).is_none());
        assert!(ask(Some(&InboundStreamOrigin::OutboundRequest(id(2)))).is_some());
        assert!(ask(Some(&InboundStreamOrigin::OutboundRequest(id(3)))).is_none());
        calls.close(&id(1));
        assert!(ask(None).is_some());
    }
}
