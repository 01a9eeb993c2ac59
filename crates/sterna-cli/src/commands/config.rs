//! `sterna config`: every key, its value and where that comes from; and the file's schema.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::Failure;
use crate::print::one_line;
use crate::table::table;

#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Shows every key with its value and where that comes from
    Show {
        /// One object
        #[arg(long)]
        json: bool,
    },
    /// Prints the JSON Schema of config.toml
    Schema,
}

/// Give it a lenient context: the schema can be had with a broken file, and `show` tells what is wrong with it.
pub async fn config(cx: &Context, args: ConfigArgs) -> Result<ExitCode, Failure> {
    match args.command {
        ConfigCommand::Schema => {
            let schema = serde_json::to_string_pretty(&sterna::config::schema())
                .map_err(|error| Failure::failed(format!("cannot show it as JSON: {error}")))?;
            cx.print.line(&schema)?;
        }
        ConfigCommand::Show { json } => {
            if let Some(failure) = &cx.broken {
                return Err(failure.clone());
            }
            show(cx, json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(cx: &Context, json: bool) -> Result<(), Failure> {
    let rows = cx.settings.shown();
    let user = cx.places.config_file();
    if json {
        let file = |path: &std::path::Path| json!({"path": path, "exists": path.exists()});
        return cx.print.json(&json!({
            "keys": rows,
            "files": [file(&cx.places.managed), file(&user)],
            "notices": cx.settings.notices,
        }));
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let locked = if row.locked { " (locked)" } else { "" };
            vec![row.key.clone(), short(&row.value), format!("{}{locked}", row.source)]
        })
        .collect();
    cx.print.out(&table(&cx.print, &["key", "value", "from"], &cells))?;
    if !user.exists() {
        cx.print
            .note(&format!("{} is not there: it would be the place for your own settings", user.display()));
    }
    for notice in &cx.settings.notices {
        cx.print.warning(notice);
    }
    Ok(())
}

/// A value as it would stand in the file, cut to a line.
fn short(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| format!("{name} {}", short(value));
            fields.iter().map(field).collect::<Vec<_>>().join(", ")
        }
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(short).collect::<Vec<_>>().join(", "),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    };
    one_line(&text, 120)
}
