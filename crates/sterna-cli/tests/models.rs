//! Models at the command line: what is known of them, what takes over, what an answer has to fit, what calls cost anew.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::World;

fn rows(world: &World, args: &[&str]) -> Vec<Value> {
    let done = world.sterna(&[&["models", "--json"], args].concat());
    assert_eq!(done.code, 0, "{}", done.err);
    done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_is_known_of_models_names_its_source() {
    let world = World::new("");
    world.config(
        "[providers.mine]\nwire = \"openai_chat\"\nbase_url = \"http://127.0.0.1:1/v1\"\n\
         [providers.mine.models.big]\ncontext = 65536\nprice = { input = 0.5, output = 1.5 }\n",
    );
    let all = rows(&world, &[]);
    assert!(all.len() > 50);
    let of = |name: &str| all.iter().find(|row| row["model"] == name).unwrap();
    let haiku = of("anthropic/claude-haiku-4-5");
    assert_eq!((&haiku["context"], &haiku["max_output"]), (&json!(200_000), &json!(64_000)));
    assert_eq!(haiku["price"]["cache_write_1h"], 2.0);
    assert_eq!(haiku["from"]["price"], "litellm, genai-prices");
    let mine = of("mine/big");
    assert_eq!((&mine["context"], &mine["max_output"]), (&json!(65_536), &json!(8_192)));
    assert!(mine["from"]["context"].as_str().unwrap().contains("config.toml:1"), "{mine}");
    assert_eq!(mine["from"]["max_output"], "assumed");

    let gemini = rows(&world, &["gemini", "--tools", "--video"]);
    assert!(!gemini.is_empty() && gemini.len() < all.len());
    assert!(gemini.iter().all(|row| row["model"].as_str().unwrap().starts_with("gemini/")));
    // A model that nobody has heard of works, and says what is assumed.
    let unknown = &rows(&world, &["acme/x"])[0];
    assert_eq!((&unknown["assumed"], &unknown["price"]), (&json!(true), &Value::Null));
    assert_eq!(
        unknown["from"],
        json!({"context": "assumed", "max_output": "assumed", "price": "unknown", "facts": null, "vendor": null})
    );
    let text = world.sterna(&["models", "openai/gpt-5.4"]).out;
    assert!(text.contains("long calls") && text.contains("litellm 1.109.1"), "{text}");
    let wrong = world.sterna(&["models", "antropic"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("there is no provider `antropic`"), "{}", wrong.err);
}

#[test]
fn another_model_takes_over_and_the_next_turn_starts_at_the_top() {
    let world = World::new(r#"{"error":{"class":"model_gone","message":"retired"}}"#);
    std::fs::write(world.work().join("b.jsonl"), "{\"text\":\"from b\"}\n{\"text\":\"from b again\"}")
        .unwrap();
    let done = world.run(&["--session", "s", "--fallback", "scripted:b.jsonl", "go"]);
    assert_eq!(done.result()["message"], "from b", "{}", done.err);
    let events = done.events();
    let changed = events.iter().find(|event| event["type"] == "route.changed").unwrap();
    assert_eq!((&changed["route"], &changed["this_turn"]), (&json!("scripted:b.jsonl"), &json!(true)));
    let asked = |events: &[Value]| -> Vec<Value> {
        events
            .iter()
            .filter(|event| event["type"] == "model.started")
            .map(|event| event["route"].clone())
            .collect()
    };
    assert_eq!(asked(&events), ["scripted:s.jsonl", "scripted:b.jsonl"]);
    // Listed in the file, it is the same.
    world.config("fallback = [\"scripted:b.jsonl\"]\n");
    let done = world.run(&["--session", "s", "go on"]);
    assert_eq!(asked(&done.events()), ["scripted:s.jsonl", "scripted:b.jsonl"]);
    assert_eq!(done.result()["message"], "from b again");
    assert_eq!(world.sterna(&["replay", "s"]).code, 0);
    // Nothing that is not listed is asked.
    world.config("");
    assert_eq!(world.run(&["--session", "s", "and on"]).code, 5);
}

#[test]
fn an_answer_fits_its_schema_or_the_turn_says_that_it_does_not() {
    let world =
        World::new("{\"text\":\"{\\\"n\\\":\\\"a\\\"}\"}\n{\"text\":\"```json\\n{\\\"n\\\":3}\\n```\"}");
    let file = world.work().join("schema.json");
    std::fs::write(&file, r#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}"#)
        .unwrap();
    let schema = ["--output-schema", file.to_str().unwrap()];
    let result = world.run(&[&schema[..], &["go"]].concat()).result();
    assert_eq!(
        (&result["outcome"], &result["value"], &result["steps"]),
        (&json!("finished"), &json!({"n": 3}), &json!(2))
    );
    // As text, stdout is the value alone.
    let text = world.sterna(&[&["run", "-m", "scripted:s.jsonl"], &schema[..], &["go"]].concat());
    assert_eq!(text.out, "{\"n\":3}\n");
    let never = World::new(&[r#"{"text":"a"}"#; 4].join("\n"));
    let done = never.run(&[&schema[..], &["go"]].concat());
    assert_eq!((done.code, &done.result()["stop"]), (1, &json!("output_schema")));
    std::fs::write(&file, "{\"type\":\"intger\"}").unwrap();
    let wrong = world.run(&[&schema[..], &["go"]].concat());
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("--output-schema"), "{}", wrong.err);
}

#[test]
fn other_prices_change_the_cost_and_nothing_else() {
    let script = r#"{"model":{"price":{"input":3,"output":15}}}
{"text":"done","usage":{"input":1000,"cache_read":2000,"output":50,"reasoning":20}}"#;
    let world = World::new(script);
    world.run(&["--session", "s", "go"]);
    let file = world.work().join("prices.toml");
    std::fs::write(&file, "[\"scripted:s.jsonl\"]\ninput = 1\noutput = 10\ncache_read = 0.25\n").unwrap();
    let usage = |args: &[&str]| -> Value {
        let done = world.sterna(&[&["usage", "s", "--json"], args].concat());
        assert_eq!(done.code, 0, "{}", done.err);
        serde_json::from_str(&done.out).unwrap()
    };
    let prices = ["--prices", file.to_str().unwrap()];
    let (mut before, mut after) = (usage(&[])["total"].clone(), usage(&prices)["total"].clone());
    // By hand: 1,000 at 1, 2,000 at 0.25 and 50 at 10 dollars a million.
    assert_eq!(after["cost"], 0.002);
    assert_ne!(before["cost"], after["cost"]);
    before["cost"] = Value::Null;
    after["cost"] = Value::Null;
    assert_eq!(before, after);
    let turn = &usage(&[&["--by", "turn"], &prices[..]].concat())["by_turn"][0];
    assert_eq!((&turn["turn"], &turn["cost"]), (&json!("s 1"), &json!(0.002)));
    assert_eq!(usage(&["--by", "step"])["by_step"][0]["step"], "s 1.1");
    assert_eq!(world.sterna(&["usage", "--prices", "nowhere.toml"]).code, 2);
}
