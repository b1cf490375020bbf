//! Who may do what on an endpoint, as used. Made by `file/access.rs`; decided by in `caller::access`.

/// What callers may do: everything, or what is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// None: everything.
    pub named: Option<Named>,
    /// Which roots servers are told for these callers.
    pub roots: Roots,
    /// Whether servers may ask these callers for samples and elicitations.
    pub asks: bool,
}

/// What is named, in patterns in which `*` stands for any characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// By the names that callers see here.
    pub tools: Vec<String>,
    /// The same.
    pub prompts: Vec<String>,
    /// By URI; templates by their text.
    pub resources: Vec<String>,
    /// Methods of requests and notifications, besides those that everybody may send and those that the others decide.
    pub methods: Vec<String>,
}

/// Which roots servers are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// Those that the caller tells.
    Client,
    /// That the caller has none to tell.
    Withheld,
    /// These, as URIs, whatever the caller tells.
    Fixed(Vec<String>),
}

/// What was written about access, of an endpoint or of a rule for some of its callers; None: not written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// The tools that may be used, by the names that callers see here, `*` standing for any characters.
    pub tools: Option<Vec<String>>,
    /// The same for prompts.
    pub prompts: Option<Vec<String>>,
    /// The same for resources, by URI.
    pub resources: Option<Vec<String>>,
    /// The same for methods that none of these decides.
    pub methods: Option<Vec<String>>,
    /// Which roots servers are told; None: as follows from the rest.
    pub roots: Option<Roots>,
    /// Whether servers may ask its callers; None: as follows from the rest.
    pub asks: Option<bool>,
}

/// A rule for some of the callers of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub who: Who,
    pub grants: Grants,
    /// How many of them may be connected; None: as many as the endpoint allows.
    pub callers: Option<usize>,
    /// How many calls each may have in flight; None: as any caller.
    pub in_flight: Option<usize>,
}

/// Whom a rule is for: those to whom all of this applies that is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    pub uids: Option<Vec<u32>>,
    pub gids: Option<Vec<u32>>,
    /// Patterns of the path of the program.
    pub programs: Option<Vec<String>>,
    /// Patterns of the control group, as `/proc/PID/cgroup` names it.
    pub cgroups: Option<Vec<String>>,
}

impl Grants {
    /// Whether anything is named that may be used, or is kept to nothing by being named.
    pub fn names_something(&self) -> bool {
        [&self.tools, &self.prompts, &self.resources, &self.methods].into_iter().any(Option::is_some)
    }

    /// What they come to; `restricted`: whether what is not named is not allowed.
    pub fn access(&self, restricted: bool) -> Access {
        let named = |patterns: &Option<Vec<String>>| patterns.clone().unwrap_or_default();
        let named = restricted.then(|| Named {
            tools: named(&self.tools),
            prompts: named(&self.prompts),
            resources: named(&self.resources),
            methods: named(&self.methods),
        });
        let usual = if restricted { Roots::Withheld } else { Roots::Client };
        Access { named, roots: self.roots.clone().unwrap_or(usual), asks: self.asks.unwrap_or(!restricted) }
    }
}
