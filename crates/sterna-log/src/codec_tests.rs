use proptest::prelude::*;
use serde_json::Value;
use sterna_model::{
    Delivery, InputAccepted, InputPart, StopReason, TodoItem, TodoStatus, TurnCommitted, TurnOutcome, Usage,
};

use super::*;

fn session() -> SessionId {
    SessionId::new("s").unwrap()
}

fn no_blob(hash: &Digest) -> Result<Bytes, LogError> {
    Err(LogError::BlobMissing(*hash))
}

fn input(text: String) -> Body {
    let parts = vec![InputPart::Text(text)];
    Body::InputAccepted(InputAccepted {
        key: None,
        delivery: Delivery::NextTurn,
        parts,
        origin: "cli".into(),
        given: None,
        ended: None,
        compact: None,
        tainted: Vec::new(),
    })
}

fn sealed(body: Body) -> (Draft, Vec<u8>, Prepared) {
    let draft = Draft { at: 5, turn: Some(1), step: None, body };
    let prepared = prepare(&draft).unwrap();
    let (row, _) = seal(&prepared, 3, &Digest::ZERO);
    (draft, row, prepared)
}

#[test]
fn what_an_input_is_given_is_no_part_of_what_it_is() {
    let given = |mode, text: &str| {
        let route: sterna_model::Route = "a/b".parse().unwrap();
        let on_ask = sterna_model::OnAsk::Deny;
        let given = sterna_model::Given { mode, on_ask, ..sterna_model::Given::new(route, "/w") };
        match input(text.into()) {
            Body::InputAccepted(bare) => {
                Body::InputAccepted(InputAccepted { given: Some(Box::new(given)), ..bare })
            }
            other => other,
        }
    };
    let long = "x".repeat(SPILL_BYTES);
    for text in ["hello", long.as_str()] {
        let contents = [sterna_model::Mode::Plan, sterna_model::Mode::Bypass].map(|mode| {
            let (_, row, prepared) = sealed(given(mode, text));
            let spilled = |_: &Digest| Ok(prepared.body.clone());
            assert_eq!(row_content(&session(), 3, &row, spilled).unwrap(), prepared.content);
            prepared.content
        });
        assert_eq!(contents[0], contents[1]);
        assert_eq!(contents[0], sealed(input(text.into())).2.content, "the content that version 1 gave it");
    }
    assert_ne!(sealed(given(sterna_model::Mode::Plan, "a")).2.content, sealed(input("b".into())).2.content);
}

#[test]
fn what_is_no_record_is_damage_and_what_is_newer_is_newer() {
    let body = "\"body\":{\"session_closed\":{\"by\":\"x\"}}";
    let cases = [
        (format!("{{\"v\":1,\"seq\":3,\"at\":1,{body}}}"), "ok"),
        (format!("{{\"v\":1,\"seq\":3,\"at\":1,\"later\":[],{body}}}"), "ok"),
        (format!("{{\"v\":4,\"seq\":3,\"at\":1,{body}}}"), "newer"),
        ("{\"v\":4,\"id\":\"another envelope\"}".into(), "newer"),
        ("{\"v\":4,\"seq\":\"text\",\"at\":1}".into(), "newer"),
        (format!("{{\"v\":0,\"seq\":3,\"at\":1,{body}}}"), "corrupt"),
        (format!("{{\"v\":1,\"seq\":4,\"at\":1,{body}}}"), "corrupt"),
        (format!("{{\"v\":1,\"seq\":3,\"at\":1,{body}"), "corrupt"),
        ("{\"v\":1,\"seq\":3,\"at\":1}".into(), "corrupt"),
        ("{\"v\":1,\"seq\":3,\"at\":1,\"body\":{\"unheard_of\":{}}}".into(), "corrupt"),
        (
            format!(
                "{{\"v\":1,\"seq\":3,\"at\":1,\"spilled\":{{\"hash\":\"{}\",\"bytes\":1}}}}",
                Digest::ZERO
            ),
            "corrupt",
        ),
        (
            format!("{{\"v\":1,\"seq\":3,\"at\":1,\"body\":{}1{}}}", "[".repeat(500), "]".repeat(500)),
            "corrupt",
        ),
        (String::new(), "corrupt"),
        ("null".into(), "corrupt"),
    ];
    for (row, expected) in cases {
        let told = match open(&session(), 3, row.as_bytes(), no_blob) {
            Ok(_) => "ok",
            Err(LogError::Newer { found: 4, known: RECORD_VERSION }) => "newer",
            Err(LogError::Corrupt { seq: 3, .. }) => "corrupt",
            Err(error) => panic!("{row}: {error}"),
        };
        assert_eq!(told, expected, "{row}");
    }
}

#[test]
fn a_body_is_spilled_above_its_limit_and_not_below() {
    let around = |size: usize| {
        let empty = sealed(input(String::new())).2.body.len();
        sealed(input("x".repeat(size - empty)))
    };
    let (_, row, prepared) = around(SPILL_BYTES);
    assert!(prepared.spill().is_none() && row.len() > SPILL_BYTES);
    let (draft, row, prepared) = around(SPILL_BYTES + 1);
    let (reference, blob) = prepared.spill().unwrap();
    assert_eq!((reference.bytes, reference.hash), (SPILL_BYTES as u64 + 1, digest(&blob)));
    let text = format!(
        "{{\"v\":{RECORD_VERSION},\"seq\":3,\"at\":5,\"turn\":1,\"spilled\":{{\"hash\":\"{}\",\"bytes\":16385}}}}",
        reference.hash
    );
    assert_eq!(String::from_utf8(row.clone()).unwrap(), text);
    assert_eq!(open(&session(), 3, &row, |_| Ok(blob)).unwrap(), draft.at_seq(3));
    assert_eq!(row_content(&session(), 3, &row, no_blob).unwrap(), prepared.content);
    for wrong in [Ok(Bytes::from("other")), Err(LogError::BlobMissing(reference.hash))] {
        let error = open(&session(), 3, &row, |_| wrong).unwrap_err();
        assert!(matches!(error, LogError::Corrupt { seq: 3, .. }), "{error}");
    }
}

#[test]
fn identity_is_the_bodies_and_nothing_else() {
    let at =
        |at, turn, text: &str| prepare(&Draft { at, turn, step: None, body: input(text.into()) }).unwrap();
    let one = content_of(&[at(1, None, "a"), at(2, None, "b")]);
    assert_eq!(one, content_of(&[at(9, Some(4), "a"), at(9, None, "b")]));
    for other in [vec![at(1, None, "b"), at(2, None, "a")], vec![at(1, None, "a")], vec![]] {
        assert_ne!(one, content_of(&other));
    }
}

#[test]
fn depth_counts_brackets_outside_of_texts() {
    for (json, expected) in [("1", 0), ("[]", 1), ("[[1],{\"a\":[]}]", 3), (r#"{"[[\"[":"]\\"}"#, 1)] {
        assert_eq!(depth(json.as_bytes()), expected, "{json}");
    }
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn body() -> impl Strategy<Value = Body> {
    let item = |subject: String, metadata| TodoItem {
        id: "1".into(),
        subject,
        description: String::new(),
        active_form: String::new(),
        status: TodoStatus::Pending,
        owner: None,
        blocks: vec![],
        blocked_by: vec![],
        metadata,
    };
    let committed = |message, value| {
        let outcome = TurnOutcome::Finished { message, value };
        Body::TurnCommitted(Box::new(TurnCommitted {
            outcome,
            steps: 1,
            usage: Usage::default(),
            cost: None,
        }))
    };
    // `null` under a key that may be absent is the same as absent.
    let value = || proptest::option::of(json().prop_filter("null is none", |value| !value.is_null()));
    prop_oneof![
        any::<String>().prop_map(input),
        (any::<String>(), any::<u16>()).prop_map(|(text, n)| input(text.repeat(usize::from(n) % 600))),
        (any::<String>(), value()).prop_map(move |(text, value)| committed(text, value)),
        (any::<String>(), value())
            .prop_map(move |(text, value)| Body::TodoSet { items: vec![item(text, value)], by: "x".into() }),
        (any::<u64>(), any::<String>())
            .prop_map(|(input, by)| Body::InputWithdrawn { inputs: vec![input], by }),
        any::<u64>().prop_map(|turn| Body::LimitReached { turn, reason: StopReason::Deadline }),
        any::<[u8; 32]>().prop_map(|hash| Body::GrantRevoked { content: Digest(hash), by: "x".into() }),
    ]
}

proptest! {
    #[test]
    fn records_survive_their_row(
        body in body(), at: u64, seq in 1u64.., turn: Option<u64>, step: Option<u32>, prev: [u8; 32]
    ) {
        let draft = Draft { at, turn, step, body };
        let prepared = prepare(&draft).unwrap();
        let (row, hash) = seal(&prepared, seq, &Digest(prev));
        prop_assert!(row.len() <= prepared.row_bytes());
        prop_assert_eq!(hash, chain(&Digest(prev), &row));
        prop_assert_eq!(row_content(&session(), seq, &row, no_blob).unwrap(), prepared.content);
        let read = open(&session(), seq, &row, |_| Ok(prepared.body.clone())).unwrap();
        prop_assert_eq!(read, draft.at_seq(seq));
    }

    #[test]
    fn bytes_never_panic(bytes: Vec<u8>, at in 0usize..400, byte: u8) {
        let open = |row: &[u8]| drop(open(&session(), 3, row, |_| Ok(Bytes::copy_from_slice(row))));
        open(&bytes);
        let (_, mut row, _) = sealed(Body::TitleSet { title: "ü".repeat(20), by: "x".into(), made: None });
        let at = at % row.len();
        row[at] = byte;
        open(&row);
        open(&row[..at]);
        let _ = row_content(&session(), 3, &row, no_blob);
    }
}
