//! The flags of `mainstay run` and `mainstay manager`, made from the table.

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::layer::Layer;
use super::table::{GROUPS, Group, Key, Kind, Setting, settings};

/// The flags, as a set of clap's arguments.
#[derive(Clone, Debug, Default)]
pub struct SettingFlags(pub Layer);

impl clap::Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let of =
            |group: &'static Group| group.settings.iter().filter_map(|setting| arg(setting, group.title));
        command.args(GROUPS.iter().flat_map(of))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in settings().filter(|setting| setting.is_for_agents()) {
            let Some(flag) = setting.flag() else { continue };
            if let Some(text) = matches.get_one::<String>(flag) {
                self.0 = std::mem::take(&mut self.0).with_flag(setting.key, text);
            }
        }
        Ok(())
    }
}

/// The flag of a setting that has one.
fn arg(setting: &'static Setting, heading: &'static str) -> Option<Arg> {
    let flag = setting.flag().filter(|_| setting.is_for_agents())?;
    let arg = Arg::new(flag)
        .long(flag)
        .aliases(&setting.flags[1..])
        .action(ArgAction::Set)
        .help(help(setting))
        // `-h` is for what works; `--help` shows all.
        .hide_short_help(!setting.verdict.is_heeded())
        .help_heading(heading);
    let arg = match setting.key {
        Key::Namespace => arg.short('n'),
        Key::ConfigMap => arg.short('c'),
        _ => arg,
    };
    Some(match setting.kind {
        Kind::Switch => {
            arg.value_name("BOOL").num_args(0..=1).require_equals(true).default_missing_value("true")
        }
        kind => arg.value_name(kind.placeholder()).allow_hyphen_values(setting.key == Key::LogLevel),
    })
}

/// What it does, what becomes of it, its default and its variable.
fn help(setting: &Setting) -> String {
    let mut text = setting.help.to_owned();
    if !setting.verdict.reason().is_empty() {
        text += &format!(" ({}: {})", setting.verdict.word(), setting.verdict.reason());
    }
    if !setting.default.is_empty() && !setting.is_switch() {
        text += &format!(" [default: {}]", setting.default);
    }
    if let Some(variable) = setting.environment.first() {
        text += &format!(" [env: {variable}]");
    }
    text
}
