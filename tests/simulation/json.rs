//! Called by the model callers and servers, and by the transparency test: random JSON text of the kinds that a
//! proxy must not touch, written the way that somebody else's serialiser might write it.

use fastrand::Rng;

const NUMBERS: [&str; 16] = [
    "0",
    "-0",
    "1",
    "1.0",
    "1.00",
    "1e0",
    "1E+2",
    "1e400",
    "-1e-400",
    "18446744073709551616",
    "0.1",
    "-0.0",
    "9007199254740993",
    "340282366920938463463374607431768211456",
    "3.141592653589793238462643383279",
    "-12",
];
const STRINGS: [&str; 14] = [
    "",
    "a",
    "\\\"",
    "\\\\",
    "\\/",
    "/",
    "\\b\\f\\n\\r\\t",
    "\\u0000",
    "\\ud800",
    "\\udc00x",
    "\\ud83d\\ude00",
    "😀ü",
    "\\u0061",
    "}]{[,:",
];
const KEYS: [&str; 12] =
    ["a", "b", "a", "id", "jsonrpc", "method", "_meta", "progressToken", "k\\u0065y", "ü", "", "requestState"];
const SPACES: [&str; 6] = ["", "", "", " ", "  ", "\t"];

/// One of the texts.
pub fn pick<'a>(rng: &mut Rng, texts: &[&'a str]) -> &'a str {
    texts[rng.usize(..texts.len())]
}

/// White space where JSON allows it; no line ends, which end a message.
pub fn space(rng: &mut Rng) -> &'static str {
    pick(rng, &SPACES)
}

/// A value nested at most `depth` deep.
pub fn value(rng: &mut Rng, depth: u32) -> String {
    match rng.u32(..if depth == 0 { 6 } else { 9 }) {
        0 => pick(rng, &["true", "false", "null"]).to_owned(),
        1 | 2 => pick(rng, &NUMBERS).to_owned(),
        3..=5 => string(rng),
        6 => list(rng, depth),
        _ => object(rng, depth),
    }
}

/// A string, with its quotes.
pub fn string(rng: &mut Rng) -> String {
    let mut text = String::from("\"");
    (0..rng.usize(..4)).for_each(|_| text.push_str(pick(rng, &STRINGS)));
    text + "\""
}

/// An object whose keys may stand twice and may be those of the protocol.
pub fn object(rng: &mut Rng, depth: u32) -> String {
    let count = rng.usize(..4);
    let members: Vec<(String, String)> =
        (0..count).map(|_| (pick(rng, &KEYS).to_owned(), value(rng, depth - 1))).collect();
    members_in_any_order(rng, members)
}

/// An object of these members, shuffled and with random white space.
pub fn members_in_any_order(rng: &mut Rng, mut members: Vec<(String, String)>) -> String {
    rng.shuffle(&mut members);
    let mut text = String::from("{");
    for (place, (key, value)) in members.iter().enumerate() {
        text.push_str(if place == 0 { "" } else { "," });
        text.push_str(space(rng));
        text.push_str(&format!("\"{key}\"{}:{}{value}{}", space(rng), space(rng), space(rng)));
    }
    text.push_str(space(rng));
    text + "}"
}

fn list(rng: &mut Rng, depth: u32) -> String {
    let count = rng.usize(..4);
    let items: Vec<String> =
        (0..count).map(|_| format!("{}{}{}", space(rng), value(rng, depth - 1), space(rng))).collect();
    format!("[{}]", items.join(","))
}
