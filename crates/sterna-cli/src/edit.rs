//! A person's own text in place of what the model wrote: in their editor, or from a file.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

/// What of a call's arguments a person edits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Editable {
    /// The argument whose text it is; `None`: all arguments, as JSON.
    field: Option<&'static str>,
    pub text: String,
}

impl Editable {
    /// The one long text among the arguments, else all of them.
    pub fn of(arguments: &str) -> Self {
        let args: Value = serde_json::from_str(arguments).unwrap_or(Value::Null);
        let mut texts = TEXTS.iter().filter_map(|name| Some((*name, args.get(name)?.as_str()?)));
        if let (Some((field, text)), None) = (texts.next(), texts.next()) {
            return Self { field: Some(field), text: text.to_owned() };
        }
        let text = serde_json::to_string_pretty(&args).unwrap_or_else(|_| arguments.to_owned());
        Self { field: None, text }
    }

    /// The arguments with this text in its place. `None`: nothing was changed.
    pub fn with(&self, arguments: &str, text: &str) -> Result<Option<String>, String> {
        if text == self.text {
            return Ok(None);
        }
        match self.field {
            Some(field) => {
                let mut args: Value = serde_json::from_str(arguments).map_err(|e| e.to_string())?;
                args[field] = text.into();
                Ok(Some(args.to_string()))
            }
            None => arguments_of(text).map(Some),
        }
    }
}

/// Arguments that somebody wrote: a JSON object.
pub fn arguments_of(text: &str) -> Result<String, String> {
    match serde_json::from_str(text) {
        Ok(args @ Value::Object(_)) => Ok(args.to_string()),
        Ok(_) => Err("the arguments are no JSON object".into()),
        Err(error) => Err(format!("the arguments are not JSON: {error}")),
    }
}

/// Lets the person edit a text in the program that VISUAL or EDITOR names.
pub async fn in_editor(text: String, ending: &'static str) -> Result<String, String> {
    let edited = tokio::task::spawn_blocking(move || edit(&text, ending)).await;
    edited.map_err(|error| error.to_string())?
}

fn edit(text: &str, ending: &str) -> Result<String, String> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let editor =
        set("VISUAL").or_else(|| set("EDITOR")).ok_or("neither VISUAL nor EDITOR names an editor")?;
    let file = Draft::new(text, ending).map_err(|error| format!("cannot write a draft: {error}"))?;
    // A line for the shell, as git and others read these variables.
    let ended = std::process::Command::new("sh")
        .args(["-c", &format!("{editor} \"$1\""), "sh"])
        .arg(&file.0)
        .status()
        .map_err(|error| format!("`{editor}` did not start: {error}"))?;
    if !ended.success() {
        return Err(format!("`{editor}` failed ({ended}); nothing was changed"));
    }
    std::fs::read_to_string(&file.0).map_err(|error| format!("the draft cannot be read: {error}"))
}

/// A file for one edit, for its owner alone.
struct Draft(PathBuf);

impl Draft {
    fn new(text: &str, ending: &str) -> std::io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("sterna-{}-{}{ending}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let draft = Self(path);
        file.write_all(text.as_bytes())?;
        Ok(draft)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Left behind, it is a file of the person's own text.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Arguments that hold a text of their own.
const TEXTS: [&str; 5] = ["content", "new_string", "patch", "command", "input"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_long_text_is_edited_where_there_is_one() {
        let write = r#"{"path":"a","content":"one\n"}"#;
        let editable = Editable::of(write);
        assert_eq!(editable, Editable { field: Some("content"), text: "one\n".into() });
        assert_eq!(editable.with(write, "one\n"), Ok(None));
        let edited = editable.with(write, "two\n").unwrap().unwrap();
        assert_eq!(serde_json::from_str::<Value>(&edited).unwrap()["content"], "two\n");
        let other = r#"{"path":"a","n":1}"#;
        let editable = Editable::of(other);
        assert!(editable.field.is_none() && editable.text.contains("\"n\": 1"));
        assert_eq!(editable.with(other, r#"{"path": "b"}"#), Ok(Some(r#"{"path":"b"}"#.to_owned())));
        assert!(editable.with(other, "[]").is_err() && editable.with(other, "{").is_err());
    }
}
