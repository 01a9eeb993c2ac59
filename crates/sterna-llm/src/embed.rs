//! Embeddings: texts as vectors whose angle says how near they are.
//!
//! `Embedder` is the seam; `LocalEmbedder` needs no network and no model file, and knows only spelling.

use futures::FutureExt;
use futures::future::BoxFuture;
use sterna_model::{ErrorClass, ProviderFailure, Usage};

/// Makes vectors of texts.
pub trait Embedder: Send + Sync {
    /// Names the model that made a vector: those of two names cannot be compared.
    fn name(&self) -> String;

    /// Numbers of a vector; `None` until the first answer where the other side decides.
    fn dimensions(&self) -> Option<usize>;

    /// One vector for each text, in their order, each of length 1 (or 0 for a text that says nothing).
    ///
    /// Must stop soon when dropped.
    fn embed<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Embedded, ProviderFailure>>;
}

/// Vectors, and what they took.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    pub vectors: Vec<Vec<f32>>,
    pub usage: Usage,
}

/// The cosine of the angle between two vectors of length 1: 1 for the same direction, 0 for nothing in common.
/// 0, too, for vectors of different models.
pub fn similarity(one: &[f32], other: &[f32]) -> f32 {
    if one.len() != other.len() {
        return 0.0;
    }
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

/// Scales a vector to length 1. One of nothing but zeros, or with a number that is none, becomes zeros.
pub fn normalise(vector: &mut [f32]) {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    let usable = length.is_normal();
    for x in vector {
        *x = if usable { *x / length } else { 0.0 };
    }
}

/// Hashed pieces of words: no model, no network, the same everywhere.
///
/// It finds texts that share words, parts of words and misspellings. It knows nothing of meaning: `car` and
/// `automobile` have nothing in common for it. Whoever needs that configures an endpoint.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalEmbedder;

impl Embedder for LocalEmbedder {
    fn name(&self) -> String {
        format!("local/ngrams-{DIMENSIONS}-1")
    }

    fn dimensions(&self) -> Option<usize> {
        Some(DIMENSIONS)
    }

    fn embed<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Embedded, ProviderFailure>> {
        let vectors = texts.iter().map(|text| vector(text)).collect();
        std::future::ready(Ok(Embedded { vectors, usage: Usage::default() })).boxed()
    }
}

/// The request of the OpenAI-compatible wire: `POST /embeddings`.
pub fn encode(model: &str, texts: &[String]) -> Vec<u8> {
    let body = serde_json::json!({"model": model, "input": texts, "encoding_format": "float"});
    body.to_string().into_bytes()
}

/// The answer to a request for `count` texts.
pub fn decode(body: &[u8], count: usize) -> Result<Embedded, ProviderFailure> {
    let failed = |message: String| ProviderFailure {
        class: ErrorClass::Server,
        status: None,
        message,
        retry_after_ms: None,
        billed: sterna_model::Billed::default(),
    };
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| failed(format!("the answer holds no embeddings: {error}")))?;
    let mut vectors: Vec<Option<Vec<f32>>> = vec![None; count];
    for one in answer.data {
        let slot = vectors.get_mut(one.index);
        let slot = slot.ok_or_else(|| failed(format!("there is no text {} to embed", one.index)))?;
        let mut vector = one.embedding;
        normalise(&mut vector);
        *slot = Some(vector);
    }
    let length = vectors.first().and_then(Option::as_ref).map(Vec::len);
    let vectors: Option<Vec<Vec<f32>>> = vectors.into_iter().collect();
    let vectors = vectors.ok_or_else(|| failed(format!("not each of {count} texts has an embedding")))?;
    if vectors.iter().any(|vector| vector.is_empty() || Some(vector.len()) != length) {
        return Err(failed("the embeddings are of different lengths".into()));
    }
    let tokens = answer.usage.map_or(0, |usage| usage.prompt_tokens);
    Ok(Embedded { vectors, usage: Usage { input_uncached: tokens, ..Usage::default() } })
}

#[derive(serde::Deserialize)]
struct Answer {
    data: Vec<One>,
    usage: Option<Tokens>,
}

#[derive(serde::Deserialize)]
struct One {
    #[serde(default)]
    index: usize,
    embedding: Vec<f32>,
}

#[derive(serde::Deserialize)]
struct Tokens {
    #[serde(default)]
    prompt_tokens: u64,
}

fn vector(text: &str) -> Vec<f32> {
    let mut vector = vec![0.0; DIMENSIONS];
    let mut add = |piece: &str, weight: f32| {
        let hash = blake3::hash(piece.as_bytes());
        let bytes = hash.as_bytes();
        let at = usize::from(u16::from_le_bytes([bytes[0], bytes[1]])) % DIMENSIONS;
        // A sign of its own makes pieces that fall together cancel out rather than add up.
        vector[at] += if bytes[2] & 1 == 0 { weight } else { -weight };
    };
    let lower = text.to_lowercase();
    let mut counts = std::collections::BTreeMap::<String, u32>::new();
    for word in lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        *counts.entry(format!("w{word}")).or_default() += 1;
        let framed: Vec<char> =
            std::iter::once('<').chain(word.chars()).chain(std::iter::once('>')).collect();
        for n in 3..=4 {
            for piece in framed.windows(n) {
                *counts.entry(piece.iter().collect()).or_default() += 1;
            }
        }
    }
    for (piece, count) in counts {
        // What comes often says less each time, and whole words say more than their parts.
        let weight = (1.0 + (count as f32).ln()) * if piece.starts_with('w') { 2.0 } else { 1.0 };
        add(&piece, weight);
    }
    normalise(&mut vector);
    vector
}

const DIMENSIONS: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<f32> {
        vector(text)
    }

    #[test]
    fn texts_that_share_words_are_nearer() {
        let question = of("which port does the database listen on?");
        let near = similarity(&question, &of("The database listens on port 5432."));
        let far = similarity(&question, &of("Deploys happen on Fridays, after lunch."));
        assert!(near > 0.4 && near > far + 0.3, "{near} {far}");
        let typo = similarity(&of("kubernetes cluster"), &of("kuberntes clusters"));
        assert!(typo > 0.4, "{typo}");
        // Honest about what it is: a synonym is a stranger.
        assert!(similarity(&of("car"), &of("automobile")).abs() < 0.2);
    }

    #[test]
    fn vectors_have_length_one_and_are_the_same_everywhere() {
        let one = of("Grüße, 世界! 42");
        assert!((similarity(&one, &one) - 1.0).abs() < 1e-5);
        assert_eq!(one, of("grüße 世界 42"));
        assert!(of("  …").iter().all(|x| *x == 0.0));
        assert_eq!(similarity(&one, &one[1..]), 0.0);
        let mut broken = [f32::NAN, 1.0];
        normalise(&mut broken);
        assert_eq!(broken, [0.0, 0.0]);
    }

    #[test]
    fn an_answer_is_whole_or_a_failure() {
        let good = br#"{"data":[{"index":1,"embedding":[0,2]},{"index":0,"embedding":[3,4]}],"usage":{"prompt_tokens":7}}"#;
        let embedded = decode(good, 2).unwrap();
        assert_eq!(embedded.vectors, [vec![0.6, 0.8], vec![0.0, 1.0]]);
        assert_eq!(embedded.usage.input_uncached, 7);
        for bad in [
            &br#"{"data":[{"index":0,"embedding":[1]}]}"#[..],
            br#"{"data":[{"index":0,"embedding":[1]},{"index":2,"embedding":[1]}]}"#,
            br#"{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[1,2]}]}"#,
            br#"{"data":[{"index":0,"embedding":[]},{"index":1,"embedding":[]}]}"#,
            br#"{"error":"no"}"#,
            b"",
        ] {
            assert!(decode(bad, 2).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        let sent: serde_json::Value = serde_json::from_slice(&encode("m", &["a".into()])).unwrap();
        assert_eq!(sent, serde_json::json!({"model": "m", "input": ["a"], "encoding_format": "float"}));
    }
}
