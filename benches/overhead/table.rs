//! What is printed: a row, what the relay and mcpool did, their ratio, the goal and whether it is met.

/// One line of the table.
pub struct Row {
    pub name: String,
    /// None where a relay has nothing of the kind.
    pub relay: Option<f64>,
    pub mcpool: f64,
    pub unit: &'static str,
    pub goal: Goal,
}

/// What is to be reached.
pub enum Goal {
    /// mcpool's figure through the relay's.
    RatioAtMost(f64),
    RatioAtLeast(f64),
    /// mcpool's figure, in the row's unit.
    AtMost(f64),
    AtLeast(f64),
    /// Told, not judged.
    None,
}

/// Prints rows as they come, since a run takes minutes.
pub struct Table {
    missed: usize,
}

impl Table {
    pub fn open() -> Self {
        println!("{:<50} {:>11} {:>11} {:>8} {:>7} {:>9}", "", "relay", "mcpool", "unit", "ratio", "goal");
        Table { missed: 0 }
    }

    pub fn add(&mut self, rows: Vec<Row>) {
        for row in rows {
            let met = row.met();
            self.missed += usize::from(met == Some(false));
            let relay = row.relay.map_or("-".into(), number);
            let ratio = row.ratio().map_or("-".into(), |ratio| format!("{ratio:.2}x"));
            let verdict = met.map_or("", |met| if met { "ok" } else { "miss" });
            let (mcpool, goal) = (number(row.mcpool), row.goal.say());
            println!("{:<50} {relay:>11} {mcpool:>11} {:>8} {ratio:>7} {goal:>9} {verdict}", row.name, row.unit);
        }
    }

    pub fn close(self) {
        println!("{}", if self.missed == 0 { "every goal met".into() } else { format!("{} missed", self.missed) });
    }
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.relay.filter(|&relay| relay > 0.0).map(|relay| self.mcpool / relay)
    }

    fn met(&self) -> Option<bool> {
        match self.goal {
            Goal::RatioAtMost(goal) => self.ratio().map(|ratio| ratio <= goal),
            Goal::RatioAtLeast(goal) => self.ratio().map(|ratio| ratio >= goal),
            Goal::AtMost(goal) => Some(self.mcpool <= goal),
            Goal::AtLeast(goal) => Some(self.mcpool >= goal),
            Goal::None => None,
        }
    }
}

impl Goal {
    fn say(&self) -> String {
        match self {
            Goal::RatioAtMost(goal) => format!("<= {goal:.1}x"),
            Goal::RatioAtLeast(goal) => format!(">= {goal:.1}x"),
            Goal::AtMost(goal) => format!("<= {}", number(*goal)),
            Goal::AtLeast(goal) => format!(">= {}", number(*goal)),
            Goal::None => String::new(),
        }
    }
}

/// Three figures are more than a noisy machine can vouch for.
fn number(value: f64) -> String {
    match value {
        value if value == 0.0 || value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
