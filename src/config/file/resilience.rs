//! What stands below a server about trouble, as written: `when_full`, `recycle`, `probe`, `backoff`, `breaker`,
//! `rate_limit`, `retry`. Called by `file/server.rs`.

use std::num::NonZeroU32;

use super::{HUGE_TREE, MANY, MOMENT};
use crate::config::fields::Fields;
use crate::config::{Backoff, Breaker, Probe, RateLimit, Recycle, Retry, WhenFull};

/// How often a call may be sent again at most.
const ATTEMPTS: u8 = 10;

const WHEN_FULL: [(&str, WhenFull); 3] =
    [("wait", WhenFull::Wait), ("overflow", WhenFull::Overflow), ("reject", WhenFull::Reject)];

pub(super) fn when_full(fields: &mut Fields<'_>) -> WhenFull {
    fields.choice("when_full", &WHEN_FULL)
}

pub(super) fn recycle(mut fields: Fields<'_>) -> Recycle {
    let default = Recycle::default();
    let recycle = Recycle {
        idle: fields.duration("idle", default.idle, MOMENT),
        age: fields.or_never("age", |fields| fields.duration("age", default.age.unwrap_or_default(), MOMENT)),
        calls: fields.or_never("calls", |fields| {
            let default = usize::try_from(default.calls.unwrap_or_default()).unwrap_or(MANY);
            fields.count("calls", default, 1..=usize::MAX) as u64
        }),
        memory: fields.or_never("memory", |fields| {
            fields.size("memory", default.memory.unwrap_or_default(), 1 << 20..=HUGE_TREE)
        }),
    };
    fields.finish();
    recycle
}

pub(super) fn probe(mut fields: Fields<'_>) -> Probe {
    let default = Probe::default();
    let probe = Probe {
        every: fields.or_never("every", |fields| fields.duration("every", default.every.unwrap_or_default(), MOMENT)),
        timeout: fields.duration("timeout", default.timeout, MOMENT),
        failures: number(&mut fields, "failures", default.failures).get(),
    };
    fields.finish();
    probe
}

pub(super) fn backoff(mut fields: Fields<'_>) -> Backoff {
    let default = Backoff::default();
    let backoff = Backoff {
        least: fields.duration("least", default.least, MOMENT),
        most: fields.duration("most", default.most, MOMENT),
    };
    if backoff.least > backoff.most {
        fields.contradiction(
            ["least", "most"],
            "`least` is longer than `most`",
            "make `most` at least as long as `least`",
        );
    }
    fields.finish();
    backoff
}

pub(super) fn breaker(mut fields: Fields<'_>) -> Breaker {
    let default = Breaker::default();
    let failures = default.failures.map_or(1, NonZeroU32::get);
    let breaker = Breaker {
        failures: fields.or_never("failures", |fields| number(fields, "failures", failures)),
        open: fields.duration("open", default.open, MOMENT),
        open_max: fields.duration("open_max", default.open_max, MOMENT),
        per_tool: fields.truth("per_tool", default.per_tool),
    };
    if breaker.open > breaker.open_max {
        let message = "`open` is longer than `open_max`, the longest that it may stay open";
        fields.contradiction(["open", "open_max"], message, "make `open_max` at least as long as `open`");
    }
    fields.finish();
    breaker
}

pub(super) fn rate_limit(mut fields: Fields<'_>) -> RateLimit {
    let default = RateLimit::default();
    let limit = RateLimit {
        per_caller: fields.rate("per_caller", default.per_caller),
        total: fields.rate("total", default.total),
        tools: fields.rates("tools"),
        kinds: fields.rate("kinds", default.kinds),
    };
    fields.finish();
    limit
}

pub(super) fn retry(mut fields: Fields<'_>) -> Retry {
    let default = Retry::default();
    let attempts = small(&mut fields, "attempts", default.attempts, ATTEMPTS);
    let retry = Retry {
        attempts,
        budget: small(&mut fields, "budget", default.budget, 100),
        tools: if fields.is_map("tools") {
            fields.counts("tools", ATTEMPTS)
        } else {
            fields.texts("tools").unwrap_or_default().into_iter().map(|tool| (tool, attempts)).collect()
        },
    };
    fields.finish();
    retry
}

/// A number of at least one.
fn number(fields: &mut Fields<'_>, key: &'static str, default: u32) -> NonZeroU32 {
    let count = fields.count(key, default as usize, 1..=MANY);
    u32::try_from(count).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN)
}

fn small(fields: &mut Fields<'_>, key: &'static str, default: u8, most: u8) -> u8 {
    u8::try_from(fields.count(key, default.into(), 0..=most.into())).unwrap_or(default)
}
