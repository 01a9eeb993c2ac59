//! The five lines of the documentation. Needs `ANTHROPIC_API_KEY`, or `STERNA_MODEL` naming another route.
#![allow(clippy::print_stdout)]

use sterna::Sterna;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = std::env::var("STERNA_MODEL").unwrap_or_else(|_| "anthropic/claude-sonnet-4-5".into());
    let sterna = Sterna::builder().model(model).build().await?;
    let reply = sterna.session("demo").turn("Say hello in one short sentence.").await?;
    println!("{}", reply.message());
    Ok(())
}
