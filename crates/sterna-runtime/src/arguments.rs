//! Schemas of arguments, made ready to check.

use jsonschema::{Draft, Validator};
use serde_json::Value;

/// Compiles a schema, which is held against the schema of its draft first.
///
/// That of the newest draft takes longer to compile than all our tools together, and is compiled at the first call of each process. A
/// schema whose words mean the same in draft 7, which is small, is taken for one of draft 7.
pub fn compile(schema: &Value) -> Result<Validator, String> {
    let compiled = match is_plain(schema, 0) {
        true => jsonschema::options().with_draft(Draft::Draft7).build(schema),
        false => jsonschema::validator_for(schema),
    };
    compiled.map_err(|error| error.to_string())
}

/// Whether all words of a schema mean the same from draft 6 on.
fn is_plain(schema: &Value, depth: usize) -> bool {
    let words = match schema {
        Value::Bool(_) => return true,
        Value::Object(words) if depth < DEEPEST => words,
        _ => return false,
    };
    let inside = |value: &Value| is_plain(value, depth + 1);
    words.iter().all(|(word, value)| match (word.as_str(), value) {
        (word, _) if SAME.contains(&word) => true,
        ("properties", Value::Object(all)) => all.values().all(inside),
        ("items" | "additionalProperties" | "not", value) => inside(value),
        ("anyOf" | "oneOf" | "allOf", Value::Array(all)) => all.iter().all(inside),
        _ => false,
    })
}

/// Words that hold no schema. `format` is not among them: draft 7 checks it, newer ones do not.
const SAME: [&str; 19] = [
    "const",
    "default",
    "description",
    "enum",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "pattern",
    "required",
    "title",
    "type",
];
/// Deeper ones go the long way.
const DEEPEST: usize = 32;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_all_drafts_read_alike_is_plain() {
        let plain = json!({
            "type": "object", "required": ["a"], "additionalProperties": false,
            "properties": {
                "a": {"type": "string", "description": "format", "enum": ["$ref", "x"]},
                "b": {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"const": null}]}},
                "$ref": {"type": "string"},
            },
        });
        assert!(is_plain(&plain, 0));
        for other in [
            json!({"$ref": "#/x"}),
            json!({"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 1}),
            json!({"items": [{"type": "string"}]}),
            json!({"properties": {"a": {"format": "date"}}}),
            json!({"prefixItems": [{}]}),
            json!({"allOf": [{"unevaluatedProperties": false}]}),
            json!({"not": {"dependentRequired": {}}}),
            json!({"properties": ["a"]}),
            json!("object"),
        ] {
            assert!(!is_plain(&other, 0), "{other}");
        }
    }

    /// Each way says the same of the same values, and of schemas that are none.
    #[test]
    fn both_ways_judge_alike() {
        let schema = |kind: &str| {
            json!({
                "type": "object", "required": ["n"], "additionalProperties": false,
                "properties": {"n": {"type": kind, "exclusiveMinimum": 1, "maximum": 9}, "s": {"pattern": "^a+$", "minLength": 2}},
            })
        };
        let newest = |schema: &Value| jsonschema::draft202012::new(schema).map_err(|error| error.to_string());
        assert!(is_plain(&schema("integer"), 0));
        let (one, other) = (compile(&schema("integer")).unwrap(), newest(&schema("integer")).unwrap());
        for value in [
            json!({"n": 2}),
            json!({"n": 2.0}),
            json!({"n": 2.5}),
            json!({"n": 1}),
            json!({"n": 10, "s": "b"}),
            json!({"n": 3, "s": "aaa", "more": 1}),
            json!({}),
            json!([]),
        ] {
            let told =
                |v: &Validator| v.iter_errors(&value).map(|error| error.to_string()).collect::<Vec<_>>();
            assert_eq!(told(&one), told(&other), "{value}");
        }
        for broken in [json!({"type": "thing"}), json!({"required": "n"}), json!({"minLength": -1})] {
            assert!(
                is_plain(&broken, 0) && compile(&broken).is_err() && newest(&broken).is_err(),
                "{broken}"
            );
        }
    }
}
