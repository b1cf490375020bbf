//! Called by the index of a list of templates: which of them a URI fits, found without a look at the others. A server
//! may list thousands, and each resource of each server behind it is held against them.

use std::collections::BTreeMap;

use super::names;

/// How many templates a URI is held against at most, the longest beginnings first.
const TRIED: usize = 64;
/// No longer template than this claims anything, in bytes.
const LONGEST: usize = 128 << 10;
/// How many bytes of templates a URI is held against, besides the first one.
const TRIED_BYTES: usize = 64 << 10;

/// The templates of a list, by what they begin with.
#[derive(Default)]
pub struct Templates {
    /// In the order of their beginnings, each of which is there once.
    starts: Vec<Start>,
}

/// Those templates that begin alike.
struct Start {
    /// What each URI that fits begins with.
    text: Box<str>,
    /// The place of the longest other beginning that this one goes on from.
    shorter: Option<u32>,
    templates: Vec<Template>,
}

struct Template {
    text: Box<str>,
    /// What stands in it, with `*` for anything.
    pattern: Box<str>,
    /// Whether it says at least of which kind its URIs are.
    claims: bool,
}

impl Template {
    fn fits(&self, uri: &str) -> bool {
        self.pattern.contains('*') && names::matches(&self.pattern, uri)
    }
}

impl Templates {
    /// The templates with these texts.
    pub fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Templates {
        let mut by_start: BTreeMap<&str, Vec<Template>> = BTreeMap::new();
        for text in texts.filter(|text| text.len() <= LONGEST) {
            let start = text.split(['{', '*']).next().unwrap_or_default();
            let (pattern, claims) = (names::pattern_of(text).into(), names::says_its_kind(text));
            let template = Template { text: text.into(), pattern, claims };
            by_start.entry(start).or_default().push(template);
        }
        let mut starts: Vec<Start> = Vec::with_capacity(by_start.len());
        for (text, templates) in by_start {
            // Whatever this one goes on from, the one before it goes on from too, or is.
            let mut shorter = starts.len().checked_sub(1).map(|place| place as u32);
            while let Some(other) = shorter.and_then(|place| starts.get(place as usize)) {
                if text.starts_with(&*other.text) {
                    break;
                }
                shorter = other.shorter;
            }
            starts.push(Start { text: text.into(), shorter, templates });
        }
        Templates { starts }
    }

    /// Whether one of them keeps a URI from servers behind this one: it fits, and says of which kind its URIs are.
    pub fn claim(&self, uri: &str) -> bool {
        self.tried(uri).any(|template| template.claims && template.fits(uri))
    }

    /// Whether a URI fits one of them, or is one of them as it stands.
    pub fn cover(&self, uri: &str) -> bool {
        self.tried(uri).any(|template| &*template.text == uri || template.fits(uri))
    }

    /// Those that a URI begins like, but for what is too many.
    fn tried(&self, uri: &str) -> impl Iterator<Item = &Template> {
        let shorter = |start: &&Start| self.starts.get(start.shorter? as usize);
        let starts = std::iter::successors(self.longest(uri.as_bytes()), shorter);
        let mut bytes = 0;
        let few = move |template: &&Template| {
            let within = bytes <= TRIED_BYTES;
            bytes += template.pattern.len();
            within
        };
        starts.flat_map(|start| &start.templates).take(TRIED).take_while(few)
    }

    /// The longest beginning that a URI has.
    fn longest(&self, mut uri: &[u8]) -> Option<&Start> {
        for _ in 0..TRIED {
            let behind = self.starts.partition_point(|start| start.text.as_bytes() <= uri);
            let last = self.starts.get(behind.checked_sub(1)?)?;
            let alike = last.text.bytes().zip(uri).take_while(|(one, other)| one == *other).count();
            if alike == last.text.len() {
                return Some(last);
            }
            // What it has of this one is all that a shorter one may have.
            uri = &uri[..alike];
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Templates {
        Templates::of(texts.iter().copied())
    }

    #[test]
    fn a_uri_is_found_by_what_it_begins_with() {
        let templates = of(&["demo://note/{n}", "demo://note/{n}/part/{m}", "other://{x}/y", "file:///{+path}"]);
        assert!(templates.claim("demo://note/5") && templates.claim("demo://note/5/part/6"));
        assert!(!templates.claim("demo://text/5") && !templates.claim("demo://note"));
        assert!(templates.cover("other://a/y") && !templates.cover("other://a/z"));
        assert!(templates.cover("file:///a/b") && !templates.claim("file:///a/b"), "a kind alone claims nothing");
    }

    #[test]
    fn a_template_for_everything_covers_and_claims_nothing() {
        let templates = of(&["{+uri}", "demo://note/{n}"]);
        assert!(templates.cover("x:y") && !templates.claim("x:y"));
        assert!(templates.claim("demo://note/1"));
    }

    #[test]
    fn a_template_is_found_by_its_own_text() {
        let templates = of(&["demo://fixed", "demo://note/{n}"]);
        assert!(templates.cover("demo://fixed") && !templates.claim("demo://fixed"));
        assert!(templates.cover("demo://note/{n}"));
    }

    #[test]
    fn every_beginning_is_found_behind_those_that_stand_between() {
        // Between `a:b` and the URI stand `a:b/a`, `a:b/m` and `a:b/m/z`, of which the URI has nothing.
        let templates = of(&["a:b/m/z{x}", "a:b{x}", "a:b/m{x}q", "a:b/a{x}", "a:b/m/n{x}"]);
        for uri in ["a:b", "a:b/a/1", "a:b/m/nothing", "a:b/zzz", "a:b/m/y"] {
            assert!(templates.claim(uri), "{uri}");
        }
        assert!(!templates.claim("a:a"));
    }

    #[test]
    fn what_is_found_is_what_a_look_at_each_finds() {
        let starts = ["", "a", "a:", "a:b", "a:b/", "a:b/c", "a:b/c*d", "b:x", "b:x/y/z"];
        let texts: Vec<String> =
            starts.iter().flat_map(|start| ["{x}", "{x}/end", ""].map(|end| format!("{start}{end}"))).collect();
        let templates = Templates::of(texts.iter().map(String::as_str));
        for uri in ["", "a", "a:b", "a:b/c", "a:b/c1d/end", "a:b/cd/1", "b:x/y/z1", "b:x/y", "c:d", "a:b/end"] {
            let fits = |text: &str| {
                let pattern = names::pattern_of(text);
                pattern.contains('*') && names::matches(&pattern, uri)
            };
            let claimed = texts.iter().any(|text| names::says_its_kind(text) && fits(text));
            let covered = texts.iter().any(|text| text == uri || fits(text));
            assert_eq!((templates.claim(uri), templates.cover(uri)), (claimed, covered), "{uri:?}");
        }
    }

    #[test]
    fn thousands_of_one_beginning_cost_no_more_than_a_few() {
        let texts: Vec<String> = (0..10_000).map(|number| format!("a:b/{{x}}/{number}")).collect();
        let templates = Templates::of(texts.iter().map(String::as_str));
        assert_eq!(templates.tried("a:b/1/none").count(), TRIED);
        assert_eq!(templates.tried("a:a/1/none").count(), 0);
    }
}
