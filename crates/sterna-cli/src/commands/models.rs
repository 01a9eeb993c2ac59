//! `sterna models`: what is known of models, and where each fact comes from.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value, json};
use sterna_llm::catalog::{self, Ability, Catalogue, Model, Takes};
use sterna_llm::{ModelInfo, ModelOverride, Price};
use sterna_model::Route;

use crate::args::whole;
use crate::context::Context;
use crate::failure::Failure;
use crate::table::table;

#[derive(Debug, Args)]
pub struct ModelsArgs {
    /// A provider, or one model as PROVIDER/MODEL; all that are known without one
    what: Option<String>,
    /// Only models that call tools
    #[arg(long)]
    tools: bool,
    /// Only models that think before they answer
    #[arg(long)]
    reasoning: bool,
    /// Only models whose API holds an answer to a JSON Schema
    #[arg(long)]
    schema: bool,
    /// Only models that take images
    #[arg(long)]
    images: bool,
    /// Only models that take PDF files
    #[arg(long)]
    pdf: bool,
    /// Only models that take audio
    #[arg(long)]
    audio: bool,
    /// Only models that take video
    #[arg(long)]
    video: bool,
    /// Only models that read and write at least this many tokens
    #[arg(long, value_name = "TOKENS", allow_negative_numbers = true, value_parser = whole::<u32>)]
    context: Option<u32>,
    /// One object a line
    #[arg(long)]
    json: bool,
}

/// A model with what the user says of it.
struct Row {
    route: String,
    info: ModelInfo,
    known: Option<Model>,
    told: Option<ModelOverride>,
    /// Where the user says it.
    place: String,
}

pub fn models(cx: &Context, args: &ModelsArgs) -> Result<ExitCode, Failure> {
    let catalogue =
        catalog::all().map_err(|e| Failure::failed(format!("the catalogue cannot be read: {e}")))?;
    let rows = rows(cx, &catalogue, args.what.as_deref())?;
    let one = args.what.as_deref().is_some_and(|what| what.contains('/'));
    let shown: Vec<&Row> = rows.iter().filter(|row| args.wants(row)).collect();
    if args.json {
        for row in shown {
            cx.print.json(&row.json(&catalogue))?;
        }
    } else if let (true, [row]) = (one, shown.as_slice()) {
        cx.print.out(&row.text(&catalogue))?;
    } else if shown.is_empty() {
        cx.print.note("no model fits");
    } else {
        let head = ["model", "context", "output", "in $/M", "out $/M", "takes", "can", "from"];
        let cells: Vec<Vec<String>> = shown.iter().map(|row| row.cells()).collect();
        cx.print.out(&table(&cx.print, &head, &cells))?;
        cx.print.note(&format!(
            "facts of {}; `sterna models PROVIDER/MODEL` says where each is from",
            catalogue.version
        ));
    }
    Ok(ExitCode::SUCCESS)
}

impl ModelsArgs {
    fn wants(&self, row: &Row) -> bool {
        let can =
            |wanted: bool, ability| !wanted || row.known.as_ref().is_some_and(|m| m.can.contains(&ability));
        let takes =
            |wanted: bool, what| !wanted || row.known.as_ref().is_some_and(|m| m.takes.contains(&what));
        can(self.tools, Ability::Tools)
            && can(self.reasoning, Ability::Reasoning)
            && can(self.schema, Ability::Schema)
            && takes(self.images, Takes::Image)
            && takes(self.pdf, Takes::Pdf)
            && takes(self.audio, Takes::Audio)
            && takes(self.video, Takes::Video)
            && self.context.is_none_or(|least| row.info.context >= least)
    }
}

/// What is asked for: one model, a provider's, or all; those of the user's file among them.
fn rows(cx: &Context, catalogue: &Catalogue, what: Option<&str>) -> Result<Vec<Row>, Failure> {
    let settings = &cx.settings;
    let row = |route: Route| {
        let provider = settings.providers.get(&route.provider);
        let told = provider.and_then(|provider| provider.endpoint.models.get(&route.model)).copied();
        let place = provider.and_then(|provider| provider.place.clone()).unwrap_or_default();
        let info = catalog::lookup(&route);
        let info = told.map_or(info.clone(), |told| told.over(info));
        Row { known: catalog::entry(&route), route: route.to_string(), info, told, place }
    };
    if let Some(route) = what.filter(|what| what.contains('/')) {
        return Ok(vec![row(route.parse()?)]);
    }
    let known = catalogue.models.iter().map(|model| (model.provider.clone(), model.name.clone()));
    let told = settings.providers.iter().flat_map(|(name, provider)| {
        provider.endpoint.models.keys().map(move |model| (name.clone(), model.clone()))
    });
    let mut names: Vec<(String, String)> = known.collect();
    for name in told {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.retain(|(provider, _)| what.is_none_or(|what| what == provider));
    if let Some(what) = what.filter(|what| names.is_empty() && !settings.providers.contains_key(*what)) {
        let providers: Vec<&str> = settings.providers.keys().map(String::as_str).collect();
        return Err(Failure::usage(format!("there is no provider `{what}`"))
            .hint(format!("providers are {}", providers.join(", "))));
    }
    Ok(names.into_iter().map(|(provider, model)| row(Route { provider, model })).collect())
}

impl Row {
    /// Where a fact comes from: the user's file, a source of the catalogue, or a safe assumption.
    fn source(&self, told: bool, known: Option<&str>) -> String {
        match known {
            _ if told => self.place.clone(),
            Some(known) => known.to_owned(),
            None => "assumed".into(),
        }
    }

    fn context_source(&self) -> String {
        let known = self.known.as_ref().map(|m| m.from.context.as_ref().unwrap_or(&m.from.facts).as_str());
        self.source(self.told.is_some_and(|told| told.context.is_some()), known)
    }

    fn output_source(&self) -> String {
        let known = self.known.as_ref().filter(|model| model.max_output.is_some());
        let told = self.told.is_some_and(|told| told.max_output.is_some());
        self.source(told, known.map(|model| model.from.facts.as_str()))
    }

    fn price_source(&self) -> String {
        match (&self.info.price, &self.known) {
            (None, _) => "unknown".into(),
            (Some(_), known) => {
                let told = self.told.is_some_and(|told| told.price.is_some());
                self.source(told, known.as_ref().map(|model| model.from.price.as_str()))
            }
        }
    }

    fn cells(&self) -> Vec<String> {
        let dollars =
            |of: fn(&Price) -> f64| self.info.price.map_or("?".into(), |price| of(&price).to_string());
        let words = |list: Value| -> String {
            let list = list.as_array().cloned().unwrap_or_default();
            list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
        };
        let known = self.known.as_ref();
        vec![
            self.route.clone(),
            self.info.context.to_string(),
            self.info.max_output.to_string(),
            dollars(|price| price.input),
            dollars(|price| price.output),
            known.map_or("?".into(), |model| words(json!(model.takes))),
            known.map_or("?".into(), |model| words(json!(model.can))),
            self.price_source(),
        ]
    }

    fn json(&self, catalogue: &Catalogue) -> Value {
        let mut object = Map::new();
        let mut put = |key: &str, value: Value| drop(object.insert(key.into(), value));
        put("model", json!(self.route));
        put("context", json!(self.info.context));
        put("max_output", json!(self.info.max_output));
        put("price", json!(self.info.price));
        put("takes", json!(self.known.as_ref().map(|model| &model.takes)));
        put("can", json!(self.known.as_ref().map(|model| &model.can)));
        put("cache", json!(self.known.as_ref().and_then(|model| model.cache)));
        put("thinking", json!(self.info.thinking));
        put("sunset", json!(self.known.as_ref().and_then(|model| model.sunset.clone())));
        put("assumed", json!(self.info.assumed));
        put(
            "from",
            json!({
                "context": self.context_source(),
                "max_output": self.output_source(),
                "price": self.price_source(),
                "facts": self.known.as_ref().map(|model| &model.from.facts),
                "vendor": self.known.as_ref().and_then(|model| model.from.vendor.clone()),
            }),
        );
        put("version", json!(catalogue.version));
        Value::Object(object)
    }

    /// One model, a fact a line.
    fn text(&self, catalogue: &Catalogue) -> String {
        let mut text = format!("{}\n", self.route);
        let mut line = |name: &str, value: String, from: &str| {
            text.push_str(&format!("  {name:<12} {value:<44} {from}\n"));
        };
        line("context", self.info.context.to_string(), &self.context_source());
        line("max_output", self.info.max_output.to_string(), &self.output_source());
        let of = |price: &Price| {
            let Price { input, output, cache_read, cache_write_5m, cache_write_1h, .. } = price;
            format!("in {input}  out {output}  read {cache_read}  write {cache_write_5m}/{cache_write_1h}")
        };
        let price = self.info.price;
        line("price $/M", price.as_ref().map_or("not known".into(), of), &self.price_source());
        if let Some(long) = price.and_then(|price| price.long) {
            let what = format!("in {}  out {}  above {} tokens", long.input, long.output, long.above);
            line("long calls", what, &self.price_source());
        }
        if let Some(model) = &self.known {
            let facts = &model.from.facts;
            let words = |value: Value| value.to_string().replace(['[', ']', '"'], "").replace(',', ", ");
            line("takes", words(json!(model.takes)), facts);
            line("can", words(json!(model.can)), facts);
            if let Some(cache) = model.cache {
                line("cache", words(json!(cache)), facts);
            }
            if let Some(thinking) = model.thinking {
                let from = model.from.thinking.as_ref().unwrap_or(facts);
                line("thinking", thinking.word().into(), from);
            }
            if let Some(sunset) = &model.sunset {
                line("served until", sunset.clone(), facts);
            }
            if let Some(vendor) = &model.from.vendor {
                line("vendor says", vendor.clone(), facts);
            }
            for (name, source) in &catalogue.sources {
                line(name, source.what.clone(), &format!("read {}", source.read));
            }
        } else {
            line("", "nothing is known of this model: safe values are assumed, and it works".into(), "");
        }
        text
    }
}
