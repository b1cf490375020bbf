//! Signs that a server keeps state for its client, in the names and descriptions of its tools. Asked by
//! `mcpool check --start` for servers that are not in the table of published ones.

/// A kind of state, and the words that tell of it.
struct Kind {
    name: &'static str,
    /// Parts of a tool's name: whole words between `_`, `-`, dots and changes of case.
    words: &'static [&'static str],
    /// In a description, in lower case.
    phrases: &'static [&'static str],
}

const KINDS: [Kind; 6] = [
    Kind {
        name: "a session",
        words: &["session", "sessions", "login", "logout", "connect", "disconnect", "attach", "detach"],
        phrases: &["current session", "active session", "this session", "the session"],
    },
    Kind {
        name: "navigation",
        words: &["navigate", "click", "tab", "tabs", "page", "scroll", "screenshot", "hover"],
        phrases: &["current page", "current tab", "active page", "the browser"],
    },
    Kind {
        name: "a selection that later calls take",
        words: &["select", "activate", "switch", "use", "cursor", "current", "active"],
        phrases: &[
            "currently selected",
            "current selection",
            "currently open",
            "currently active",
            "for subsequent calls",
        ],
    },
    Kind {
        name: "a transaction",
        words: &["transaction", "begin", "commit", "rollback", "savepoint"],
        phrases: &["open transaction", "begins a transaction", "starts a transaction"],
    },
    Kind {
        name: "a working directory",
        words: &["cd", "chdir", "cwd", "workdir"],
        phrases: &[
            "working directory for",
            "sets the working directory",
            "set the working directory",
            "set the project",
        ],
    },
    Kind {
        name: "something that runs on",
        words: &["kernel", "repl", "terminal", "shell", "breakpoint", "debugger", "notebook"],
        phrases: &["background process", "running process", "still running", "previous thought"],
    },
];

/// Names that mean something else together than their words do alone.
const HARMLESS: [&str; 4] = ["git_commit", "commit", "list_commits", "get_commit"];

/// The kind of state that a tool's name or description is a sign of, in a few words.
pub fn sign(name: &str, description: &str) -> Option<&'static str> {
    if HARMLESS.contains(&name) {
        return None;
    }
    let words = words(name);
    let description = description.to_lowercase();
    let told = |kind: &&Kind| {
        kind.words.iter().any(|word| words.iter().any(|own| own == word))
            || kind.phrases.iter().any(|phrase| description.contains(phrase))
    };
    KINDS.iter().find(told).map(|kind| kind.name)
}

/// `browserNavigate_back` as `browser`, `navigate`, `back`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in name.chars() {
        if !c.is_alphanumeric() || c.is_uppercase() && before.is_lowercase() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_descriptions_tell_of_state() {
        for (name, description, kind) in [
            ("browser_navigate", "Goes to a URL", "navigation"),
            ("closeSession", "", "a session"),
            ("begin-transaction", "", "a transaction"),
            ("git_set_working_dir", "Set the working directory for all git calls.", "a working directory"),
            ("sequentialthinking", "You can revise a previous thought", "something that runs on"),
            ("switch_presentation", "", "a selection that later calls take"),
        ] {
            assert_eq!(sign(name, description), Some(kind), "{name}");
        }
    }

    #[test]
    fn reading_and_writing_are_no_signs() {
        for name in ["read_file", "get-sum", "search", "git_commit", "list_commits", "useful", "convert_time"] {
            assert_eq!(sign(name, "Reads what it is told."), None, "{name}");
        }
    }
}
