//! What is known of models: windows, limits and prices, as data.
//!
//! The facts are the vendors' published ones, as known in November 2025. A user's `ModelOverride` wins over them, and
//! a model that is not here works with safe defaults and says so.

use sterna_model::{NanoUsd, Route, Usage};

use crate::{ModelInfo, Price};

/// Version of the table, so that old usage can be priced again.
pub const CATALOG_VERSION: &str = "2025-11";

/// What a user says of a model.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ModelOverride {
    pub context: Option<u32>,
    pub max_output: Option<u32>,
    pub price: Option<Price>,
}

impl ModelOverride {
    /// Lays the override over what is known.
    pub fn over(&self, info: ModelInfo) -> ModelInfo {
        let told = self.context.is_some() && self.max_output.is_some();
        ModelInfo {
            context: self.context.unwrap_or(info.context),
            max_output: self.max_output.unwrap_or(info.max_output),
            price: self.price.or(info.price),
            schema_native: info.schema_native,
            assumed: info.assumed && !told,
        }
    }
}

/// What the catalogue says of a route. Dated names (`name-20250929`) are their model's.
pub fn lookup(route: &Route) -> ModelInfo {
    let known = MODELS
        .iter()
        .filter(|model| model.provider == route.provider && names(model.name, &route.model))
        .max_by_key(|model| model.name.len());
    if let Some(model) = known {
        return ModelInfo {
            context: model.context,
            max_output: model.max_output,
            price: Some(model.price),
            assumed: false,
            schema_native: matches!(model.provider, "openai"),
        };
    }
    match route.provider.as_str() {
        // The small models that run here have small windows.
        "local" => ModelInfo {
            context: 32_768,
            max_output: 4_096,
            price: Some(Price::default()),
            ..ModelInfo::default()
        },
        "ollama" | "lmstudio" | "llamacpp" | "vllm" => {
            ModelInfo { price: Some(Price::default()), ..ModelInfo::default() }
        }
        _ => ModelInfo::default(),
    }
}

/// What the tokens cost, exactly, rounded to the nearest billionth of a dollar.
pub fn cost(price: &Price, usage: &Usage) -> NanoUsd {
    let parts = [
        (usage.input_uncached, price.input),
        (usage.cache_read, price.cache_read),
        (usage.cache_write_5m, price.cache_write_5m),
        (usage.cache_write_1h, price.cache_write_1h),
        (usage.output, price.output),
    ];
    let pico = parts.into_iter().fold(0u128, |sum, (tokens, dollars)| {
        sum.saturating_add(u128::from(tokens).saturating_mul(pico_a_token(dollars)))
    });
    NanoUsd::try_from(pico.saturating_add(500) / 1_000).unwrap_or(NanoUsd::MAX)
}

/// A dollar for a million tokens is a million trillionths of a dollar for one.
fn pico_a_token(dollars: f64) -> u128 {
    // A price that is negative or no number casts to 0.
    (dollars * 1e6).round() as u128
}

fn names(known: &str, asked: &str) -> bool {
    match asked.strip_prefix(known) {
        Some("" | "-latest") => true,
        // A date: `-20250929` or `-2025-09-29`.
        Some(rest) => rest.strip_prefix('-').is_some_and(|date| {
            date.len() >= 8 && date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
        }),
        None => false,
    }
}

struct Model {
    provider: &'static str,
    name: &'static str,
    context: u32,
    max_output: u32,
    price: Price,
}

/// Writing the cache costs 1.25 of the input for five minutes and twice the input for an hour, reading it a tenth.
const fn anthropic(name: &'static str, max_output: u32, input: f64, output: f64) -> Model {
    let price = Price {
        input,
        output,
        cache_read: input / 10.0,
        cache_write_5m: input * 1.25,
        cache_write_1h: input * 2.0,
    };
    Model { provider: "anthropic", name, context: 200_000, max_output, price }
}

/// Writing the cache costs what input costs.
const fn chat(
    provider: &'static str,
    name: &'static str,
    (context, max_output): (u32, u32),
    (input, cache_read, output): (f64, f64, f64),
) -> Model {
    let price = Price { input, output, cache_read, cache_write_5m: input, cache_write_1h: input };
    Model { provider, name, context, max_output, price }
}

const MODELS: &[Model] = &[
    anthropic("claude-opus-4-5", 64_000, 5.0, 25.0),
    anthropic("claude-opus-4-1", 32_000, 15.0, 75.0),
    anthropic("claude-opus-4", 32_000, 15.0, 75.0),
    anthropic("claude-sonnet-4-5", 64_000, 3.0, 15.0),
    anthropic("claude-sonnet-4", 64_000, 3.0, 15.0),
    anthropic("claude-haiku-4-5", 64_000, 1.0, 5.0),
    anthropic("claude-3-5-haiku", 8_192, 0.8, 4.0),
    chat("openai", "gpt-5.1", (400_000, 128_000), (1.25, 0.125, 10.0)),
    chat("openai", "gpt-5", (400_000, 128_000), (1.25, 0.125, 10.0)),
    chat("openai", "gpt-5-mini", (400_000, 128_000), (0.25, 0.025, 2.0)),
    chat("openai", "gpt-5-nano", (400_000, 128_000), (0.05, 0.005, 0.4)),
    chat("openai", "gpt-4.1", (1_047_576, 32_768), (2.0, 0.5, 8.0)),
    chat("openai", "gpt-4.1-mini", (1_047_576, 32_768), (0.4, 0.1, 1.6)),
    chat("openai", "gpt-4o", (128_000, 16_384), (2.5, 1.25, 10.0)),
    chat("openai", "gpt-4o-mini", (128_000, 16_384), (0.15, 0.075, 0.6)),
    chat("openai", "o3", (200_000, 100_000), (2.0, 0.5, 8.0)),
    chat("openai", "o4-mini", (200_000, 100_000), (1.1, 0.275, 4.4)),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn route(text: &str) -> Route {
        text.parse().unwrap()
    }

    #[test]
    fn names_dates_and_strangers() {
        let sonnet = lookup(&route("anthropic/claude-sonnet-4-5"));
        assert_eq!((sonnet.context, sonnet.max_output, sonnet.assumed), (200_000, 64_000, false));
        assert_eq!(lookup(&route("anthropic/claude-sonnet-4-5-20250929")), sonnet);
        assert_eq!(lookup(&route("openai/gpt-5-2025-08-07")), lookup(&route("openai/gpt-5")));
        assert_ne!(lookup(&route("openai/gpt-5-mini")).price, lookup(&route("openai/gpt-5")).price);
        for stranger in ["openai/gpt-5-turbo", "openai/gpt-50", "openrouter/openai/gpt-5", "acme/x"] {
            assert_eq!(lookup(&route(stranger)), ModelInfo::default(), "{stranger}");
        }
        assert_eq!(lookup(&route("local")).price, Some(Price::default()));
    }

    #[test]
    fn an_override_wins() {
        let info = lookup(&route("acme/x"));
        let some = ModelOverride { context: Some(4_096), ..ModelOverride::default() };
        assert_eq!(some.over(info.clone()), ModelInfo { context: 4_096, ..info.clone() });
        let all = ModelOverride { context: Some(1), max_output: Some(2), price: Some(Price::default()) };
        let told = ModelInfo {
            context: 1,
            max_output: 2,
            price: Some(Price::default()),
            assumed: false,
            schema_native: false,
        };
        assert_eq!(all.over(info), told);
    }

    #[test]
    fn money_is_exact() {
        // claude-sonnet-4-5 by hand, in billionths: 1,000 in at 3,000; 2,000 read at 300; 400 and 10 written at 3,750
        // and 6,000; 50 out at 15,000; reasoning is inside output.
        let usage = Usage {
            input_uncached: 1_000,
            cache_read: 2_000,
            cache_write_5m: 400,
            cache_write_1h: 10,
            output: 50,
            reasoning: 20,
        };
        let price = lookup(&route("anthropic/claude-sonnet-4-5")).price.unwrap();
        assert_eq!(cost(&price, &usage), 3_000_000 + 600_000 + 1_500_000 + 60_000 + 750_000);
        // Less than a billionth each: 3 tokens at 0.005 dollars a million are 15 billionths.
        let nano = lookup(&route("openai/gpt-5-nano")).price.unwrap();
        assert_eq!(cost(&nano, &Usage { cache_read: 3, ..Usage::default() }), 15);
        // 1 token at 0.0005 dollars a million is half a billionth, and rounds up.
        let tiny = Price { input: 0.0005, ..Price::default() };
        assert_eq!(cost(&tiny, &Usage { input_uncached: 1, ..Usage::default() }), 1);
        assert_eq!(cost(&tiny, &Usage { input_uncached: 3_000_000, ..Usage::default() }), 1_500_000);
        // Nothing overflows, and a broken price is no money.
        let vast = Usage { input_uncached: u64::MAX, ..Usage::default() };
        assert_eq!(cost(&Price { input: 1e9, ..Price::default() }, &vast), u64::MAX);
        assert_eq!(cost(&Price { input: f64::NAN, ..Price::default() }, &vast), 0);
        assert_eq!(cost(&Price { input: -1.0, ..Price::default() }, &vast), 0);
    }
}
