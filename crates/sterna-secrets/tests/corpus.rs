//! What looks random and is no secret stays whole: hashes, names, images, lock files, public keys, documentation.

#![allow(clippy::unwrap_used)]

use sterna_secrets::{Config, Known, Redactor, Scanner};

/// Texts of a project that anybody may see.
const HARMLESS: &[&str] = &[
    include_str!("../../../Cargo.lock"),
    include_str!("../../../docs/configuration.md"),
    include_str!("../src/stream.rs"),
    // git, checksums, names
    "commit b702371f0c4e9a3d5e6f708192a3b4c5d6e7f809\nAuthor: A <a@b.c>\n",
    "d41d8cd98f00b204e9800998ecf8427e  empty\ne3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  -\n",
    "018f3f6a-7c1e-7b2a-9f00-5d1c2b3a4e5f urn:uuid:F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6\n",
    r#""integrity": "sha512-z1PGfsaiQ0hJ4Vb2mS8Kq9wXkT3uY6eR7oP1nL5dC0aZ/xB+vG2jH4iF8tD6sW9qE3rU5yI7oO1pA0kM==","#,
    r#"h1:Zt5Wq8Kc1Xv4Rn7Lb2Mp9Hd6Gf3Js0Ty5Ua8Ie1Ow4Q= golang.org/x/sys v0.1.0/go.mod"#,
    "sha256-AbpHGcgLb+kRsJGnwFEktk7uzpZOCcBY74+YBdrKVGs= @sha256:9b2e5c1f7a3d4e6b8c0d1f2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e",
    // keys that are public, and requests for them
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9fK2mQ7xT4bW8cZ1nV5rL3pD6hJ0gSaByE2uR4iO6w me@host\n",
    "-----BEGIN CERTIFICATE-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\n-----END CERTIFICATE-----\n",
    "-----BEGIN PGP SIGNATURE-----\n\niQEzBAABCAAdFiEE\n-----END PGP SIGNATURE-----\n",
    // documentation
    "export OPENAI_API_KEY=sk-... # or sk-your-key-here\nANTHROPIC_API_KEY=sk-ant-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n",
    "Authorization: Bearer YOUR_API_TOKEN_GOES_HERE_PLEASE\ncurl -u user:password https://user:password@example.org/\n",
    "ghp_REPLACE_ME, glpat-<token>, npm_config_user_agent_string_of_the_client, hf_transfer, key-file, xoxb-...\n",
    "https://example.org:8443/a:b@c?d=e and git@github.com:me/x.git and ssh://git@host:22/x\n",
    "let password = \"password\"; const TOKEN: &str = env!(\"TOKEN\"); api_key: Option<SecretString>,\n",
    "scikit-learn sk-learn task-manager-for-large-organisations-with-many-members ask-0123456789abcdef0123456789abcdef\n",
    ".AKIA { color: red } /* sk_test_mode */ SG.add(x) eyJ eyJhbGciOiJub25lIn0 dapi dp.pt.\n",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==\n",
];

fn scanner() -> Scanner {
    Scanner::new(&[], &[], &[]).unwrap()
}

#[test]
fn what_is_no_secret_stays_whole() {
    for text in HARMLESS {
        let found = scanner().find(text.as_bytes());
        let told: Vec<(&str, &str)> =
            found.iter().map(|f| (f.name.as_str(), &text[f.range.clone()])).collect();
        assert_eq!(told, [], "{}", &text[..text.len().min(80)]);
    }
}

/// Two megabytes of each alphabet that data is written in.
#[test]
fn data_as_text_stays_whole() {
    let scanner = scanner();
    for alphabet in [
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
        "0123456789abcdef",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
    ] {
        let letters = alphabet.as_bytes();
        // xorshift64*: the same text each time.
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut letter = || {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            letters[(state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as usize % letters.len()]
        };
        let mut text: Vec<u8> = (0..2 << 20).map(|_| letter()).collect();
        (76..text.len()).step_by(77).for_each(|at| text[at] = b'\n');
        assert_eq!(scanner.find(&text), [], "{alphabet}");
    }
}

#[test]
fn a_known_value_is_found_in_each_form_and_not_within_a_word() {
    let known = |name: &str, value: &str| Known { name: name.into(), value: value.into() };
    let known = vec![known("SHORT", "aws-90cd"), known("LONG", "p\"q/r 0123456789-abcdef")];
    let session = Redactor::new(Config { known, ..Config::default() }).unwrap().scoped("s");
    for (text, found) in [
        ("x aws-90cd y", true),
        ("x=aws-90cd;", true),
        ("laws-90cd", false),
        ("aws-90cdef", false),
        ("p\"q/r 0123456789-abcdef", true),
        (r#"{"k":"p\"q/r 0123456789-abcdef"}"#, true),
        ("?k=p%22q%2Fr%200123456789-abcdef&x", true),
        // `printf %s "$LONG" | base64`, and with the newline of `echo`.
        ("cCJxL3IgMDEyMzQ1Njc4OS1hYmNkZWY=", true),
        ("cCJxL3IgMDEyMzQ1Njc4OS1hYmNkZWYK", true),
    ] {
        assert_eq!(session.finds(text), found, "{text}");
    }
}
