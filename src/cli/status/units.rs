//! Called by `status`, `tools` and `approve`: what the daemon says, as people read it.

use serde_json::Value;

use crate::text::line;

/// The entries of a list.
pub fn rows(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A value as people read it.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) if text.is_empty() => "-".into(),
        Value::String(text) => line(text).into_owned(),
        other => line(&other.to_string()).into_owned(),
    }
}

/// A number; 0 if it is none.
pub fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// Bytes in the largest unit of which there is one.
pub fn bytes(value: &Value) -> String {
    let bytes = value.as_u64().unwrap_or(0) as f64;
    match bytes {
        0.0 => "-".into(),
        _ if bytes < 1024.0 * 1024.0 => format!("{:.0} KiB", bytes / 1024.0),
        _ if bytes < 1024.0 * 1024.0 * 1024.0 => format!("{:.1} MiB", bytes / 1024.0 / 1024.0),
        _ => format!("{:.2} GiB", bytes / 1024.0 / 1024.0 / 1024.0),
    }
}

/// A time in its two largest units.
pub fn age(milliseconds: u64) -> String {
    match milliseconds / 1000 {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        seconds @ 3600..86_400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        seconds => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A short time.
pub fn milliseconds(milliseconds: u64) -> String {
    if milliseconds < 1000 { format!("{milliseconds} ms") } else { age(milliseconds) }
}
