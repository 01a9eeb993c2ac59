//! Arguments of calls: placeholders in what is kept, and values in what the few tools get that write them.

use serde_json::Value;
use sterna_secrets::{Scoped, Unknown};

/// Takes the secrets out of arguments as they came. JSON stays JSON: its strings are looked at one by one.
pub(super) fn clean(arguments: &mut String, secrets: &Scoped) {
    if !secrets.finds(arguments) {
        return;
    }
    if let Ok(mut value) = serde_json::from_str::<Value>(arguments) {
        clean_value(&mut value, secrets);
        *arguments = value.to_string();
    }
    // No JSON, or a secret over several of its strings.
    secrets.redact_in_place(arguments);
}

/// Takes the secrets out of all texts of a value, the names of members included.
pub(super) fn clean_value(value: &mut Value, secrets: &Scoped) {
    match value {
        Value::String(text) => {
            secrets.redact_in_place(text);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| clean_value(item, secrets)),
        Value::Object(members) => {
            for (mut name, mut item) in std::mem::take(members) {
                secrets.redact_in_place(&mut name);
                clean_value(&mut item, secrets);
                members.insert(name, item);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The arguments with the values in place of placeholders. `None`: there is no placeholder in them.
pub(crate) fn restored(args: &Value, secrets: &Scoped) -> Result<Option<Value>, Unknown> {
    let mut args = args.clone();
    restore(&mut args, secrets).map(|any| any.then_some(args))
}

/// The first placeholder in the arguments.
pub(crate) fn placeholder(args: &Value) -> Option<String> {
    match args {
        Value::String(text) => sterna_model::placeholders(text).next().map(|(_, found)| found.to_owned()),
        Value::Array(items) => items.iter().find_map(placeholder),
        Value::Object(members) => members.values().find_map(placeholder),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn restore(value: &mut Value, secrets: &Scoped) -> Result<bool, Unknown> {
    match value {
        Value::String(text) => match secrets.restore(text)? {
            Some(whole) => {
                *text = whole;
                Ok(true)
            }
            None => Ok(false),
        },
        Value::Array(items) => {
            items.iter_mut().try_fold(false, |any, item| Ok(restore(item, secrets)? | any))
        }
        Value::Object(members) => {
            members.values_mut().try_fold(false, |any, item| Ok(restore(item, secrets)? | any))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(false),
    }
}
