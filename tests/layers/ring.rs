//! Rings in a graph of names: things that lead to each other and back.

use std::collections::{BTreeMap, BTreeSet};

/// What leads to what.
pub type Arrows = BTreeMap<String, BTreeSet<String>>;

/// The rings of a graph, each with all that is in it, the largest first.
pub fn rings(arrows: &Arrows) -> Vec<BTreeSet<String>> {
    let reached: BTreeMap<&String, BTreeSet<&String>> = arrows.keys().map(|from| (from, reach(arrows, from))).collect();
    let mut left: BTreeSet<&String> = arrows.keys().filter(|from| reached[from].contains(from)).collect();
    let mut rings = Vec::new();
    while let Some(first) = left.first().copied() {
        let ring: BTreeSet<&String> =
            left.iter().copied().filter(|to| reached[first].contains(to) && reached[to].contains(first)).collect();
        left.retain(|name| !ring.contains(name));
        rings.push(ring.into_iter().cloned().collect::<BTreeSet<String>>());
    }
    rings.sort_by_key(|ring| std::cmp::Reverse(ring.len()));
    rings
}

/// All that a name leads to.
fn reach<'a>(arrows: &'a Arrows, from: &'a String) -> BTreeSet<&'a String> {
    let (mut reached, mut ahead) = (BTreeSet::new(), vec![from]);
    while let Some(next) = ahead.pop() {
        ahead.extend(arrows.get(next).into_iter().flatten().filter(|to| reached.insert(*to)));
    }
    reached
}
