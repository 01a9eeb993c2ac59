//! A server's question to the person, in the words of `ask_user`, and the person's answer in the words of the server.

use rmcp::model::{ElicitRequestParams, ElicitResult, ElicitationAction};
use serde_json::{Map, Value};
use sterna_model::{Choice, Question};

use crate::error::cut;

/// What a server wants to know.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Form {
    pub(crate) questions: Vec<Question>,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// One question, a field each.
    Fields(Vec<Field>),
    /// A page to be opened.
    Page,
}

#[derive(Debug, Clone, PartialEq)]
struct Field {
    name: String,
    required: bool,
    /// What the server takes an empty answer for.
    default: Option<Value>,
    takes: Takes,
}

#[derive(Debug, Clone, PartialEq)]
enum Takes {
    Text,
    Number,
    Integer,
    Boolean,
    /// The values, and what the person sees of each.
    One(Vec<(String, String)>),
    Many(Vec<(String, String)>),
}

impl Form {
    /// `None` for what cannot be asked: more than 20 fields, or a form that is none.
    pub(crate) fn of(server: &str, asked: &ElicitRequestParams) -> Option<Self> {
        match asked {
            ElicitRequestParams::FormElicitationParams { message, requested_schema, .. } => {
                let schema = serde_json::to_value(requested_schema).ok()?;
                fields(server, &cut(message), &schema)
            }
            ElicitRequestParams::UrlElicitationParams { message, url, .. } => {
                let url: String = url.chars().filter(|c| !c.is_control()).take(2_000).collect();
                let question = Question {
                    question: format!("The MCP server `{server}` asks you to open {url}\n{}", cut(message)),
                    header: "Open".into(),
                    options: vec![choice(DONE, "It is done"), choice(DECLINE, "Tell the server no")],
                    multi: false,
                };
                Some(Self { questions: vec![question], kind: Kind::Page })
            }
            _ => None,
        }
    }

    /// The answer for the server, or what is wrong with it, for the person.
    pub(crate) fn answer(&self, answers: &[String]) -> Result<ElicitResult, String> {
        let fields = match &self.kind {
            Kind::Page => {
                let done = answers.first().is_some_and(|answer| answer.trim() == DONE);
                return Ok(ElicitResult::new(if done {
                    ElicitationAction::Accept
                } else {
                    ElicitationAction::Decline
                }));
            }
            Kind::Fields(fields) => fields,
        };
        if fields.is_empty() {
            // A plain yes or no.
            let yes = answers.first().is_some_and(|answer| answer.trim() == YES);
            return Ok(if yes {
                ElicitResult::new(ElicitationAction::Accept).with_content(Value::Object(Map::new()))
            } else {
                ElicitResult::new(ElicitationAction::Decline)
            });
        }
        let mut content = Map::new();
        for (at, field) in fields.iter().enumerate() {
            let answer = answers.get(at).map_or("", |answer| answer.trim());
            match &field.default {
                Some(default) if answer.is_empty() => {
                    content.insert(field.name.clone(), default.clone());
                    continue;
                }
                None if answer.is_empty() && !field.required => continue,
                Some(_) | None => {}
            }
            content.insert(field.name.clone(), field.value(answer)?);
        }
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(Value::Object(content)))
    }
}

impl Field {
    fn value(&self, answer: &str) -> Result<Value, String> {
        let name = &self.name;
        let pick = |choices: &[(String, String)], answer: &str| {
            let fits = |(value, label): &&(String, String)| label == answer || value == answer;
            let known = || choices.iter().map(|(_, label)| label.as_str()).collect::<Vec<_>>().join(", ");
            let found = choices.iter().find(fits).map(|(value, _)| Value::from(value.clone()));
            found.ok_or_else(|| format!("`{name}` is one of {}", known()))
        };
        match &self.takes {
            Takes::Text if answer.is_empty() => Err(format!("`{name}` is needed")),
            Takes::Text => Ok(answer.into()),
            Takes::Integer => {
                answer.parse::<i64>().map(Value::from).map_err(|_| format!("`{name}` is a whole number"))
            }
            Takes::Number => {
                let number = answer.parse::<f64>().ok().and_then(serde_json::Number::from_f64);
                number.map(Value::Number).ok_or_else(|| format!("`{name}` is a number"))
            }
            Takes::Boolean => match answer.to_ascii_lowercase().as_str() {
                "yes" | "y" | "true" => Ok(true.into()),
                "no" | "n" | "false" => Ok(false.into()),
                _ => Err(format!("`{name}` is yes or no")),
            },
            Takes::One(choices) => pick(choices, answer),
            Takes::Many(choices) => {
                let chosen = answer.split(',').map(str::trim).filter(|one| !one.is_empty());
                Ok(Value::Array(chosen.map(|one| pick(choices, one)).collect::<Result<_, _>>()?))
            }
        }
    }
}

fn fields(server: &str, message: &str, schema: &Value) -> Option<Form> {
    let said = format!("The MCP server `{server}` asks: {message}");
    let properties = schema.get("properties").and_then(Value::as_object);
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let properties: Vec<(&String, &Value)> = properties.into_iter().flatten().collect();
    if properties.len() > FIELDS {
        return None;
    }
    if properties.is_empty() {
        let options = vec![choice(YES, ""), choice(NO, "")];
        let questions = vec![Question { question: said, header: "Confirm".into(), options, multi: false }];
        return Some(Form { questions, kind: Kind::Fields(Vec::new()) });
    }
    let mut questions = Vec::new();
    let mut fields = Vec::new();
    for (name, property) in properties {
        let takes = takes(property);
        let text = |key: &str| property.get(key).and_then(Value::as_str);
        let about = [text("title"), text("description")]
            .into_iter()
            .flatten()
            .map(cut)
            .collect::<Vec<_>>()
            .join(": ");
        let needed = required.contains(&name.as_str());
        let mut question = if questions.is_empty() { format!("{said}\n{name}") } else { name.clone() };
        if !about.is_empty() {
            question = format!("{question} ({about})");
        }
        let default = property.get("default").filter(|value| !value.is_null()).cloned();
        match &default {
            Some(default) => question.push_str(&format!(" (left empty: {})", cut(&default.to_string()))),
            None if !needed => question.push_str(" (may be left empty)"),
            None => {}
        }
        let options = match &takes {
            Takes::Boolean => vec![choice(YES, ""), choice(NO, "")],
            Takes::One(choices) | Takes::Many(choices) => {
                choices.iter().map(|(_, label)| choice(label, "")).collect()
            }
            Takes::Text | Takes::Number | Takes::Integer => Vec::new(),
        };
        let multi = matches!(takes, Takes::Many(_));
        let header = name.chars().take(12).collect();
        questions.push(Question { question, header, options, multi });
        fields.push(Field { name: name.clone(), required: needed, default, takes });
    }
    Some(Form { questions, kind: Kind::Fields(fields) })
}

fn takes(property: &Value) -> Takes {
    let kind = property.get("type").and_then(Value::as_str);
    if kind == Some("array") {
        return Takes::Many(property.get("items").map(choices).unwrap_or_default());
    }
    let choices = choices(property);
    match kind {
        _ if !choices.is_empty() => Takes::One(choices),
        Some("boolean") => Takes::Boolean,
        Some("integer") => Takes::Integer,
        Some("number") => Takes::Number,
        _ => Takes::Text,
    }
}

/// `enum` with `enumNames`, or `oneOf`/`anyOf` of `const` and `title`.
fn choices(property: &Value) -> Vec<(String, String)> {
    let strings = |key: &str| -> Vec<String> {
        let all = property.get(key).and_then(Value::as_array);
        all.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let values = strings("enum");
    if !values.is_empty() {
        let names = strings("enumNames");
        let label = |(at, value): (usize, String)| {
            let label = names.get(at).unwrap_or(&value).clone();
            (value, label)
        };
        return values.into_iter().enumerate().map(label).collect();
    }
    let titled = ["oneOf", "anyOf"].iter().find_map(|key| property.get(key)?.as_array());
    let one = |of: &Value| {
        let value = of.get("const")?.as_str()?.to_owned();
        let label = of.get("title").and_then(Value::as_str).unwrap_or(&value).to_owned();
        Some((value, label))
    };
    titled.into_iter().flatten().filter_map(one).collect()
}

fn choice(label: &str, description: &str) -> Choice {
    Choice { label: label.into(), description: description.into(), preview: None }
}

const YES: &str = "Yes";
const NO: &str = "No";
const DONE: &str = "Done";
const DECLINE: &str = "Decline";
const FIELDS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn form(params: Value) -> Form {
        let asked: ElicitRequestParams = serde_json::from_value(params).unwrap();
        Form::of("s", &asked).unwrap()
    }

    fn answered(form: &Form, answers: &[&str]) -> Result<Value, String> {
        let answers: Vec<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
        form.answer(&answers).map(|result| serde_json::to_value(result).unwrap())
    }

    #[test]
    fn fields_become_questions_and_answers_become_fields() {
        let form = form(serde_json::json!({
            "mode": "form", "message": "Who?",
            "requestedSchema": {"type": "object", "properties": {
                "age": {"type": "integer"},
                "color": {"type": "string", "enum": ["r", "g"], "enumNames": ["Red", "Green"]},
                "name": {"type": "string", "title": "Your name"},
                "ok": {"type": "boolean"},
            }, "required": ["name", "ok"]},
        }));
        let headers: Vec<&str> = form.questions.iter().map(|q| q.header.as_str()).collect();
        assert_eq!(headers, ["age", "color", "name", "ok"]);
        assert!(form.questions[0].question.starts_with("The MCP server `s` asks: Who?"));
        assert!(form.questions[2].question.contains("Your name"));
        let labels: Vec<&str> = form.questions[1].options.iter().map(|o| o.label.as_str()).collect();
        assert_eq!(labels, ["Red", "Green"]);
        assert_eq!(
            answered(&form, &["7", "Green", " Ann ", "yes"]),
            Ok(serde_json::json!({"action": "accept",
                "content": {"age": 7, "color": "g", "name": "Ann", "ok": true}}))
        );
        assert_eq!(
            answered(&form, &["", "", "Ann", "No"]),
            Ok(serde_json::json!({"action": "accept", "content": {"name": "Ann", "ok": false}}))
        );
        for (answers, expected) in [
            (["x", "", "Ann", "No"], "`age` is a whole number"),
            (["", "blue", "Ann", "No"], "`color` is one of Red, Green"),
            (["", "", "", "No"], "`name` is needed"),
            (["", "", "Ann", ""], "`ok` is yes or no"),
        ] {
            assert_eq!(answered(&form, &answers), Err(expected.to_owned()));
        }
    }

    #[test]
    fn a_page_and_an_empty_form_are_yes_or_no() {
        let page = form(serde_json::json!({
            "mode": "url", "message": "Log in", "url": "https://x.invalid/a", "elicitationId": "1",
        }));
        assert!(page.questions[0].question.contains("https://x.invalid/a"));
        assert_eq!(answered(&page, &["Done"]), Ok(serde_json::json!({"action": "accept"})));
        assert_eq!(answered(&page, &["Decline"]), Ok(serde_json::json!({"action": "decline"})));
        let empty = form(serde_json::json!({
            "mode": "form", "message": "Sure?", "requestedSchema": {"type": "object", "properties": {}},
        }));
        assert_eq!(answered(&empty, &["Yes"]), Ok(serde_json::json!({"action": "accept", "content": {}})));
        assert_eq!(answered(&empty, &["no"]), Ok(serde_json::json!({"action": "decline"})));
    }

    #[test]
    fn an_empty_answer_is_the_default() {
        let form = form(serde_json::json!({
            "mode": "form", "message": "m",
            "requestedSchema": {"type": "object", "properties": {
                "a": {"type": "string", "default": "x"}, "n": {"type": "integer", "default": 3},
                "ok": {"type": "boolean", "default": true}}, "required": ["a"]},
        }));
        assert!(form.questions[1].question.contains("left empty: 3"), "{:?}", form.questions);
        let content = answered(&form, &["", "", "no"]).unwrap()["content"].clone();
        assert_eq!(content, serde_json::json!({"a": "x", "n": 3, "ok": false}));
    }

    #[test]
    fn several_of_a_list_can_be_chosen() {
        let form = form(serde_json::json!({
            "mode": "form", "message": "m",
            "requestedSchema": {"type": "object", "properties": {"tags": {"type": "array", "items":
                {"anyOf": [{"const": "a", "title": "Ant"}, {"const": "b", "title": "Bee"}]}}}, "required": ["tags"]},
        }));
        assert!(form.questions[0].multi);
        assert_eq!(
            answered(&form, &["Ant, Bee"]).unwrap()["content"],
            serde_json::json!({"tags": ["a", "b"]})
        );
    }
}
