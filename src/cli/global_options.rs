//! The options that every command accepts ([`CommonArgs`]), and on which commands they act: the help of a command shows
//! those that act on it. All but `--listen` stay accepted everywhere, so that a wrapper script can pass them to any
//! command.

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::common::CommonArgs;
use command::error::CommandError;

/// The options that act on a command. `path` has the names of the command and its parents, without the program.
fn effective_options(path: &[&str]) -> &'static [&'static str] {
    match path {
        [] | ["run" | "validate" | "check" | "setup" | "print-config"] => &["config", "data_dir", "listen"],
        ["report" | "top" | "tap" | "alerts" | "budgets", ..] => &["config", "data_dir", "listen"],
        ["vault", "erase"] | ["fleet", "drain"] => &["config", "data_dir", "listen"],
        ["explain" | "redact" | "test"] | ["spool"] | ["spool", "list" | "peek" | "deliver"] => &["config", "data_dir"],
        ["spool", "replay" | "reassign" | "drop"] => &["config", "data_dir", "listen"],
        ["rates", "show"] | ["vault", "replay" | "doctor" | "policy"] => &["config", "data_dir"],
        ["fleet", "status"] | ["bill", "reconcile" | "focus" | "forecast"] => &["config"],
        ["demo"] => &["data_dir"],
        _ => &[],
    }
}

/// Refuses `--listen` for commands on which it has no effect.
///
/// # Errors
/// The command does not use the ports of the embedded default.
pub(super) fn check_listen(matches: &ArgMatches, common: &CommonArgs) -> Result<(), CommandError> {
    let called = std::iter::successors(matches.subcommand(), |(_, inner)| inner.subcommand());
    let path: Vec<&str> = called.map(|(name, _)| name).collect();
    let why = match &common.config {
        _ if common.listen.is_none() => return Ok(()),
        Some(_) => "with --config, set each `endpoint` in the file",
        None if effective_options(&path).contains(&"listen") => return Ok(()),
        None => "this command does not use its ports",
    };
    Err(CommandError::Usage(format!("--listen is for the embedded default: {why}")))
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
    // An argument of the command itself takes the place of the global one, and of its parent's, with the same id.
    let own = globals.iter().map(|arg| arg.clone().hide(!shown.contains(&arg.get_id().as_str())));
    let command = command.args(own);
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
