//! The help of the options that every command accepts ([`CommonArgs`](super::CommonArgs)): a command's help shows them
//! only if they act there. They stay accepted everywhere, so that a wrapper script can pass them to any command.

use clap::{Arg, ArgAction, Command};

/// The options to show in a command's help. `path` has the names of the command and its parents, without the program.
fn effective_options(path: &[&str]) -> &'static [&'static str] {
    match path {
        [] | ["run" | "validate" | "check" | "setup" | "print-config"] => &["config", "data_dir", "listen"],
        ["report" | "top" | "tap" | "alerts", ..] | ["vault", "erase"] => &["config", "data_dir", "listen"],
        ["explain" | "redact" | "test"] | ["spool"] | ["spool", "list" | "peek" | "deliver"] => &["config", "data_dir"],
        ["spool", ..] => &["config", "data_dir", "listen"],
        ["rates", "show"] | ["vault", "replay" | "doctor" | "policy"] => &["config", "data_dir"],
        ["demo"] => &["data_dir"],
        _ => &[],
    }
}

/// Hides the options that have no effect from the help of each command.
pub(super) fn hide_ineffective_options(command: Command) -> Command {
    let globals: Vec<Arg> = command.get_arguments().filter(|arg| arg.is_global_set()).cloned().collect();
    let names: Vec<String> = command.get_subcommands().map(|subcommand| subcommand.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(&name, |subcommand| hide_in_subcommand(subcommand, &globals, &[&name]))
    })
}

fn hide_in_subcommand(command: Command, globals: &[Arg], path: &[&str]) -> Command {
    let shown = effective_options(path);
    let hidden = globals.iter().filter(|arg| !shown.contains(&arg.get_id().as_str()));
    // An argument of the command itself takes the place of the global one with the same id.
    let command = command.args(hidden.map(|arg| arg.clone().hide(true)));
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| {
        let path: Vec<&str> = path.iter().copied().chain([name.as_str()]).collect();
        command.mut_subcommand(&name, |sub| hide_in_subcommand(sub, globals, &path))
    })
}

/// The command without hidden options, for completions, which would offer them.
pub(super) fn without_hidden_options(mut command: Command) -> Command {
    command.build();
    copy_visible(&command)
}

/// clap needs names that live as long as the process; the process ends after printing the completions.
fn leak(name: &str) -> &'static str {
    Box::leak(name.to_owned().into_boxed_str())
}

fn copy_visible(command: &Command) -> Command {
    let is_builtin = |arg: &Arg| {
        matches!(arg.get_action(), ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version)
    };
    let visible = command.get_arguments().filter(|arg| !arg.is_hide_set() && !is_builtin(arg));
    // Conflicts and requirements between options are not copied: completions don't use them, and they may name hidden
    // options.
    let copies = visible.map(|arg| {
        let mut copy = Arg::new(arg.get_id().clone()).action(arg.get_action().clone()).global(false);
        copy = copy.value_hint(arg.get_value_hint()).value_parser(arg.get_value_parser().clone());
        if let Some(help) = arg.get_help() {
            copy = copy.help(help.clone());
        }
        if let Some(long) = arg.get_long() {
            copy = copy.long(leak(long));
        }
        if let Some(short) = arg.get_short() {
            copy = copy.short(short);
        }
        copy
    });
    let mut copy = Command::new(leak(command.get_name())).args(copies.collect::<Vec<_>>());
    if let Some(about) = command.get_about() {
        copy = copy.about(about.clone());
    }
    let subcommands = command.get_subcommands().filter(|sub| sub.get_name() != "help").map(copy_visible);
    copy.subcommands(subcommands.collect::<Vec<_>>())
}
