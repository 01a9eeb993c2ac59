//! A tool's description for the model, from its Rust types.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};
use sterna_model::ToolSpec;

/// The spec of a tool with arguments `T`. The schema is small, and the same in every process.
pub(crate) fn spec<T: JsonSchema>(name: &str, description: &str) -> ToolSpec {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.meta_schema = None;
        settings.inline_subschemas = true;
    });
    let mut schema = Value::from(settings.into_generator().into_root_schema_for::<T>());
    clean(&mut schema);
    if let Some(root) = schema.as_object_mut() {
        // The spec's description speaks for the whole.
        root.remove("description");
        root.entry("properties").or_insert_with(|| Map::new().into());
        root.entry("required").or_insert_with(|| Value::Array(Vec::new()));
    }
    ToolSpec { name: name.into(), description: description.trim().into(), schema }
}

/// Takes out what tells a model nothing: titles, number formats, `null` for what may be left out.
fn clean(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    for noise in ["$schema", "title", "format", "default"] {
        object.remove(noise);
    }
    if object.get("minimum").and_then(Value::as_f64) == Some(0.0) {
        object.remove("minimum");
    }
    let null = Value::from("null");
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| *kind != null);
        if let [one] = types.as_slice() {
            let one = one.clone();
            object.insert("type".into(), one);
        }
    }
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(Value::Array(options)) = object.get_mut("anyOf") {
        options.retain(|option| option.get("type") != Some(&null));
        if let [one] = options.as_slice()
            && let Some(one) = one.as_object().cloned()
        {
            object.remove("anyOf");
            // What is said about the property goes before what is said about its type.
            for (key, value) in one {
                object.entry(key).or_insert(value);
            }
        }
    }
    for (key, value) in object.iter_mut() {
        match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => properties.values_mut().for_each(clean),
            ("anyOf" | "oneOf" | "allOf", Value::Array(options)) => options.iter_mut().for_each(clean),
            ("items" | "additionalProperties", inner) => clean(inner),
            _ => {}
        }
    }
    // A type that came in by the merge above may bring its own noise.
    for noise in ["title", "format", "default"] {
        object.remove(noise);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    /// With everything configured.
    fn all() -> Vec<sterna_tool::SharedTool> {
        let key = Ok("key".to_owned());
        let search = crate::SearchSettings { backend: crate::Backend::Brave, url: None, key };
        let web = crate::WebSettings { search: Some(search), ..crate::WebSettings::default() };
        let skills = Some(std::sync::Arc::default());
        let mut tools = crate::builtin(crate::Options { web, skills, ..crate::Options::default() });
        tools.extend(crate::for_memory());
        tools.sort_by(|a, b| a.spec().name.cmp(&b.spec().name));
        tools
    }

    #[test]
    fn every_tool_has_a_small_plain_schema() {
        for tool in all() {
            let spec = tool.spec();
            let keys: BTreeSet<&str> = spec.schema.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(
                keys,
                ["additionalProperties", "properties", "required", "type"].into(),
                "{}",
                spec.name
            );
            assert_eq!(spec.schema["additionalProperties"], json!(false), "{}", spec.name);
            assert_eq!(spec.schema["type"], json!("object"), "{}", spec.name);
            let text = spec.schema.to_string();
            for noise in ["$schema", "\"title\"", "\"format\"", "null", "$ref", "$defs", "\"default\""] {
                assert!(!text.contains(noise), "{} holds {noise}: {text}", spec.name);
            }
            assert!(!spec.description.is_empty() && spec.description.len() < 2000, "{}", spec.name);
        }
    }

    #[test]
    fn the_arguments_are_those_that_are_promised() {
        // Names in the order of the alphabet; `!` marks what is required.
        let promised = [
            ("agent", "background fork id isolation max_steps op! task text timeout_s tools type"),
            ("apply_patch", "patch!"),
            ("ask_user", "questions!"),
            ("context", ""),
            ("continue_as", "seed task!"),
            ("edit", "new_string! old_string! path! replace_all"),
            ("enter_plan", ""),
            ("forget", "ref! scope"),
            ("glob", "limit offset path pattern!"),
            ("grep", "case_insensitive context glob limit mode multiline offset path pattern! sort type"),
            ("job_kill", "grace_s job!"),
            ("job_output", "job offset wait_s"),
            ("list", "depth hidden limit path"),
            ("notebook_edit", "after cell op! path! source type"),
            ("read", "limit offset pages path!"),
            ("recall", "in limit offset query ref"),
            ("remember", "aliases name! scope tags text!"),
            ("request_permission", "filesystem network reason! scope"),
            ("shell", "background cols command! cwd open_stdin rows stdin timeout_s tty"),
            ("shell_input", "close job! text! wait_ms"),
            ("skill", "args file name"),
            ("submit_plan", "content! slug!"),
            ("todo", "active_form blocked_by blocks description id metadata op! owner status subject"),
            ("web_fetch", "prompt url!"),
            ("web_search", "allowed_domains blocked_domains limit query!"),
            ("write", "content! path!"),
        ];
        let told: Vec<(String, String)> = all()
            .iter()
            .map(|tool| {
                let spec = tool.spec();
                let required = spec.schema["required"].as_array().unwrap();
                let mut names: Vec<String> = spec.schema["properties"]
                    .as_object()
                    .unwrap()
                    .keys()
                    .map(|name| {
                        let mark = if required.contains(&json!(name)) { "!" } else { "" };
                        format!("{name}{mark}")
                    })
                    .collect();
                names.sort();
                (spec.name.clone(), names.join(" "))
            })
            .collect();
        let promised: Vec<(String, String)> =
            promised.iter().map(|(name, args)| (name.to_string(), args.to_string())).collect();
        assert_eq!(told, promised);
        let names: Vec<&str> = promised.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(crate::profile("main"), Some(names.as_slice()));
        assert_eq!(crate::profile("minimal"), Some(&["edit", "read", "shell", "write"][..]));
        assert_eq!(crate::profile("no"), None);
    }

    #[test]
    fn one_schema_whole() {
        let read = all().into_iter().find(|tool| tool.spec().name == "read").unwrap();
        assert_eq!(
            read.spec().schema,
            json!({
                "type": "object",
                "properties": {
                    "path": {"type": "string", "description": "File to read, relative to the working directory or absolute."},
                    "offset": {"type": "integer", "minimum": 1, "description": "First line to show, from 1."},
                    "limit": {"type": "integer", "minimum": 1, "description": "Lines to show, 2000 at most."},
                    "pages": {"type": "string", "description": "Pages of a PDF document, such as `3` or `21-40`; 20 at once."}
                },
                "required": ["path"],
                "additionalProperties": false
            })
        );
    }
}
