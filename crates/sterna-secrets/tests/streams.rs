//! Text in pieces is redacted as the whole text is, wherever the pieces end.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use sterna_secrets::{Config, Known, Redactor, Scoped};

fn session(extra: &[&str]) -> Scoped {
    let known = vec![
        Known { name: "PHRASE".into(), value: "tall green zebra 4471".into() },
        Known { name: "KEY".into(), value: "quill-4471-zebra".into() },
    ];
    let extra = extra.iter().map(|p| (*p).to_owned()).collect();
    Redactor::new(Config { known, extra, ..Config::default() }).unwrap().scoped("s")
}

/// Cuts a text at these places, in characters, and puts the pieces through a stream.
fn in_pieces(session: &Scoped, text: &str, sizes: &[usize]) -> (String, Vec<String>) {
    let mut stream = session.stream();
    let mut pieces = Vec::new();
    let chars: Vec<char> = text.chars().collect();
    let (mut at, mut sizes) = (0, sizes.iter().cycle());
    while at < chars.len() {
        let to = (at + (*sizes.next().unwrap()).max(1)).min(chars.len());
        pieces.push(stream.push(&chars[at..to].iter().collect::<String>()));
        at = to;
    }
    pieces.push(stream.finish());
    (pieces.concat(), pieces)
}

fn secrets() -> Vec<String> {
    let split = |text: &str| text.replace('·', "");
    vec![
        split("ghp·_Zt5Wq8Kc1Xv4Rn7Lb2Mp9Hd6Gf3Js0Ty5Ua8"),
        split("sk-·ant-api03-9fK2mQ7xT4bW8cZ1nV5rL3pD6hJ0gS"),
        split(
            "-----BEGIN RSA ·PRIVATE KEY-----\nMIIEowIBAAKCAQEA7hK2\n8cZ1nV5rL3pD\n-----END RSA PRIVATE KEY-----",
        ),
        split("Authorization: Bearer 9fK2mQ7x·T4bW8cZ1nV5rL3pD6hJ0gS"),
        split("authorization: Basic dXNlcjpo·dW50ZXIyaHVudGVy"),
        split("aws_secret_access_key = wJ7r·XUtn9FEMI2K7MDENGbPx4RfiCYzq83hQpLo5"),
        split("postgres://app:h7·Kq-2mWx@db.internal:5432/app"),
        "tall green zebra 4471".into(),
        "quill-4471-zebra".into(),
    ]
}

#[test]
fn a_secret_is_caught_wherever_it_is_split() {
    let session = session(&[]);
    for secret in secrets() {
        let text = format!("Look: {secret}, and that was it.\nMore prose.");
        let whole = session.redact(&text).into_owned();
        assert!(whole.contains("[secret:"), "{text}");
        for size in 1..text.len() {
            let (joined, pieces) = in_pieces(&session, &text, &[size, 10_000]);
            assert_eq!(joined, whole, "{size} {pieces:?}");
            assert_eq!(in_pieces(&session, &text, &[size]).0, whole, "{size}");
        }
    }
}

#[test]
fn prose_is_held_back_by_a_word_at_most() {
    let session = session(&[]);
    let text = "It says so: a plain answer, in plain words (and 日本語の文章 too).";
    let mut stream = session.stream();
    let (mut said, mut shown) = (String::new(), String::new());
    for c in text.chars() {
        said.push(c);
        shown.push_str(&stream.push(&c.to_string()));
        let last_word = said.rsplit(|c: char| c == ' ' || !c.is_ascii()).next().unwrap();
        assert_eq!(shown, said[..said.len() - last_word.len()], "after {said:?}");
    }
    shown.push_str(&stream.finish());
    assert_eq!(shown, text);
}

#[test]
fn own_patterns_are_found_within_a_line() {
    let session = session(&["pin is [0-9]+"]);
    let whole = session.redact("the pin is 4471\nnext").into_owned();
    assert!(whole.starts_with("the [secret:extra:"), "{whole}");
    for size in 1..12 {
        assert_eq!(in_pieces(&session, "the pin is 4471\nnext", &[size]).0, whole);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pieces_of_any_size_give_what_the_whole_gives(
        sizes in proptest::collection::vec(1usize..40, 1..20),
        words in proptest::collection::vec(0usize..14, 1..12),
    ) {
        let session = session(&[]);
        let mut parts = secrets();
        parts.extend(["one", "-----", "über", "sk-", "\n"].map(str::to_owned));
        let text = words.iter().map(|at| parts[*at].clone()).collect::<Vec<_>>().join(" ");
        prop_assert_eq!(in_pieces(&session, &text, &sizes).0, session.redact(&text).into_owned());
    }
}
