//! A hundred recorded usages of four wires: their classes and their cost are those of the hand-worked table.

#![allow(clippy::unwrap_used)]

use sterna_llm::{catalog, wire};
use sterna_model::{Route, Usage};

/// The shortest whole answer of a wire that ends with this usage.
fn stream(wire: &str, usage: &str) -> String {
    match wire {
        "anthropic" => format!(
            "event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"usage\":{usage}}}}}\n\n\
             event: content_block_start\ndata: {{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{{\"type\":\"text\",\"text\":\"x\"}}}}\n\n\
             event: content_block_stop\ndata: {{\"type\":\"content_block_stop\",\"index\":0}}\n\n\
             event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"end_turn\"}}}}\n\n\
             event: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
        ),
        "openai_chat" => format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"x\"}},\"finish_reason\":\"stop\"}}]}}\n\n\
             data: {{\"choices\":[],\"usage\":{usage}}}\n\ndata: [DONE]\n\n"
        ),
        "openai_responses" => format!(
            "data: {{\"type\":\"response.completed\",\"response\":{{\"status\":\"completed\",\"output\":[{{\"id\":\"m\",\
             \"type\":\"message\",\"role\":\"assistant\",\"content\":[{{\"type\":\"output_text\",\"text\":\"x\"}}]}}],\
             \"usage\":{usage}}}}}\n\n"
        ),
        "gemini" => format!(
            "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"x\"}}],\"role\":\"model\"}},\
             \"finishReason\":\"STOP\"}}],\"usageMetadata\":{usage}}}\n\n"
        ),
        other => panic!("no wire {other}"),
    }
}

#[test]
fn a_hundred_usages_cost_what_was_worked_out_by_hand() {
    let table = include_str!("recordings/usages.tsv");
    let rows: Vec<&str> = table.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(rows.len(), 100);
    let (mut sum, mut expected_sum) = (0, 0);
    for row in rows {
        let cells: Vec<&str> = row.split('\t').collect();
        let [name, route, raw, numbers @ ..] = cells.as_slice() else { panic!("{row}") };
        let numbers: Vec<u64> = numbers.iter().map(|cell| cell.parse().unwrap()).collect();
        let [input_uncached, cache_read, cache_write_5m, cache_write_1h, output, reasoning, nano] =
            numbers[..]
        else {
            panic!("{row}")
        };
        let expected =
            Usage { input_uncached, cache_read, cache_write_5m, cache_write_1h, output, reasoning };
        let route: Route = route.parse().unwrap();
        let mut decoder = wire::by_name(name).unwrap().decoder(&route);
        decoder.push(stream(name, raw).as_bytes(), &mut |_| ()).unwrap();
        let billed = decoder.finish(true, &mut |_| ()).unwrap().billed;
        assert_eq!(billed.usage, expected, "{row}");
        assert!(reasoning <= output && !billed.estimated);
        // The classes come to what the provider says in all, where it says so.
        let raw: serde_json::Value = serde_json::from_str(raw).unwrap();
        let total = raw.get("total_tokens").or_else(|| raw.get("totalTokenCount"));
        assert!(total.is_none_or(|total| total.as_u64() == Some(billed.usage.total())), "{row}");
        let price = catalog::lookup(&route).price.unwrap();
        assert_eq!(catalog::cost(&price, &billed.usage), nano, "{row}");
        sum += catalog::cost(&price, &billed.usage);
        expected_sum += nano;
    }
    assert_eq!(sum, expected_sum);
}
