//! Called for `lastModified`: whether a text is a time as RFC 3339 has it. One without an offset, which Python's
//! `isoformat` writes, has the TypeScript SDK refuse the whole list.

/// Whether a text is a time with its offset.
pub(crate) fn is_moment(text: &str) -> bool {
    let Some((date, time)) = text.split_once('T') else { return false };
    let Some((time, offset)) = time.find(['Z', '+', '-']).map(|at| time.split_at(at)) else { return false };
    is_date(date)
        && is_time(time)
        && (offset == "Z" || numbers(&offset[1..], ':', &[2, 2]).is_some_and(|it| within(&it)))
}

fn is_date(date: &str) -> bool {
    let Some([year, month, day]) = numbers(date, '-', &[4, 2, 2]).and_then(|it| <[u32; 3]>::try_from(it).ok()) else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day)
}

fn is_time(time: &str) -> bool {
    let (whole, part) = time.split_once('.').unwrap_or((time, "0"));
    let part = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    part && numbers(whole, ':', &[2, 2, 2]).is_some_and(|it| within(&it))
}

/// Whether these are an hour, a minute and perhaps a second.
fn within(numbers: &[u32]) -> bool {
    numbers.iter().zip([23, 59, 59]).all(|(number, most)| *number <= most)
}

/// The numbers of a text of so many numbers with so many digits each.
fn numbers(text: &str, between: char, digits: &[usize]) -> Option<Vec<u32>> {
    let parts: Vec<&str> = text.split(between).collect();
    let right = parts.len() == digits.len() && parts.iter().zip(digits).all(|(part, digits)| part.len() == *digits);
    let plain = parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    if right && plain { parts.iter().map(|part| part.parse().ok()).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use crate::catalogue::legible::moment::*;

    #[test]
    fn times_have_a_date_that_exists_and_an_offset() {
        for good in ["2025-01-12T15:00:58Z", "2024-02-29T00:00:00.123456+02:00", "2000-02-29T23:59:59-11:30"] {
            assert!(is_moment(good), "{good}");
        }
        for bad in [
            "2025-01-12",
            "2025-01-12T15:00:58",
            "2025-01-12 15:00:58Z",
            "2025-02-29T15:00:58Z",
            "1900-02-29T15:00:58Z",
            "2025-13-12T15:00:58Z",
            "2025-01-00T15:00:58Z",
            "2025-01-12T24:00:00Z",
            "2025-01-12T15:00:58.Z",
            "2025-01-12T15:00:58+0200",
            "2025-01-12T15:00:58Zx",
            "25-01-12T15:00:58Z",
            "",
            "T",
            "ü",
        ] {
            assert!(!is_moment(bad), "{bad}");
        }
    }
}
