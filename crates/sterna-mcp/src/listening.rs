//! HTTP whose first request waits until our stream is open: what a server asks on a stream that nobody has opened yet is lost.
//! The library opens the stream beside the requests, and waits for neither.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use reqwest::header::{HeaderName, HeaderValue};
use rmcp::model::ClientJsonRpcMessage;
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
};
use sse_stream::Sse;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::launch::MESSAGE_BYTES;

/// Clones are the same connection.
#[derive(Clone)]
pub(crate) struct Listening<C> {
    client: C,
    /// How long a request waits for the stream.
    patience: Duration,
    /// The session whose stream is open, or will not be.
    settled: watch::Sender<Option<Arc<str>>>,
}

impl<C> Listening<C> {
    pub(crate) fn new(client: C) -> Self {
        Self::with_patience(client, PATIENCE)
    }

    fn with_patience(client: C, patience: Duration) -> Self {
        Self { client, patience, settled: watch::Sender::new(None) }
    }

    /// Waits for the stream of this session. Where it does not come in time, nobody waits for it again.
    async fn open(&self, session: &Arc<str>) {
        let mut settled = self.settled.subscribe();
        let open = settled.wait_for(|of| of.as_ref() == Some(session));
        if timeout(self.patience, open).await.is_err() {
            self.settle(session.clone());
        }
    }

    fn settle(&self, session: Arc<str>) {
        self.settled.send_replace(Some(session));
    }
}

type Headers = HashMap<HeaderName, HeaderValue>;
type Answer<T, C> = Result<T, StreamableHttpError<<C as StreamableHttpClient>::Error>>;
type Events = BoxStream<'static, Result<Sse, SseError>>;

impl<C: StreamableHttpClient + Sync> StreamableHttpClient for Listening<C> {
    type Error = C::Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        token: Option<String>,
        headers: Headers,
    ) -> Answer<StreamableHttpPostResponse, C> {
        let most = MESSAGE_BYTES;
        self.post_message_with_max_sse_event_size(uri, message, session, token, headers, most).await
    }

    async fn post_message_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        token: Option<String>,
        headers: Headers,
        most: usize,
    ) -> Answer<StreamableHttpPostResponse, C> {
        // The handshake has no session yet, and a server without sessions has no stream to open.
        if let (ClientJsonRpcMessage::Request(_), Some(session)) = (&message, &session) {
            self.open(session).await;
        }
        self.client.post_message_with_max_sse_event_size(uri, message, session, token, headers, most).await
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session: Arc<str>,
        token: Option<String>,
        headers: Headers,
    ) -> Answer<(), C> {
        self.client.delete_session(uri, session, token, headers).await
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last: Option<String>,
        token: Option<String>,
        headers: Headers,
    ) -> Answer<Events, C> {
        self.get_stream_with_max_sse_event_size(uri, session, last, token, headers, MESSAGE_BYTES).await
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last: Option<String>,
        token: Option<String>,
        headers: Headers,
        most: usize,
    ) -> Answer<Events, C> {
        let of = session.clone();
        let opened =
            self.client.get_stream_with_max_sse_event_size(uri, session, last, token, headers, most).await;
        // A server that has none, and says so with a 405, asks nothing on it.
        if let Some(of) = of {
            self.settle(of);
        }
        opened
    }
}

/// Some servers send the head of a stream with its first event: each start of such a one costs so much.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use futures::{FutureExt, StreamExt};
    use serde_json::{Value, json};
    use tokio::sync::Semaphore;

    use super::*;

    /// A server whose stream opens when it is let, and what reached it.
    #[derive(Clone)]
    struct Server {
        may_open: Arc<Semaphore>,
        has_streams: bool,
        heard: Arc<Mutex<Vec<String>>>,
    }

    impl Server {
        fn new(has_streams: bool) -> Self {
            Self { may_open: Arc::new(Semaphore::new(0)), has_streams, heard: Arc::default() }
        }

        fn heard(&self) -> Vec<String> {
            self.heard.lock().unwrap().clone()
        }
    }

    impl StreamableHttpClient for Server {
        type Error = io::Error;

        async fn post_message(
            &self,
            _: Arc<str>,
            message: ClientJsonRpcMessage,
            _: Option<Arc<str>>,
            _: Option<String>,
            _: Headers,
        ) -> Answer<StreamableHttpPostResponse, Self> {
            let said = serde_json::to_value(&message)?;
            self.heard.lock().unwrap().push(said["method"].as_str().unwrap_or("answer").to_owned());
            Ok(StreamableHttpPostResponse::Accepted)
        }

        async fn delete_session(
            &self,
            _: Arc<str>,
            _: Arc<str>,
            _: Option<String>,
            _: Headers,
        ) -> Answer<(), Self> {
            Ok(())
        }

        async fn get_stream(
            &self,
            _: Arc<str>,
            _: Option<Arc<str>>,
            _: Option<String>,
            _: Option<String>,
            _: Headers,
        ) -> Answer<Events, Self> {
            self.may_open.acquire().await.unwrap().forget();
            if self.has_streams {
                Ok(futures::stream::pending().boxed())
            } else {
                Err(StreamableHttpError::ServerDoesNotSupportSse)
            }
        }
    }

    async fn say(client: &Listening<Server>, session: Option<&str>, message: Value) {
        let message = serde_json::from_value(message).unwrap();
        let sent = client.post_message("uri".into(), message, session.map(Into::into), None, HashMap::new());
        sent.await.unwrap();
    }

    async fn listen(client: &Listening<Server>, session: &str) {
        // What comes of it is the library's.
        drop(client.get_stream("uri".into(), Some(session.into()), None, None, HashMap::new()).await);
    }

    fn request() -> Value {
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    }

    const LONG: Duration = Duration::from_secs(3_600);

    #[tokio::test]
    async fn requests_of_a_session_wait_for_its_stream_and_nothing_else_does() {
        for has_streams in [true, false] {
            let server = Server::new(has_streams);
            let client = Listening::with_patience(server.clone(), LONG);
            say(&client, None, request()).await;
            say(&client, Some("s"), json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
            say(&client, Some("s"), json!({"jsonrpc": "2.0", "id": 7, "result": {}})).await;
            let before = ["tools/list", "notifications/initialized", "answer"];
            let mut asked = Box::pin(say(&client, Some("s"), request()));
            let mut opened = Box::pin(listen(&client, "s"));
            assert!((&mut asked).now_or_never().is_none() && (&mut opened).now_or_never().is_none());
            assert_eq!(server.heard(), before);
            server.may_open.add_permits(1);
            tokio::join!(asked, opened);
            assert_eq!(server.heard()[3..], ["tools/list"]);
            // Another session has a stream of its own.
            say(&client, Some("s"), request()).await;
            assert!(say(&client, Some("t"), request()).now_or_never().is_none());
        }
    }

    #[tokio::test]
    async fn a_stream_that_does_not_come_is_waited_for_once() {
        let server = Server::new(true);
        let hasty = Listening::with_patience(server.clone(), Duration::ZERO);
        say(&hasty, Some("s"), request()).await;
        let patient = Listening { patience: LONG, ..hasty };
        say(&patient, Some("s"), request()).await;
        assert_eq!(server.heard().len(), 2);
    }
}
