//! Called for what stands in lists of several servers: what the members of an item have to be, as the schemas of all
//! revisions and the clients that hold to them have it.

use std::borrow::Cow;

use crate::catalogue::kind::ListKind;
use crate::catalogue::legible::moment::is_moment;
use crate::catalogue::legible::output;
use crate::era::Era;
use crate::wire::message::{elements, members, unquote};
use crate::wire::scan::is_read_as;

/// What a value has to be.
enum Shape {
    Text,
    /// A text that begins as a URI does.
    Uri,
    Flag,
    Whole,
    /// A number from 0 to 1.
    Share,
    /// A time as RFC 3339 has it.
    Moment,
    OneOf(&'static [&'static str]),
    /// Any object.
    Map,
    /// An object of these members and others.
    Of(&'static [Member]),
    /// A list, without the elements that are something else.
    Some(&'static Shape),
    /// A list that holds nothing else.
    All(&'static Shape),
    /// The schemas of the members of an object.
    Properties,
    /// An object of these members that is a schema as clients compile it.
    Compiled(&'static [Member]),
}

/// A member of an object that clients know.
struct Member(&'static str, Need, Shape);

/// What follows where a member is not what it has to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// The whole is nothing without it.
    Must,
    /// It may be absent, but not wrong.
    Right,
    /// It is left out.
    May,
}

use Need::{May, Must, Right};

/// The members of an item, by its kind and the era of its server.
fn table(kind: ListKind, era: Era) -> &'static Shape {
    match (kind, era) {
        (ListKind::Tools, Era::Legacy) => {
            const { &Shape::Of(&[NAME, TITLE, TEXT, ICONS, META, INPUT, OUTPUT_OF_OBJECT, HINTS, EXECUTION]) }
        }
        (ListKind::Tools, Era::Modern) => {
            const { &Shape::Of(&[NAME, TITLE, TEXT, ICONS, META, INPUT, OUTPUT, HINTS, EXECUTION]) }
        }
        (ListKind::Prompts, _) => const { &Shape::Of(&[NAME, TITLE, TEXT, ICONS, META, ARGUMENTS]) },
        (ListKind::Resources, _) => {
            const URI: Member = Member("uri", Must, Shape::Uri);
            const SIZE: Member = Member("size", May, Shape::Whole);
            const { &Shape::Of(&[URI, NAME, TITLE, TEXT, TYPE, ICONS, META, NOTES, SIZE]) }
        }
        (ListKind::Templates, _) => {
            const TEMPLATE: Member = Member("uriTemplate", Must, Shape::Text);
            const { &Shape::Of(&[TEMPLATE, NAME, TITLE, TEXT, TYPE, ICONS, META, NOTES]) }
        }
    }
}

const NAME: Member = Member("name", Must, Shape::Text);
const TITLE: Member = Member("title", May, Shape::Text);
const TEXT: Member = Member("description", May, Shape::Text);
const TYPE: Member = Member("mimeType", May, Shape::Text);
const META: Member = Member("_meta", May, Shape::Map);
const ICONS: Member = Member(
    "icons",
    May,
    Shape::Some(&Shape::Of(&[
        Member("src", Must, Shape::Text),
        TYPE,
        Member("sizes", May, Shape::Some(&Shape::Text)),
        Member("theme", May, Shape::OneOf(&["light", "dark"])),
    ])),
);
const INPUT: Member = Member("inputSchema", Must, Shape::Of(&[OBJECT, DIALECT, PROPERTIES, REQUIRED]));
/// In the legacy era a tool returns an object or has no such schema.
const OUTPUT_OF_OBJECT: Member = Member("outputSchema", May, Shape::Compiled(&[OBJECT, DIALECT, PROPERTIES, REQUIRED]));
const OUTPUT: Member = Member("outputSchema", May, Shape::Compiled(&[DIALECT, PROPERTIES, REQUIRED]));
const OBJECT: Member = Member("type", Must, Shape::OneOf(&["object"]));
const DIALECT: Member = Member("$schema", Right, Shape::Text);
const PROPERTIES: Member = Member("properties", Right, Shape::Properties);
const REQUIRED: Member = Member("required", Right, Shape::All(&Shape::Text));
const HINTS: Member = Member(
    "annotations",
    May,
    Shape::Of(&[
        TITLE,
        Member("readOnlyHint", May, Shape::Flag),
        Member("destructiveHint", May, Shape::Flag),
        Member("idempotentHint", May, Shape::Flag),
        Member("openWorldHint", May, Shape::Flag),
    ]),
);
const EXECUTION: Member = Member(
    "execution",
    May,
    Shape::Of(&[Member("taskSupport", May, Shape::OneOf(&["forbidden", "optional", "required"]))]),
);
const NOTES: Member = Member(
    "annotations",
    May,
    Shape::Of(&[
        Member("audience", May, Shape::Some(&Shape::OneOf(&["user", "assistant"]))),
        Member("priority", May, Shape::Share),
        Member("lastModified", May, Shape::Moment),
    ]),
);
const ARGUMENTS: Member = Member(
    "arguments",
    May,
    Shape::Some(&Shape::Of(&[Member("name", Must, Shape::Text), TITLE, TEXT, Member("required", May, Shape::Flag)])),
);

/// An item without what clients would not read in it.
///
/// # Errors
/// Nothing of it can be read; what is wrong.
pub(crate) fn fitted(kind: ListKind, era: Era, item: &str) -> Result<(Cow<'_, str>, Option<String>), String> {
    let mut walk = Walk { left_out: None };
    let item = walk.fit(table(kind, era), item)?;
    Ok((item, walk.left_out))
}

/// One item being looked at.
struct Walk {
    /// The first thing that was left out of it though it was there.
    left_out: Option<String>,
}

impl Walk {
    /// A value without what does not fit; what is wrong with it, if it does not.
    fn fit<'a>(&mut self, shape: &Shape, value: &'a str) -> Result<Cow<'a, str>, String> {
        let is = |right: bool, what: &str| {
            if right { Ok(Cow::Borrowed(value)) } else { Err(format!("is no {what}")) }
        };
        let text = || unquote(value);
        match shape {
            Shape::Text => is(value.starts_with('"'), "text"),
            Shape::Uri => is(text().is_some_and(|text| has_scheme(&text)), "URI"),
            Shape::Flag => is(matches!(value, "true" | "false"), "`true` or `false`"),
            Shape::Whole => is(number(value).is_some_and(|number| number.fract() == 0.0), "whole number"),
            Shape::Share => is(number(value).is_some_and(|number| (0.0..=1.0).contains(&number)), "number from 0 to 1"),
            Shape::Moment => is(text().is_some_and(|text| is_moment(&text)), "time with its offset (RFC 3339)"),
            Shape::OneOf(texts) => {
                let one = text().is_some_and(|text| texts.contains(&&*text));
                if one { Ok(Cow::Borrowed(value)) } else { Err(format!("is not \"{}\"", texts.join("\" or \""))) }
            }
            Shape::Map => is(value.starts_with('{'), "object"),
            Shape::Of(known) => self.object(known, value),
            Shape::Some(shape) => self.list(shape, value, true),
            Shape::All(shape) => self.list(shape, value, false),
            Shape::Properties => properties(value),
            Shape::Compiled(known) => match value.starts_with('{').then(|| output::fault(value)).flatten() {
                Some(fault) => Err(fault),
                None => self.object(known, value),
            },
        }
    }

    fn object<'a>(&mut self, known: &[Member], value: &'a str) -> Result<Cow<'a, str>, String> {
        if !value.starts_with('{') {
            return Err("is no object".into());
        }
        let (mut kept, mut changed, mut found) = (Vec::new(), false, vec![false; known.len()]);
        for (key, value) in members(value) {
            let Some((place, Member(name, need, shape))) =
                known.iter().enumerate().find(|(_, Member(name, ..))| is_read_as(key.as_bytes(), name.as_bytes()))
            else {
                kept.push((key, Cow::Borrowed(value)));
                continue;
            };
            if key != *name || std::mem::replace(&mut found[place], true) {
                // The last one counts for most, and what is no such member to some is one to others.
                return Err(format!("has `{name}` twice, or in another spelling"));
            }
            if value == "null" && *need != Must {
                changed = true;
                continue;
            }
            match self.fit(shape, value) {
                Ok(value) => {
                    changed |= matches!(value, Cow::Owned(_));
                    kept.push((key, value));
                }
                Err(why) if *need == May => {
                    self.left_out.get_or_insert_with(|| format!("`{name}` {why}"));
                    changed = true;
                }
                Err(why) => return Err(format!("has a `{name}` that {why}")),
            }
        }
        let missing = known.iter().zip(found).find(|(Member(_, need, _), found)| *need == Must && !found);
        match missing {
            Some((Member(name, ..), _)) => Err(format!("has no `{name}`")),
            None if changed => {
                Ok(Cow::Owned(joined('{', kept.iter().map(|(key, value)| format!(r#""{key}":{value}"#)), '}')))
            }
            None => Ok(Cow::Borrowed(value)),
        }
    }

    fn list<'a>(&mut self, shape: &Shape, value: &'a str, lenient: bool) -> Result<Cow<'a, str>, String> {
        if !value.starts_with('[') {
            return Err("is no list".into());
        }
        let (mut kept, mut changed) = (Vec::new(), false);
        for element in elements(value) {
            match self.fit(shape, element) {
                Ok(element) => {
                    changed |= matches!(element, Cow::Owned(_));
                    kept.push(element);
                }
                Err(why) if lenient => {
                    self.left_out.get_or_insert_with(|| format!("an element {why}"));
                    changed = true;
                }
                Err(why) => return Err(format!("has an element that {why}")),
            }
        }
        Ok(if changed { Cow::Owned(joined('[', kept.into_iter(), ']')) } else { Cow::Borrowed(value) })
    }
}

/// Schemas that are `true` or `false` are written as objects that say the same: the published SDKs know no others.
fn properties(value: &str) -> Result<Cow<'_, str>, String> {
    if !value.starts_with('{') {
        return Err("is no object".into());
    }
    let all = members(value);
    if let Some((_, odd)) =
        all.iter().find(|(_, schema)| !schema.starts_with('{') && !matches!(*schema, "true" | "false"))
    {
        let what = odd.chars().next().unwrap_or_default();
        return Err(format!("has a member that is no schema (it begins with `{what}`)"));
    }
    if all.iter().all(|(_, schema)| schema.starts_with('{')) {
        return Ok(Cow::Borrowed(value));
    }
    let written = |(key, schema): &(&str, &str)| match *schema {
        "true" => format!(r#""{key}":{{}}"#),
        "false" => format!(r#""{key}":{{"not":{{}}}}"#),
        schema => format!(r#""{key}":{schema}"#),
    };
    Ok(Cow::Owned(joined('{', all.iter().map(written), '}')))
}

fn joined<T: AsRef<str>>(open: char, parts: impl Iterator<Item = T>, close: char) -> String {
    let mut text = String::from(open);
    for part in parts {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(part.as_ref());
    }
    text.push(close);
    text
}

fn number(value: &str) -> Option<f64> {
    let digits = value.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    value.parse().ok().filter(|number: &f64| digits && number.is_finite())
}

/// Whether a text begins with the scheme of a URI (RFC 3986, section 3.1).
fn has_scheme(text: &str) -> bool {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '-' | '.'))
}
