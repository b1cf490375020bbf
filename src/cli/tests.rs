//! Commands and flags, held to the manual.

use clap::CommandFactory;

use super::Cli;

#[test]
fn the_manual_tells_of_every_command_and_flag() {
    let manual = include_str!("../../docs/operating.md");
    let (_, told) = manual.split_once("\n## Commands\n").expect("a section");
    let (told, _) = told.split_once("\n## ").expect("a section behind it");
    let cli = Cli::command();
    let shown = cli.get_subcommands().filter(|command| !command.is_hide_set());
    let mut wanted = Vec::new();
    for command in shown {
        let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        match names.as_slice() {
            [] => wanted.push(format!("`{}", command.get_name())),
            names => wanted.extend(names.iter().map(|name| format!("`{} {name}", command.get_name()))),
        }
        let flags = command.get_arguments().filter(|flag| !flag.is_hide_set());
        wanted.extend(flags.filter_map(|flag| Some(format!("--{}", flag.get_long()?))));
    }
    wanted.retain(|wanted| !told.contains(wanted.as_str()));
    assert!(wanted.is_empty(), "docs/operating.md, \"Commands\", does not tell of {wanted:?}");
}
