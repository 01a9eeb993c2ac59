//! A final answer held against the output schema of its turn.

use std::sync::Arc;

use serde_json::Value;
use sterna_model::{Checked, ModelOutcome, ModelStop, Part, answer_text};

/// A compiled schema, kept for the turn that has it.
pub(crate) struct OutputSchema {
    source: Value,
    validator: Result<jsonschema::Validator, String>,
}

/// Whether this is a JSON Schema that answers can be held against. The text says what is wrong with it.
pub fn check_output_schema(schema: &Value) -> Result<(), String> {
    if !schema.is_object() {
        return Err("a schema is a JSON object".into());
    }
    jsonschema::validator_for(schema).map(drop).map_err(|error| error.to_string())
}

impl OutputSchema {
    pub fn compile(schema: &Value) -> Arc<Self> {
        let validator = jsonschema::validator_for(schema).map_err(|error| error.to_string());
        Arc::new(Self { source: schema.clone(), validator })
    }

    pub fn is_of(&self, schema: &Value) -> bool {
        self.source == *schema
    }

    /// What a whole answer says. `before`: the texts that it goes on with. `None`: it is not final.
    pub fn check(&self, before: &str, answer: &ModelOutcome) -> Option<Checked> {
        let calls = answer.parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
        let text = format!("{before}{}", answer_text(&answer.parts));
        if calls || answer.partial || answer.stop != ModelStop::EndTurn || text.trim().is_empty() {
            return None;
        }
        Some(match self.value(&text) {
            Ok(value) => Checked::Value(value),
            Err(errors) => Checked::Errors(errors),
        })
    }

    fn value(&self, text: &str) -> Result<Value, Vec<String>> {
        let validator =
            self.validator.as_ref().map_err(|error| vec![format!("the schema is broken: {error}")])?;
        let value: Value = serde_json::from_str(unfenced(text))
            .map_err(|error| vec![format!("the answer is not one JSON value: {error}")])?;
        let errors = validator.iter_errors(&value).take(MAX_ERRORS).map(|error| {
            let place = error.instance_path().to_string();
            let place = if place.is_empty() { "the answer".to_owned() } else { place };
            let said: String = format!("{place}: {error}").chars().take(MAX_ERROR_CHARS).collect();
            said
        });
        let errors: Vec<String> = errors.collect();
        if errors.is_empty() { Ok(value) } else { Err(errors) }
    }
}

/// Models like to put a fence round JSON.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let inner = text.strip_prefix("```json").or_else(|| text.strip_prefix("```"));
    inner.and_then(|inner| inner.strip_suffix("```")).unwrap_or(text).trim()
}

const MAX_ERRORS: usize = 10;
const MAX_ERROR_CHARS: usize = 500;

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sterna_model::Billed;

    use super::*;

    fn answer(text: &str, stop: ModelStop) -> ModelOutcome {
        let parts = vec![Part::Text(text.into())];
        let billed = Billed::default();
        ModelOutcome { parts, stop, classes: vec![], billed, partial: false, duration_ms: 0, checked: None }
    }

    #[test]
    fn answers_are_values_or_errors() {
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
        let schema = OutputSchema::compile(&schema);
        let check = |text: &str| schema.check("", &answer(text, ModelStop::EndTurn));
        for good in [r#"{"n":3}"#, " {\"n\": 3}\n", "```json\n{\"n\":3}\n```", "```\n{\"n\":3}```"] {
            assert_eq!(check(good), Some(Checked::Value(json!({"n": 3}))), "{good}");
        }
        for (bad, word) in [
            (r#"{"n":"a"}"#, "/n: \"a\" is not of type \"integer\""),
            ("{}", "\"n\" is a required property"),
            ("a", "not one JSON value"),
            (r#"{"n":3} and more"#, "not one JSON value"),
            ("3", "the answer: 3 is not of type \"object\""),
        ] {
            let Some(Checked::Errors(errors)) = check(bad) else { panic!("{bad}") };
            assert!(errors.concat().contains(word), "{bad}: {errors:?}");
        }
        assert_eq!(check("  "), None);
        assert_eq!(schema.check("", &answer("{", ModelStop::MaxOutput)), None);
        let rest = schema.check("{\"n\"", &answer(":4}", ModelStop::EndTurn));
        assert_eq!(rest, Some(Checked::Value(json!({"n": 4}))));
    }

    #[test]
    fn a_schema_that_is_none_is_refused() {
        assert!(check_output_schema(&json!({"type": "integer"})).is_ok());
        assert!(check_output_schema(&json!({"type": "intger"})).is_err());
        assert!(check_output_schema(&json!([])).is_err());
    }
}
