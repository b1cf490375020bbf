//! Variables as hosts write them, in mcpool's words: `${VAR}`, `$VAR`, `${VAR:-x}`, `${env:VAR}`, `{env:VAR}`,
//! `${{ secrets.VAR }}`. What only the host knows cannot be shared.

use super::super::diagnostic::Notes;
use super::super::yaml::{Node, Value};

/// Translates all texts in `node`.
///
/// # Errors
/// One of them depends on the host or its project; which.
pub(super) fn translate(notes: &Notes<'_>, node: &mut Node) -> Result<(), String> {
    match &mut node.value {
        Value::Scalar { text, .. } => *text = translated(text, &|name| notes.variable(name).is_some())?,
        Value::List(items) => items.iter_mut().try_for_each(|item| translate(notes, item))?,
        Value::Map(entries) => entries.iter_mut().try_for_each(|entry| translate(notes, &mut entry.node))?,
    }
    Ok(())
}

fn translated(text: &str, is_set: &dyn Fn(&str) -> bool) -> Result<String, String> {
    let mut own = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['$', '{']) {
        own.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = if let Some(inside) = inside(rest, "${{", "}}") {
            let name = inside.trim().trim_start_matches("secrets.").trim_start_matches("env.");
            own.push_str(&format!("${{env:{name}}}"));
            inside.len() + 5
        } else if let Some(inside) = inside(rest, "${", "}") {
            own.push_str(&reference(inside, is_set)?);
            inside.len() + 3
        } else if let Some(name) = inside(rest, "{env:", "}") {
            own.push_str(&format!("${{env:{name}:-}}"));
            name.len() + 6
        } else if let Some(path) = inside(rest, "{file:", "}") {
            own.push_str(&format!("${{file:{path}}}"));
            path.len() + 7
        } else {
            let name = rest[1..]
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .map_or(&rest[1..], |end| &rest[1..=end]);
            let known = rest.starts_with('$') && name.starts_with(|c: char| !c.is_ascii_digit()) && is_set(name);
            own.push_str(&if known { format!("${{env:{name}}}") } else { rest[..1].to_owned() });
            if known { name.len() + 1 } else { 1 }
        };
        rest = &rest[length..];
    }
    own.push_str(rest);
    Ok(own)
}

/// What stands between two marks at the front.
fn inside<'t>(text: &'t str, opens: &str, closes: &str) -> Option<&'t str> {
    let rest = text.strip_prefix(opens)?;
    rest.find(closes).map(|end| &rest[..end])
}

/// What stands for `${inside}`.
fn reference(inside: &str, is_set: &dyn Fn(&str) -> bool) -> Result<String, String> {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let of_a_project =
        ["workspaceFolder", "workspaceRoot", "cwd", "file", "relativeFile", "CLAUDE_PROJECT_DIR", "extensionPath"];
    let (name, default) = inside.split_once(":-").map_or((inside, None), |(name, default)| (name, Some(default)));
    if of_a_project.iter().any(|word| inside.split([':', '/']).next() == Some(word) && !inside.starts_with("file:/")) {
        return Err(format!("`${{{inside}}}` is another directory in each project, so it cannot be shared"));
    }
    if inside.starts_with("input:") {
        return Err(format!("`${{{inside}}}` is asked by its host, which keeps it; write `${{env:NAME}}`"));
    }
    match inside {
        "userHome" => Ok("${env:HOME}".to_owned()),
        _ if inside.starts_with("env:") || inside.starts_with("file:/") => Ok(format!("${{{inside}}}")),
        _ if is_name(name) && (default.is_some() || is_set(name)) => Ok(format!("${{env:{inside}}}")),
        // Hosts leave it as it is, too.
        _ if is_name(name) => Ok(format!("$${{{inside}}}")),
        _ => Err(format!("only its host knows what `${{{inside}}}` stands for")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        translated(text, &|name| matches!(name, "SET" | "HOME"))
    }

    #[test]
    fn what_hosts_write_in_the_words_of_mcpool() {
        for (theirs, own) in [
            ("${SET}/x", "${env:SET}/x"),
            ("a$SET.b", "a${env:SET}.b"),
            ("${NO:-dflt}", "${env:NO:-dflt}"),
            ("${env:NO}", "${env:NO}"),
            ("{env:NO}", "${env:NO:-}"),
            ("${{ secrets.NO }}", "${env:NO}"),
            ("${userHome}/x", "${env:HOME}/x"),
            ("{file:/run/x} ${file:/run/y}", "${file:/run/x} ${file:/run/y}"),
            ("${NO} $NO $5 {} $", "$${NO} $NO $5 {} $"),
            ("{\"json\": {}}", "{\"json\": {}}"),
        ] {
            assert_eq!(read(theirs).as_deref(), Ok(own), "{theirs}");
        }
        for theirs in ["${workspaceFolder}/x", "${input:key}", "${command:x.y}", "${workspaceFolder:api}", "${file}"] {
            assert!(read(theirs).is_err(), "{theirs}");
        }
    }
}
