//! Called by whatever tells people how many there are of something.

use std::fmt::Display;

/// So many of something, in English.
pub fn plural(count: impl Display, noun: &str) -> String {
    let count = count.to_string();
    let ending = match noun {
        _ if count == "1" => "",
        noun if noun.ends_with('s') => "es",
        _ => "s",
    };
    format!("{count} {noun}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        let told =
            [plural(0, "call"), plural(1_u64, "call"), plural(2, "call"), plural(1, "process"), plural(3, "process")];
        assert_eq!(told, ["0 calls", "1 call", "2 calls", "1 process", "3 processes"]);
    }
}
