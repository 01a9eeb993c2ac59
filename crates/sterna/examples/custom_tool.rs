//! A tool from a function, called by a scripted model: runs without a network and keeps nothing.
#![allow(clippy::print_stdout)]

use std::sync::Arc;

use futures::FutureExt;
use sterna::prelude::*;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Order {
    /// The order's number.
    number: u64,
}

const SCRIPT: &str = r#"
{"calls":[{"name":"order_status","arguments":{"number":7}}]}
{"text":"Order 7 is on its way."}
"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let status = tool_fn("order_status", "Tells where an order is.", |order: Order| async move {
        Ok(format!("order {} left the house this morning", order.number))
    });
    let model = Scripted::parse(SCRIPT, Arc::new(|_| futures::future::ready(()).boxed()))?;
    let sterna = Sterna::builder()
        .provider(Arc::new(model))
        .tool(status)
        .allow("order_status")
        .ephemeral()
        .build()
        .await?;
    let mut stream = sterna.session("orders").turn("Where is order 7?").stream().await?;
    while let Some(event) = stream.next().await? {
        if let EventKind::ToolEnded { name, output, .. } = &event.kind {
            println!("{name}: {output}");
        }
    }
    let reply = stream.reply().await?;
    println!("{}", reply.message());
    assert!(reply.is_finished());
    Ok(())
}
