//! Called by `mux` before a call is sent again: retries stay a small part of all calls, so that they never make bad
//! things worse.

/// What one retry costs, in hundredths.
const PRICE: u32 = 100;
/// Saved at most, and had at the beginning, in retries.
const SAVED: u32 = 100;
const INITIAL: u32 = 10;

/// What may be spent on retries.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    per_hundred: u8,
    hundredths: u32,
}

impl Budget {
    /// So many retries for a hundred calls, and a few to begin with.
    pub fn new(per_hundred: u8) -> Budget {
        Budget { per_hundred, hundredths: if per_hundred == 0 { 0 } else { INITIAL * PRICE } }
    }

    /// How many retries there is enough for.
    pub fn left(&self) -> u32 {
        self.hundredths / PRICE
    }

    /// A call was made.
    pub fn earn(&mut self) {
        self.hundredths = (self.hundredths + u32::from(self.per_hundred)).min(SAVED * PRICE);
    }

    /// Whether there is enough for one retry, which is then spent.
    pub fn spend(&mut self) -> bool {
        let left = self.hundredths.checked_sub(PRICE);
        self.hundredths = left.unwrap_or(self.hundredths);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_the_calls_may_be_repeated() {
        let mut budget = Budget::new(10);
        let spent = |budget: &mut Budget| std::iter::repeat_with(|| budget.spend()).take_while(|spent| *spent).count();
        assert_eq!(spent(&mut budget), INITIAL as usize);
        (0..50).for_each(|_| budget.earn());
        assert_eq!(spent(&mut budget), 5);
        (0..100_000).for_each(|_| budget.earn());
        assert_eq!(spent(&mut budget), SAVED as usize);
        assert_eq!(budget.left(), 0);
        assert!(!Budget::new(0).spend());
    }
}
