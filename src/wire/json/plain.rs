//! Called by `wire::json` for every string: where the part of it ends that needs no second look.

/// How many bytes at the front of `text` are neither a quote, a backslash nor a control character. Most strings
/// are short, so the first bytes are looked at eight at a time.
#[inline]
pub fn plain_prefix(text: &[u8]) -> usize {
    if let Some(word) = text.first_chunk::<8>() {
        let found = special_bytes(u64::from_le_bytes(*word));
        if found != 0 {
            return found.trailing_zeros() as usize / 8;
        }
    }
    long_plain_prefix(text)
}

/// The same for what may be longer: behind the first bytes two passes at memory speed are cheaper: where it ends,
/// and whether a control character stands before that.
fn long_plain_prefix(text: &[u8]) -> usize {
    let mut at = 0;
    for _ in 0..8 {
        let Some(word) = text[at..].first_chunk::<8>() else {
            let rest = &text[at..];
            return at + rest.iter().position(|&byte| is_special(byte)).unwrap_or(rest.len());
        };
        match special_bytes(u64::from_le_bytes(*word)) {
            0 => at += 8,
            found => return at + found.trailing_zeros() as usize / 8,
        }
    }
    let rest = &text[at..];
    let end = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
    if rest[..end].iter().fold(u8::MAX, |least, &byte| least.min(byte)) >= 0x20 {
        return at + end;
    }
    at + rest.iter().position(|&byte| is_special(byte)).unwrap_or(end)
}

fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// The top bit of each special byte of a word; above the lowest one bits may be set in vain.
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES << 7;
    let control = word.wrapping_sub(ONES * 0x20);
    let quote = (word ^ (ONES * b'"' as u64)).wrapping_sub(ONES);
    let backslash = (word ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    // A byte with its top bit set is none of them.
    (control | quote | backslash) & !word & TOPS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_plain_part_is_found_at_every_place() {
        for length in 0..200 {
            for special in [b'"', b'\\', 0x1f, 0, b'\t'] {
                let mut text = vec![b'\x7f'; length];
                text.push(special);
                text.extend([0xff, b'"', b'a', 0x80].repeat(10));
                assert_eq!(plain_prefix(&text), length);
            }
            assert_eq!(plain_prefix(&vec![0xe9; length]), length);
        }
    }
}
