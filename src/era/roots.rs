//! Made by `mux` when a caller tells its roots, and told to instances that ask: the body of the answer to `roots/list`.
//! Instances are shared only between callers with equal ones.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::rc::Rc;

use super::digest::Digest;

/// The body of an answer to `roots/list`, as a server gets it. Cheap to clone, and to compare however long it is.
#[derive(Clone)]
pub struct RootList {
    text: Rc<str>,
    digest: Digest,
}

impl RootList {
    /// What tells it from others, without showing what it says: for keys that are written down.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl<T: Into<Rc<str>>> From<T> for RootList {
    fn from(text: T) -> RootList {
        let text = text.into();
        RootList { digest: Digest::of(&[&text]), text }
    }
}

impl Deref for RootList {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl PartialEq for RootList {
    fn eq(&self, other: &RootList) -> bool {
        self.digest == other.digest
    }
}

impl Eq for RootList {}

impl Hash for RootList {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl fmt::Debug for RootList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_are_the_same_roots() {
        let (one, same, other) = (RootList::from("a"), RootList::from("a".to_owned()), RootList::from("b"));
        assert!(one == same && one != other && one.digest() == same.digest() && &*one == "a");
    }
}
