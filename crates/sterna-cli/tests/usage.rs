//! What model calls used and cost: sums by hand, in the classes that are promised.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::World;

const PRICED: &str = r#"{"model":{"context":32000,"max_output":4096,"price":{"input":3,"output":15}}}
{"calls":[{"name":"list","arguments":{"path":"."}}],"usage":{"input":100,"cache_read":20,"output":10,"reasoning":3}}
{"text":"done","usage":{"input":200,"output":20}}"#;

fn sum(calls: u64, input: u64, cache_read: u64, output: u64, reasoning: u64, cost: f64) -> Value {
    json!({
        "input_uncached": input, "cache_read": cache_read, "cache_write_5m": 0, "cache_write_1h": 0,
        "output": output, "reasoning": reasoning, "cost": cost, "calls": calls, "estimated": false,
    })
}

fn named(mut row: Value, key: &str, value: &str) -> Value {
    row[key] = value.into();
    row
}

fn usage(world: &World, args: &[&str]) -> Value {
    let done = world.sterna(&[&["usage", "--json"], args].concat());
    assert_eq!(done.code, 0, "{}", done.err);
    serde_json::from_str(&done.out).unwrap()
}

#[test]
fn sums_are_those_of_the_calls() {
    let world = World::new(PRICED);
    assert_eq!(usage(&world, &[])["total"], sum(0, 0, 0, 0, 0, 0.0));
    let result = world.run(&["--session", "s", "go"]).result();
    // 300 at 3 dollars a million and 30 at 15; a script's price says nothing of what is read from a cache.
    let one = sum(2, 300, 20, 30, 3, result["cost"].as_f64().unwrap());
    assert!((0.00135..0.00142).contains(&result["cost"].as_f64().unwrap()), "{result}");
    let expected = json!({
        "total": one,
        "by_model": [named(one.clone(), "model", "scripted:s.jsonl")],
        "by_source": [named(one.clone(), "source", "turn")],
    });
    assert_eq!(usage(&world, &["s"]), expected);
    // All sessions, and a fork that has used nothing itself.
    world.run(&["--session", "t", "go"]);
    world.sterna(&["sessions", "fork", "t", "--id", "f"]);
    assert_eq!(usage(&world, &["f"])["total"], sum(0, 0, 0, 0, 0, 0.0));
    let total = usage(&world, &[])["total"].clone();
    assert_eq!(
        (&total["calls"], &total["input_uncached"], &total["reasoning"]),
        (&json!(4), &json!(600), &json!(6))
    );
    let by_day = usage(&world, &["s", "--by", "day"]);
    let keys: Vec<&String> = by_day.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["by_day", "total"]);
    assert_eq!(by_day["by_day"][0]["output"], 30);
    let text = world.sterna(&["usage", "s"]).out;
    assert_eq!(text.lines().count(), 3);
    assert!(
        text.lines()
            .nth(2)
            .unwrap()
            .starts_with("total             2      300    20          0            30      3"),
        "{text}"
    );
    assert_eq!(world.sterna(&["usage", "nobody"]).code, 2);
}
