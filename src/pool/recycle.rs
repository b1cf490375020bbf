//! Called by `mux` for instances that work: whether one is worn out, as a pure function.

use std::time::Duration;

use super::reason::StopReason;
use crate::config::Recycle;

/// What wears an instance out.
#[derive(Clone, Copy, Debug)]
pub struct Wear {
    pub age: Duration,
    /// Calls that it answered.
    pub calls: u64,
    /// Resident memory of its process tree, in bytes.
    pub memory: u64,
    /// A factor around 1, by which its age and its calls are stretched: instances that were started together do not end
    /// together.
    pub lifespan: f64,
    /// It belongs to its caller for the whole session: what it holds for that caller would be lost.
    pub kept: bool,
}

/// Returns why an instance is to be replaced, if it is.
pub fn worn(wear: &Wear, limits: &Recycle) -> Option<StopReason> {
    if wear.kept {
        return None;
    }
    if limits.age.is_some_and(|age| wear.age >= age.mul_f64(wear.lifespan)) {
        return Some(StopReason::Age);
    }
    // A few calls are what they are.
    let stretched = |calls: u64| calls.saturating_add_signed((calls as f64 * (wear.lifespan - 1.0)) as i64);
    if limits.calls.is_some_and(|calls| wear.calls >= stretched(calls)) {
        return Some(StopReason::Calls);
    }
    limits.memory.is_some_and(|memory| wear.memory >= memory as u64).then_some(StopReason::Memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Wear = Wear { age: Duration::ZERO, calls: 0, memory: 0, lifespan: 1.0, kept: false };

    #[test]
    fn each_limit_wears_out_and_a_session_protects() {
        let limits =
            Recycle { age: Some(Duration::from_secs(1)), calls: Some(10), memory: Some(1 << 20), ..Recycle::default() };
        assert_eq!(worn(&FRESH, &limits), None);
        assert_eq!(worn(&Wear { age: Duration::from_secs(1), ..FRESH }, &limits), Some(StopReason::Age));
        let calls = Wear { calls: 10, ..FRESH };
        assert_eq!(worn(&calls, &limits), Some(StopReason::Calls));
        assert_eq!(worn(&Wear { memory: 1 << 20, ..FRESH }, &limits), Some(StopReason::Memory));
        assert_eq!(worn(&Wear { kept: true, ..calls }, &limits), None);
        let tough = Wear { lifespan: 1.25, ..calls };
        assert_eq!(worn(&tough, &limits), None);
        assert_eq!(worn(&Wear { calls: 12, ..tough }, &limits), Some(StopReason::Calls));
        let never = Recycle { age: None, calls: None, memory: None, ..limits };
        assert_eq!(worn(&Wear { memory: u64::MAX, ..calls }, &never), None);
    }
}
