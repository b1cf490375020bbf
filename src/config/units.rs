//! How people write time and size: `1m30s`, `10MiB`. Used by `fields.rs` to read them.

use std::num::NonZeroU32;
use std::time::Duration;

use super::Rate;

/// Units of time, the longest first, in milliseconds. `ms` stands before `m` and `s` because it is tried first.
const TIME: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("ms", 1), ("m", 60_000), ("s", 1_000)];

/// Units of size in bytes.
const SIZE: [(&str, u64); 8] = [
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// Reads `250ms`, `30s`, `5m`, `12h`, `1d`, or several of them from the longest unit to the shortest (`1m30s`).
/// None: it is not a duration, or more than 64 bits of milliseconds.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut shortest = u64::MAX;
    let mut total: u64 = 0;
    while !rest.is_empty() || shortest == u64::MAX {
        let (count, after) = number(rest)?;
        let (unit, factor) = TIME.iter().find(|(unit, _)| after.starts_with(unit))?;
        if *factor >= shortest {
            return None;
        }
        shortest = *factor;
        total = total.checked_add(count.checked_mul(*factor)?)?;
        rest = &after[unit.len()..];
    }
    Some(Duration::from_millis(total))
}

/// Reads `512`, `64KiB`, `10MiB`, `1GiB`, `1MB` as bytes. None: it is not a size, or more than fits into `usize`.
pub(super) fn size(text: &str) -> Option<usize> {
    let (count, unit) = number(text)?;
    let (_, factor) = SIZE.iter().find(|(name, _)| *name == unit)?;
    usize::try_from(count.checked_mul(*factor)?).ok()
}

/// Reads `20/s`, `100/m`, `1000/h`. None: it is not a rate, or none at all.
pub(super) fn rate(text: &str) -> Option<Rate> {
    let (count, unit) = number(text)?;
    let per = match unit {
        "/s" => Duration::from_secs(1),
        "/m" => Duration::from_secs(60),
        "/h" => Duration::from_secs(3600),
        _ => return None,
    };
    Some(Rate { count: NonZeroU32::new(u32::try_from(count).ok()?)?, per })
}

/// A duration as a person would write it: the units that are not zero.
pub(super) fn written(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for unit in ["d", "h", "m", "s", "ms"] {
        let factor = TIME.iter().find(|(name, _)| *name == unit).map_or(1, |(_, factor)| *factor);
        if left >= factor {
            text.push_str(&format!("{}{unit}", left / factor));
            left %= factor;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A size as a person would write it: in the largest binary unit that divides it.
pub(super) fn written_size(bytes: usize) -> String {
    for (unit, factor) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    bytes.to_string()
}

/// The digits that `text` begins with, and what follows them.
fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations() {
        for (text, millis) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("5m", 300_000),
            ("12h", 43_200_000),
            ("1d", 86_400_000),
            ("1m30s", 90_000),
            ("1s5ms", 1_005),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in [
            "",
            "30",
            "s",
            "30 s",
            "1.5s",
            "-1s",
            "30s1m",
            "1s1s",
            "1w",
            "30S",
            "99999999999999999999s",
            "213503982335d",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn reads_rates() {
        let rate = |count, secs| NonZeroU32::new(count).map(|count| Rate { count, per: Duration::from_secs(secs) });
        assert_eq!(["20/s", "3/m", "100/h"].map(super::rate), [rate(20, 1), rate(3, 60), rate(100, 3600)]);
        for text in ["", "20", "0/s", "/s", "-1/s", "1.5/s", "20/d", "20 /s", "4294967296/s"] {
            assert_eq!(super::rate(text), None, "{text}");
        }
    }

    #[test]
    fn reads_sizes() {
        for (text, bytes) in
            [("512", 512), ("64KiB", 65_536), ("10MiB", 10_485_760), ("1GiB", 1 << 30), ("1MB", 1_000_000), ("7B", 7)]
        {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "MiB", "1mib", "1 MiB", "1.5MiB", "-1", "99999999999GiB"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for text in ["0s", "250ms", "1m30s", "1d12h"] {
            assert_eq!(duration(text).map(written).as_deref(), Some(text));
        }
        for text in ["512", "64KiB", "10MiB", "1GiB"] {
            assert_eq!(size(text).map(written_size).as_deref(), Some(text));
        }
    }
}
