//! What is known of models: windows, limits, prices and abilities, as data.
//!
//! The facts are in `models.toml`, each with the place it was taken from. A user's `ModelOverride` wins over them, and a
//! model that is not there works with safe defaults and says so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sterna_model::{NanoUsd, Route, Sight, ThinkingDialect, Usage};

use crate::{Long, ModelInfo, Price};

/// What a user says of a model.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ModelOverride {
    pub context: Option<u32>,
    pub max_output: Option<u32>,
    pub price: Option<Price>,
    /// Whether it takes images.
    pub images: Option<bool>,
    /// Whether it takes PDF documents as they are.
    pub documents: Option<bool>,
    /// How it is asked to think.
    pub thinking: Option<ThinkingDialect>,
}

impl ModelOverride {
    /// Lays the override over what is known.
    pub fn over(&self, info: ModelInfo) -> ModelInfo {
        let told = self.context.is_some() && self.max_output.is_some();
        ModelInfo {
            context: self.context.unwrap_or(info.context),
            max_output: self.max_output.unwrap_or(info.max_output),
            price: self.price.or(info.price),
            assumed: info.assumed && !told,
            schema_native: info.schema_native,
            sight: Sight {
                images: self.images.unwrap_or(info.sight.images),
                documents: self.documents.unwrap_or(info.sight.documents),
            },
            thinking: self.thinking.or(info.thinking),
        }
    }
}

/// One entry of the catalogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    pub provider: String,
    pub name: String,
    /// Tokens that it reads and writes together.
    pub context: u32,
    /// Tokens of one answer; `None`: no limit of its own is known.
    pub max_output: Option<u32>,
    price: Price,
    long: Option<Long>,
    /// What may go in.
    pub takes: Vec<Takes>,
    pub can: Vec<Ability>,
    pub cache: Option<CacheDialect>,
    /// How it is asked to think, if it can be.
    pub thinking: Option<ThinkingDialect>,
    /// The day after which its vendor no longer serves it.
    pub sunset: Option<String>,
    pub from: From,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Takes {
    Text,
    Image,
    Pdf,
    Audio,
    Video,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ability {
    Tools,
    /// It thinks before it answers.
    Reasoning,
    /// Its API holds an answer to a JSON Schema, also beside tools.
    Schema,
}

/// How a prompt cache is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheDialect {
    /// Prefixes are marked in the request.
    Explicit,
    /// The provider finds them.
    Automatic,
}

/// Names of the sources that an entry's facts were taken from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct From {
    pub facts: String,
    /// Of `context`, if it is another.
    pub context: Option<String>,
    pub price: String,
    /// Of `thinking`, if it is another.
    pub thinking: Option<String>,
    /// The vendor's page that the source names.
    pub vendor: Option<String>,
}

/// A source of facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    pub what: String,
    pub url: String,
    /// The day on which it was read.
    pub read: String,
}

/// The whole catalogue.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// The day of its facts.
    pub version: String,
    pub sources: BTreeMap<String, Source>,
    #[serde(rename = "model")]
    pub models: Vec<Model>,
}

impl Model {
    /// Its prices, with those of long calls.
    pub fn price(&self) -> Price {
        Price { long: self.long, ..self.price }
    }

    /// What the runtime needs to know.
    pub fn info(&self) -> ModelInfo {
        let unknown = ModelInfo::default();
        ModelInfo {
            context: self.context,
            max_output: self.max_output.unwrap_or(unknown.max_output),
            price: Some(self.price()),
            assumed: false,
            schema_native: self.can.contains(&Ability::Schema),
            sight: Sight {
                images: self.takes.contains(&Takes::Image),
                documents: self.takes.contains(&Takes::Pdf),
            },
            thinking: self.thinking,
        }
    }
}

/// All that the catalogue holds. An error says what is wrong with the file, which a test keeps from happening.
pub fn all() -> Result<Catalogue, String> {
    toml::from_str(TEXT).map_err(|error| error.to_string())
}

/// The catalogue's entry of a route. Dated names (`name-20250929`) are their model's.
pub fn entry(route: &Route) -> Option<Model> {
    // Each entry begins with provider and name, so that the others need not be parsed.
    let provider = format!("provider = \"{}\"\n", route.provider);
    let known = TEXT.split("[[model]]\n").skip(1).filter_map(|text| {
        let name = text.strip_prefix(&provider)?.strip_prefix("name = \"")?.split('"').next()?;
        names(name, &route.model).then_some((name.len(), text))
    });
    let (_, text) = known.max_by_key(|(length, _)| *length)?;
    toml::from_str(text).ok()
}

/// What is known of a route, or assumed.
pub fn lookup(route: &Route) -> ModelInfo {
    if let Some(model) = entry(route) {
        return model.info();
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

/// What the tokens of one call cost, exactly, rounded to the nearest billionth of a dollar.
pub fn cost(price: &Price, usage: &Usage) -> NanoUsd {
    let long = price.long.filter(|long| usage.input() > u64::from(long.above));
    let dollars = match long {
        Some(Long { above: _, input, output, cache_read, cache_write_5m, cache_write_1h }) => {
            [input, cache_read, cache_write_5m, cache_write_1h, output]
        }
        None => [price.input, price.cache_read, price.cache_write_5m, price.cache_write_1h, price.output],
    };
    let tokens =
        [usage.input_uncached, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h, usage.output];
    let parts = tokens.into_iter().zip(dollars);
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

const TEXT: &str = include_str!("models.toml");

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
    fn the_file_is_whole_and_each_entry_is_found() {
        let catalogue = all().unwrap();
        assert!(catalogue.models.len() > 50);
        for model in &catalogue.models {
            let route = route(&format!("{}/{}", model.provider, model.name));
            assert_eq!(entry(&route).as_ref(), Some(model), "{route}");
            let twice = catalogue
                .models
                .iter()
                .filter(|other| (&other.provider, &other.name) == (&model.provider, &model.name));
            assert_eq!(twice.count(), 1, "{route}");
            let From { facts, context, price, thinking, vendor: _ } = &model.from;
            let sources = [Some(facts), context.as_ref(), Some(price), thinking.as_ref()];
            assert!(model.thinking.is_none() || model.can.contains(&Ability::Reasoning), "{route}");
            for name in sources.into_iter().flatten().flat_map(|names| names.split(", ")) {
                assert!(catalogue.sources.contains_key(name), "{route}: {name}");
            }
            let price = model.price();
            assert!(
                price.output >= price.input && price.input > 0.0 && price.cache_read <= price.input,
                "{route}"
            );
            assert!(model.max_output.is_none_or(|output| output < model.context), "{route}");
            assert!(model.takes.contains(&Takes::Text), "{route}");
            if let Some(long) = price.long {
                assert!(long.above < model.context && long.input > price.input, "{route}");
            }
        }
    }

    #[test]
    fn a_long_call_costs_more_from_its_first_token() {
        // gemini-2.5-pro by hand: 200,000 tokens at 1.25 dollars a million; one more, and all cost 2.50, the answer 15.
        let price = lookup(&route("gemini/gemini-2.5-pro")).price.unwrap();
        let of = |input_uncached, output| cost(&price, &Usage { input_uncached, output, ..Usage::default() });
        assert_eq!(of(200_000, 1_000), 250_000_000 + 10_000_000);
        assert_eq!(of(200_001, 1_000), 500_002_500 + 15_000_000);
    }

    #[test]
    fn an_override_wins() {
        let info = lookup(&route("acme/x"));
        let some = ModelOverride { context: Some(4_096), ..ModelOverride::default() };
        assert_eq!(some.over(info.clone()), ModelInfo { context: 4_096, ..info.clone() });
        let all = ModelOverride {
            context: Some(1),
            max_output: Some(2),
            price: Some(Price::default()),
            images: Some(true),
            documents: None,
            thinking: Some(ThinkingDialect::Effort),
        };
        let told = ModelInfo {
            context: 1,
            max_output: 2,
            price: Some(Price::default()),
            assumed: false,
            schema_native: false,
            sight: Sight { images: true, documents: false },
            thinking: Some(ThinkingDialect::Effort),
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
