//! What redaction costs: `cargo bench -p sterna-secrets`.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Instant;

use sterna_secrets::{Config, Known, Redactor, Scanner};

fn main() {
    let known: Vec<Known> = (0..20)
        .map(|n| Known { name: format!("KEY_{n}"), value: format!("{n:02}quill{n:02}zebra{n:02}amber") })
        .collect();
    let started = Instant::now();
    let redactor = Redactor::new(Config { known: known.clone(), ..Config::default() }).unwrap();
    println!("made with 20 known values in {:?}", started.elapsed());
    let started = Instant::now();
    black_box(Scanner::new(&[], &[], &[]).unwrap());
    println!("made without any in {:?}", started.elapsed());
    let session = redactor.scoped("s");
    let token = concat!("ghp", "_Zt5Wq8Kc1Xv4Rn7Lb2Mp9Hd6Gf3Js0Ty5Ua8");
    let code = include_str!("../../src/scan.rs");
    let prose = "The quick brown fox jumps over the lazy dog, and then it rests for a while.\n";
    let base64: String = (0..60_000u32)
        .map(|n| {
            char::from(b"ABCDEFGHabcdefgh01234567+/stuvwx"[(n.wrapping_mul(2_654_435_761) >> 27) as usize])
        })
        .collect();
    let urls = "https://docs.example.org/a/b?c=d#e and http://127.0.0.1:8080/v1\n";
    for (name, text) in [
        ("source text", code.repeat(40)),
        ("prose", prose.repeat(10_000)),
        ("base64", base64.repeat(16)),
        ("URLs", urls.repeat(10_000)),
        ("prose, 1 secret in 16 KiB", format!("{}{token}\n", prose.repeat(213)).repeat(50)),
    ] {
        let times: Vec<f64> = (0..7)
            .map(|_| {
                let started = Instant::now();
                black_box(session.redact(black_box(&text)));
                started.elapsed().as_secs_f64()
            })
            .collect();
        let best = times.iter().copied().fold(f64::MAX, f64::min);
        println!("{name}: {:.0} MB/s", text.len() as f64 / 1e6 / best);
    }
    // A step: a result of 16 KiB, its view again, an answer of 2 KiB, its deltas of 4 bytes.
    let result = code.repeat(2)[..16 << 10].to_owned();
    let answer = prose.repeat(27);
    let started = Instant::now();
    for _ in 0..100 {
        black_box(session.redact(&result));
        black_box(session.redact(&result));
        black_box(session.redact(&answer));
        let mut stream = session.stream();
        for piece in answer.as_bytes().chunks(4) {
            black_box(stream.push_bytes(piece));
        }
        black_box(stream.finish_bytes());
    }
    println!("a step: {:.1} µs", started.elapsed().as_secs_f64() * 1e4);
}
