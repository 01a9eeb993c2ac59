//! Finding a model server on this machine.

use std::time::Duration;

use crate::client::LazyClient;

/// Whether a server answers below this base URL (`http://127.0.0.1:8080/v1`) and is ready to be asked.
///
/// Asks `/models`, which all servers of the wire have, and where that is not found `/health`.
pub async fn probe(base_url: &str) -> bool {
    let client = LazyClient::default();
    let Ok(client) = client.get(base_url, PATIENCE) else { return false };
    let base = base_url.trim_end_matches('/');
    let root = base.strip_suffix("/v1").unwrap_or(base);
    let answer = |url: String| async move {
        let response = client.get(url).timeout(PATIENCE).send().await.ok()?;
        Some(response.status())
    };
    match answer(format!("{base}/models")).await {
        Some(status) if status == reqwest::StatusCode::NOT_FOUND => {
            answer(format!("{root}/health")).await.is_some_and(|status| status.is_success())
        }
        Some(status) => status.is_success(),
        None => false,
    }
}

/// Loopback answers at once or not at all; a server that loads its model may need a moment.
const PATIENCE: Duration = Duration::from_secs(2);
