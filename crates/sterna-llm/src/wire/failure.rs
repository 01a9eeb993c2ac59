//! What a provider's error means: one place for all wires, because their endpoints imitate one another.

use serde_json::Value;
use sterna_model::{Billed, ErrorClass, ProviderFailure};

/// Characters of a provider's own words that are kept (design: "raw error <= 4,000 chars").
pub const MAX_MESSAGE_CHARS: usize = 4_000;
/// The same for a body that is not JSON.
const MAX_RAW_CHARS: usize = 200;

/// The failure behind an HTTP answer that is no success.
pub fn classify_body(status: u16, retry_after_ms: Option<u64>, body: &[u8]) -> ProviderFailure {
    let (words, said) = match serde_json::from_slice::<Value>(body) {
        Ok(value) => {
            let words = Words::of(&value);
            let said = if words.message.is_empty() {
                cut(&value.to_string(), MAX_MESSAGE_CHARS)
            } else {
                words.message.clone()
            };
            (words, said)
        }
        Err(_) => (Words::default(), cut(String::from_utf8_lossy(body).trim(), MAX_RAW_CHARS)),
    };
    let message = match said.as_str() {
        "" | "null" | "{}" => format!("the provider answered with status {status} and said nothing more"),
        _ => said,
    };
    let class = class_of(Some(status), &words);
    ProviderFailure { class, status: Some(status), message, retry_after_ms, billed: Billed::default() }
}

/// The failure behind an error event in the middle of a stream.
pub(super) fn classify_event(event: &Value) -> ProviderFailure {
    let words = Words::of(event);
    let status = words.status;
    let message = if words.message.is_empty() {
        cut(&event.to_string(), MAX_MESSAGE_CHARS)
    } else {
        words.message.clone()
    };
    ProviderFailure {
        class: class_of(status, &words),
        status,
        message,
        retry_after_ms: None,
        billed: Billed::default(),
    }
}

/// What a rate limit's own words ask for, where no header can: `try again in 1.5s`.
pub(super) fn asked_to_wait(message: &str) -> Option<u64> {
    let lower = message.to_lowercase();
    let (_, rest) = lower.split_once("try again in ")?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, unit) = rest.split_at(end);
    let number: f64 = number.parse().ok()?;
    let factor = match unit.trim_start() {
        unit if unit.starts_with("ms") => 1.0,
        unit if unit.starts_with('s') => 1_000.0,
        unit if unit.starts_with('m') => 60_000.0,
        _ => return None,
    };
    Some((number * factor).ceil() as u64)
}

/// A failure of the stream itself.
pub(super) fn cut_stream(message: impl Into<String>, billed: Billed) -> ProviderFailure {
    ProviderFailure {
        class: ErrorClass::StreamCut,
        status: None,
        message: message.into(),
        retry_after_ms: None,
        billed,
    }
}

/// What an error object says, wherever it keeps it.
#[derive(Debug, Default)]
struct Words {
    message: String,
    /// `type`, `code` and `status` texts, joined and in lower case.
    kind: String,
    /// A numeric code.
    status: Option<u16>,
}

impl Words {
    fn of(value: &Value) -> Self {
        let error = match value.get("error") {
            Some(error) if !error.is_null() => error,
            _ => value,
        };
        let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
        let message = match error {
            Value::String(text) => text.as_str(),
            _ => ["message", "detail", "error", "msg"]
                .into_iter()
                .map(text)
                .find(|t| !t.is_empty())
                .unwrap_or_default(),
        };
        let kind = [text("type"), text("code"), text("status")].join(" ").to_lowercase();
        let status = ["code", "status"]
            .into_iter()
            .filter_map(|key| error.get(key).and_then(Value::as_u64))
            .find_map(|code| u16::try_from(code).ok().filter(|code| (400..600).contains(code)));
        Self { message: cut(message, MAX_MESSAGE_CHARS), kind, status }
    }
}

fn class_of(status: Option<u16>, words: &Words) -> ErrorClass {
    let message = words.message.to_lowercase();
    let kind = |names: &[&str]| names.iter().any(|name| words.kind.contains(name));
    let says = |names: &[&str]| names.iter().any(|name| message.contains(name));

    // What the words say beats the status: providers reuse 400, 403 and 429 for different things.
    if kind(&["insufficient_quota", "billing", "insufficient_credits", "usage_limit_reached"])
        || says(&[
            "credit balance is too low",
            "insufficient balance",
            "exceeded your current quota",
            "account is in arrears",
        ])
    {
        return ErrorClass::Quota;
    }
    let too_long = kind(&["context_length_exceeded", "exceed_context_size", "request_too_large"])
        || says(&[
            "maximum context length",
            "prompt is too long",
            "available context size",
            "context window",
            "exceeds the maximum number of tokens",
            "prompt exceeds max length",
        ]);
    if too_long && !matches!(status, Some(401 | 403 | 404 | 429 | 500..)) {
        return ErrorClass::ContextOverflow;
    }
    if kind(&["content_filter", "content_policy", "moderation", "bio_policy", "cyber_policy"])
        || (status == Some(403) && says(&["flagged"]))
        || says(&["unsafe or sensitive content", "new_sensitive"])
        || (kind(&["invalid_prompt"]) && says(&["flagged", "usage policy", "usage policies"]))
    {
        return ErrorClass::ContentFilter;
    }
    match status {
        Some(401 | 403) => ErrorClass::Auth,
        Some(402) => ErrorClass::Quota,
        Some(404 | 410) => ErrorClass::ModelGone,
        Some(408 | 504 | 524) => ErrorClass::Timeout,
        // Cancelled there, not here.
        Some(499) => ErrorClass::Server,
        Some(413) => ErrorClass::ContextOverflow,
        Some(429) => ErrorClass::RateLimit,
        Some(503 | 529) => ErrorClass::Overloaded,
        Some(500..) if kind(&["overloaded"]) => ErrorClass::Overloaded,
        Some(500..) => ErrorClass::Server,
        Some(_) if kind(&["model_not_found", "deploymentnotfound"]) || says(&["model does not exist"]) => {
            ErrorClass::ModelGone
        }
        Some(_) => ErrorClass::InvalidRequest,
        None if kind(&["overloaded", "slow_down", "unavailable"]) => ErrorClass::Overloaded,
        None if kind(&["rate_limit"]) => ErrorClass::RateLimit,
        None if kind(&["authentication", "permission"]) => ErrorClass::Auth,
        None if kind(&["not_found"]) => ErrorClass::ModelGone,
        None if kind(&["timeout"]) => ErrorClass::Timeout,
        None if kind(&["invalid_", "unsupported_", "image_"]) => ErrorClass::InvalidRequest,
        None => ErrorClass::Server,
    }
}

fn cut(text: &str, chars: usize) -> String {
    text.chars().take(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &str, class: ErrorClass, message: &str) {
        let failure = classify_body(status, None, body.as_bytes());
        assert_eq!((failure.class, failure.message.as_str()), (class, message), "{status} {body}");
    }

    /// https://docs.z.ai/api-reference/api-code and Azure's own words; their codes are numbers as texts, or names.
    #[test]
    fn words_of_compatible_endpoints() {
        use ErrorClass::*;
        let of =
            |code: &str, message: &str| format!(r#"{{"error":{{"code":"{code}","message":"{message}"}}}}"#);
        for (status, code, message, class) in [
            (429, "1113", "Your account is in arrears, please recharge and try again", Quota),
            (429, "1302", "High concurrency usage of this API", RateLimit),
            (400, "1211", "Model does not exist, please check the model code", ModelGone),
            (400, "1261", "Prompt exceeds max length", ContextOverflow),
            (400, "1301", "System detected potentially unsafe or sensitive content", ContentFilter),
            (404, "DeploymentNotFound", "The API deployment for this resource does not exist.", ModelGone),
            (401, "401", "Access denied due to invalid subscription key", Auth),
            (400, "content_filter", "The response was filtered", ContentFilter),
        ] {
            check(status, &of(code, message), class, message);
        }
    }

    #[test]
    fn http_errors() {
        use ErrorClass::*;
        let openai = |message: &str, kind: &str, code: &str| {
            format!(r#"{{"error":{{"message":"{message}","type":"{kind}","param":null,"code":{code}}}}}"#)
        };
        let anthropic = |kind: &str, message: &str| {
            format!(
                r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}},"request_id":"req_1"}}"#
            )
        };
        check(429, &openai("slow down", "requests", "\"rate_limit_exceeded\""), RateLimit, "slow down");
        check(429, &openai("pay", "insufficient_quota", "\"insufficient_quota\""), Quota, "pay");
        check(401, &openai("bad key", "invalid_request_error", "\"invalid_api_key\""), Auth, "bad key");
        check(404, &openai("no such", "invalid_request_error", "\"model_not_found\""), ModelGone, "no such");
        check(400, &openai("no such", "invalid_request_error", "\"model_not_found\""), ModelGone, "no such");
        let long = "This model's maximum context length is 8192 tokens";
        check(
            400,
            &openai(long, "invalid_request_error", "\"context_length_exceeded\""),
            ContextOverflow,
            long,
        );
        check(400, &openai("bad", "invalid_request_error", "null"), InvalidRequest, "bad");
        check(400, &openai("no", "invalid_request_error", "\"content_filter\""), ContentFilter, "no");
        check(500, &openai("oops", "server_error", "null"), Server, "oops");
        check(529, &anthropic("overloaded_error", "Overloaded"), Overloaded, "Overloaded");
        check(429, &anthropic("rate_limit_error", "x tokens a minute"), RateLimit, "x tokens a minute");
        let long = "prompt is too long: 210000 tokens > 200000 maximum";
        check(400, &anthropic("invalid_request_error", long), ContextOverflow, long);
        let poor = "Your credit balance is too low to access the API";
        check(400, &anthropic("invalid_request_error", poor), Quota, poor);
        check(413, &anthropic("request_too_large", "too large"), ContextOverflow, "too large");
        check(403, &anthropic("permission_error", "not yours"), Auth, "not yours");
        check(404, &anthropic("not_found_error", "model: x"), ModelGone, "model: x");
        // llama.cpp: a numeric code, and a model that still loads.
        let loading = r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#;
        check(503, loading, Overloaded, "Loading model");
        let big = r#"{"error":{"code":400,"message":"too big","type":"exceed_context_size_error"}}"#;
        check(400, big, ContextOverflow, "too big");
        check(402, r#"{"error":"pay first"}"#, Quota, "pay first");
        check(422, r#"{"detail":"field x"}"#, InvalidRequest, "field x");
        check(504, "<html>gateway</html>", Timeout, "<html>gateway</html>");
        check(502, "", Server, "the provider answered with status 502 and said nothing more");
        check(301, "", InvalidRequest, "the provider answered with status 301 and said nothing more");
    }

    #[test]
    fn long_words_are_cut() {
        let json = format!(r#"{{"error":{{"message":"{}"}}}}"#, "ä".repeat(5_000));
        assert_eq!(classify_body(500, None, json.as_bytes()).message, "ä".repeat(4_000));
        let page = "<".repeat(5_000);
        assert_eq!(classify_body(500, None, page.as_bytes()).message, "<".repeat(200));
    }

    #[test]
    fn errors_within_a_stream() {
        use ErrorClass::*;
        let class = |text: &str| {
            let failure = classify_event(&serde_json::from_str(text).unwrap());
            (failure.class, failure.status)
        };
        for (kind, expect) in [
            ("overloaded_error", Overloaded),
            ("rate_limit_error", RateLimit),
            ("api_error", Server),
            ("authentication_error", Auth),
            ("permission_error", Auth),
            ("not_found_error", ModelGone),
            ("timeout_error", Timeout),
            ("invalid_request_error", InvalidRequest),
            ("billing_error", Quota),
            ("request_too_large", ContextOverflow),
            ("server_is_overloaded", Overloaded),
            ("slow_down", Overloaded),
            ("rate_limit_exceeded", RateLimit),
            ("server_error", Server),
            ("vector_store_timeout", Timeout),
            ("invalid_prompt", InvalidRequest),
            ("image_parse_error", InvalidRequest),
            ("unsupported_image_media_type", InvalidRequest),
            ("image_content_policy_violation", ContentFilter),
            ("bio_policy", ContentFilter),
            ("usage_limit_reached", Quota),
        ] {
            let text = format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"m"}}}}"#);
            assert_eq!(class(&text), (expect, None), "{kind}");
        }
        let flagged =
            r#"{"error":{"code":"invalid_prompt","message":"it was flagged as against our usage policy"}}"#;
        assert_eq!(class(flagged), (ContentFilter, None));
        assert_eq!(class(r#"{"error":{"code":502,"message":"upstream"}}"#), (Server, Some(502)));
        assert_eq!(class(r#"{"error":{"code":429,"message":"slow"}}"#), (RateLimit, Some(429)));
    }

    #[test]
    fn waits_in_words() {
        for (words, expect) in [
            ("Limit 30000, used 22999. Please try again in 11.054s. Visit https://x", Some(11_054)),
            ("try again in 250ms.", Some(250)),
            ("Try again in 35 seconds", Some(35_000)),
            ("try again in 2 minutes", Some(120_000)),
            ("try again in 6m0s", Some(360_000)),
            ("try again in a while", None),
            ("try again in 1 hour", None),
            ("try again in ...s", None),
            ("try again in 5", None),
            ("slow down", None),
        ] {
            assert_eq!(asked_to_wait(words), expect, "{words}");
        }
    }
}
