//! What this provider's errors mean. It says most of it in `details`, and words a busy minute as a spent quota.

use serde_json::Value;
use sterna_model::{ErrorClass, ProviderFailure};

use super::super::failure;

/// The failure behind an HTTP answer that is no success.
pub(super) fn classify_body(status: u16, retry_after_ms: Option<u64>, body: &[u8]) -> ProviderFailure {
    match serde_json::from_slice::<Value>(body).ok().map(sole) {
        Some(value) => {
            refine(failure::classify_body(status, retry_after_ms, value.to_string().as_bytes()), &value)
        }
        None => failure::classify_body(status, retry_after_ms, body),
    }
}

/// The failure behind an error in the middle of a stream.
pub(super) fn classify_event(event: Value) -> ProviderFailure {
    let event = sole(event);
    refine(failure::classify_event(&event), &event)
}

/// Whether this is an error object, alone or in a list as the form without events sends it.
pub(super) fn is_error(value: &Value) -> bool {
    let value = value.as_array().and_then(|list| list.first()).unwrap_or(value);
    value.get("error").is_some_and(|error| !error.is_null())
}

fn sole(value: Value) -> Value {
    match value {
        Value::Array(list) => list.into_iter().next().unwrap_or_default(),
        value => value,
    }
}

fn refine(mut failed: ProviderFailure, value: &Value) -> ProviderFailure {
    let error = value.get("error").unwrap_or(value);
    let details = error.get("details").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let word = error.get("status").and_then(Value::as_str).unwrap_or_default();
    let reason =
        |is: &str| details.iter().any(|detail| detail.get("reason").and_then(Value::as_str) == Some(is));
    let message = failed.message.to_lowercase();
    let says = |names: &[&str]| names.iter().any(|name| message.contains(name));
    if failed.status == Some(429) || word == "RESOURCE_EXHAUSTED" {
        let spent = quotas(details).any(|id| id.contains("PerDay"))
            || says(&["limit: 0", "spending cap", "spend cap", "credits are depleted"]);
        failed.class = if spent { ErrorClass::Quota } else { ErrorClass::RateLimit };
        failed.retry_after_ms = failed.retry_after_ms.or_else(|| details.iter().find_map(retry_delay_ms));
    } else if reason("API_KEY_INVALID") || matches!(word, "FAILED_PRECONDITION" | "UNAUTHENTICATED") {
        // A wrong key comes as 400, and so does an account that may not use the model from where it is.
        failed.class = ErrorClass::Auth;
    } else if failed.status.is_none() {
        failed.class = match word {
            "UNAVAILABLE" => ErrorClass::Overloaded,
            "DEADLINE_EXCEEDED" => ErrorClass::Timeout,
            "PERMISSION_DENIED" => ErrorClass::Auth,
            "NOT_FOUND" => ErrorClass::ModelGone,
            "INVALID_ARGUMENT" if failed.class == ErrorClass::Server => ErrorClass::InvalidRequest,
            _ => failed.class,
        };
    }
    failed
}

fn quotas(details: &[Value]) -> impl Iterator<Item = &str> {
    let violations = details.iter().filter_map(|detail| detail.get("violations")?.as_array()).flatten();
    violations.filter_map(|violation| violation.get("quotaId")?.as_str())
}

/// `"34.07s"`.
fn retry_delay_ms(detail: &Value) -> Option<u64> {
    let seconds: f64 = detail.get("retryDelay")?.as_str()?.strip_suffix('s')?.parse().ok()?;
    // A negative number or none casts to 0.
    Some((seconds * 1_000.0).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, error: &str, class: ErrorClass, wait: Option<u64>) {
        for body in [format!(r#"{{"error":{error}}}"#), format!(r#"[{{"error":{error}}}]"#)] {
            let failed = classify_body(status, None, body.as_bytes());
            assert_eq!((failed.class, failed.retry_after_ms), (class, wait), "{body}");
            assert!(!failed.message.starts_with(['{', '[']), "{}", failed.message);
        }
    }

    #[test]
    fn http_errors() {
        use ErrorClass::*;
        let key = r#"{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}"#;
        check(400, key, Auth, None);
        check(
            400,
            r#"{"code":400,"message":"User location is not supported.","status":"FAILED_PRECONDITION"}"#,
            Auth,
            None,
        );
        check(
            400,
            r#"{"code":400,"message":"Unknown name \"x\"","status":"INVALID_ARGUMENT"}"#,
            InvalidRequest,
            None,
        );
        let long = r#"{"code":400,"message":"The input token count (1100000) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}"#;
        check(400, long, ContextOverflow, None);
        check(403, r#"{"code":403,"message":"no","status":"PERMISSION_DENIED"}"#, Auth, None);
        check(404, r#"{"code":404,"message":"models/x is not found","status":"NOT_FOUND"}"#, ModelGone, None);
        check(
            500,
            r#"{"code":500,"message":"An internal error has occurred","status":"INTERNAL"}"#,
            Server,
            None,
        );
        check(
            503,
            r#"{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}"#,
            Overloaded,
            None,
        );
        check(504, r#"{"code":504,"message":"late","status":"DEADLINE_EXCEEDED"}"#, Timeout, None);
        check(499, r#"{"code":499,"message":"cancelled","status":"CANCELLED"}"#, Server, None);
    }

    #[test]
    fn a_busy_minute_is_not_a_spent_quota() {
        let exhausted = |id: &str, message: &str| {
            format!(
                r#"{{"code":429,"message":"{message}","status":"RESOURCE_EXHAUSTED","details":[{{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{{"quotaId":"{id}"}}]}},{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.0748s"}}]}}"#
            )
        };
        let said = "You exceeded your current quota, please check your plan and billing details.";
        let minute = exhausted("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", said);
        check(429, &minute, ErrorClass::RateLimit, Some(34_075));
        let day = exhausted("GenerateRequestsPerDayPerProjectPerModel-FreeTier", said);
        check(429, &day, ErrorClass::Quota, Some(34_075));
        let none = exhausted(
            "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
            "Quota exceeded, limit: 0, model: x",
        );
        check(429, &none, ErrorClass::Quota, Some(34_075));
        let bare = r#"{"code":429,"message":"Resource has been exhausted (e.g. check quota).","status":"RESOURCE_EXHAUSTED"}"#;
        check(429, bare, ErrorClass::RateLimit, None);
        // A header says it first.
        let body = format!(r#"{{"error":{minute}}}"#);
        assert_eq!(classify_body(429, Some(7), body.as_bytes()).retry_after_ms, Some(7));
    }

    #[test]
    fn errors_within_a_stream() {
        let class = |text: &str| classify_event(serde_json::from_str(text).unwrap()).class;
        assert_eq!(
            class(r#"{"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}"#),
            ErrorClass::Overloaded
        );
        assert_eq!(class(r#"[{"error":{"message":"busy","status":"UNAVAILABLE"}}]"#), ErrorClass::Overloaded);
        assert_eq!(
            class(r#"{"error":{"message":"slow","status":"RESOURCE_EXHAUSTED"}}"#),
            ErrorClass::RateLimit
        );
        assert_eq!(
            class(r#"{"error":{"message":"late","status":"DEADLINE_EXCEEDED"}}"#),
            ErrorClass::Timeout
        );
        assert_eq!(
            class(r#"{"error":{"message":"no","status":"INVALID_ARGUMENT"}}"#),
            ErrorClass::InvalidRequest
        );
        assert_eq!(class(r#"{"error":{"message":"?","status":"INTERNAL"}}"#), ErrorClass::Server);
    }

    #[test]
    fn pages_of_proxies_are_quoted() {
        assert_eq!(classify_body(502, None, b"<html>").message, "<html>");
        assert_eq!(classify_body(429, None, b"[]").class, ErrorClass::RateLimit);
    }
}
