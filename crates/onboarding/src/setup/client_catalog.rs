//! [`ClientCatalog`]: config/clients.yaml, the table of clients that `setup` and `check --client` know. The head of the
//! file explains its fields.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use super::settings_file::{FileFormat, SettingChange};
use command::error::CommandError;
use config::env;
use receivers::claude_code_hooks::map_texts;

const BUILTIN: &str = include_str!("../../../../config/clients.yaml");

#[derive(Deserialize)]
pub struct ClientCatalog {
    pub clients: Vec<ClientEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientEntry {
    /// The name on the command line.
    pub name: String,
    /// The name in sentences.
    pub(super) title: String,
    #[serde(default)]
    pub(super) dialects: Vec<String>,
    #[serde(default)]
    services: Vec<String>,
    #[serde(default)]
    languages: Vec<String>,
    pub(super) protocols: Vec<ClientProtocol>,
    /// None for a client that is set up in its vendor's console.
    pub(super) file: Option<ClientFile>,
    pub settings: Vec<ClientSetting>,
    #[serde(default)]
    pub environment: Vec<ClientSetting>,
    authorization: Vec<String>,
    #[serde(default)]
    steps: Vec<ClientStep>,
    /// None for a client that no hook can stop.
    budgets: Option<ClientBudgets>,
}

/// The hooks by which budgets stop a client.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientBudgets {
    file: Option<ClientFile>,
    settings: Vec<ClientSetting>,
    #[serde(default)]
    environment: Vec<ClientSetting>,
    steps: Vec<ClientStep>,
}

/// A protocol that a client can send.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientProtocol {
    /// The name in `OTEL_EXPORTER_OTLP_PROTOCOL`.
    pub(super) name: String,
    /// The client's own name.
    wire: Option<String>,
}

/// Where protocols differ for a receiver.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ProtocolFamily {
    Http,
    Grpc,
}

impl ClientProtocol {
    pub(super) fn family(&self) -> ProtocolFamily {
        if self.name == "grpc" { ProtocolFamily::Grpc } else { ProtocolFamily::Http }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientFile {
    pub(super) format: FileFormat,
    /// The folder below the home folder. A program of the user's own has none.
    folder: Option<String>,
    /// The variable by which users move the folder.
    variable: Option<String>,
    /// The name of the file in the folder, and other names under which it may be there.
    pub(super) names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientSetting {
    /// The keys from the file's top level, with dots; or the name of a variable.
    pub at: String,
    value: Option<Value>,
    off: Option<Value>,
    #[serde(default)]
    keep: bool,
    only: Option<ProtocolFamily>,
    #[serde(default)]
    replaces_text: bool,
    unless: Option<String>,
    /// The signals and parts of content that it turns on.
    #[serde(default)]
    pub sends: Vec<String>,
}

impl ClientSetting {
    pub fn is_for_grpc(&self) -> bool {
        self.only == Some(ProtocolFamily::Grpc)
    }

    /// The value as a user writes it, without what only a configuration knows.
    pub fn shown_value(&self) -> Option<String> {
        match self.value.as_ref()? {
            Value::String(text) if text.contains('{') => None,
            Value::String(text) => Some(text.clone()),
            value => Some(value.to_string()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientStep {
    only: Option<ProtocolFamily>,
    lines: Vec<String>,
}

/// The requirements of the gateway's receiver.
pub(super) struct SetupTarget<'c> {
    /// Base URL, without a path of a signal.
    pub(super) endpoint: String,
    pub(super) protocol: &'c ClientProtocol,
    /// The scheme of the credential, if the receiver wants one.
    pub(super) scheme: Option<&'static str>,
}

impl SetupTarget<'_> {
    fn fill_in(&self, text: &str) -> String {
        let wire = self.protocol.wire.as_deref().unwrap_or(&self.protocol.name);
        let text = text.replace("{endpoint}", &self.endpoint).replace("{protocol}", &self.protocol.name);
        text.replace("{wire}", wire).replace("{scheme}", self.scheme.unwrap_or("Bearer"))
    }

    fn applies(&self, only: Option<ProtocolFamily>) -> bool {
        only.is_none_or(|family| family == self.protocol.family())
    }
}

impl ClientCatalog {
    /// Reads the embedded table.
    ///
    /// # Errors
    /// The table is invalid, which a test rules out.
    pub fn builtin() -> Result<Self, CommandError> {
        config::load::parse_data("clients.yaml", BUILTIN).map_err(|problem| CommandError::Failed(problem.to_string()))
    }

    /// The client of this name; `of_budgets`: with the hooks of budgets in place of its telemetry.
    ///
    /// # Errors
    /// There is none, or no hook can stop it.
    pub(super) fn into_client(self, name: &str, of_budgets: bool) -> Result<ClientEntry, CommandError> {
        let known = self.clients.iter().map(|client| format!("`{}`", client.name)).collect::<Vec<_>>().join(", ");
        let client = self.clients.into_iter().find(|client| client.name == name);
        let unknown = || CommandError::Usage(format!("there is no client of this name; known are {known}"));
        let mut client = client.ok_or_else(unknown)?;
        if of_budgets {
            let what =
                "no hook can stop this client: let a proxy in front of its model ask (docs/how-to/budgets-proxies.md)";
            let budgets = client.budgets.take().ok_or_else(|| CommandError::Usage(what.to_owned()))?;
            (client.settings, client.environment, client.steps) =
                (budgets.settings, budgets.environment, budgets.steps);
            (client.file, client.authorization) = (budgets.file.or(client.file), Vec::new());
            client.name.push_str(" --budgets");
        }
        Ok(client)
    }

    /// The client that sends under this service name, or else with this dialect, or else with an SDK of this language.
    pub fn recognise(&self, dialect: &str, service: &str, language: &str) -> Option<&ClientEntry> {
        let find = |names: fn(&ClientEntry) -> &[String], name: &str| {
            self.clients.iter().find(|client| names(client).iter().any(|known| known == name))
        };
        find(|client| &client.services, service)
            .or_else(|| find(|client| &client.dialects, dialect))
            .or_else(|| find(|client| &client.languages, language))
    }
}

impl ClientEntry {
    pub(super) fn file_changes(&self, target: &SetupTarget<'_>, with_content: bool) -> Vec<SettingChange> {
        to_changes(&self.settings, target, with_content)
    }

    /// The fields of the vendor's console.
    pub(super) fn console_lines(changes: &[SettingChange]) -> Vec<String> {
        let line =
            |change: &SettingChange| Some(format!("{}: {}", change.path.join("."), change.value.as_ref()?.as_str()?));
        changes.iter().filter_map(line).collect()
    }

    /// Variables that no file of the client holds, as shell commands.
    pub(super) fn shell_lines(&self, target: &SetupTarget<'_>) -> Vec<String> {
        let changes = to_changes(&self.environment, target, true);
        let line =
            |change: SettingChange| Some(format!("export {}={}", change.path.join("."), change.value?.as_str()?));
        changes.into_iter().filter_map(line).collect()
    }

    /// The lines that name the credential; none if the receiver wants none.
    pub(super) fn authorization_lines(&self, target: &SetupTarget<'_>) -> Vec<String> {
        let lines = self.authorization.iter().filter(|_| target.scheme.is_some());
        lines.map(|line| target.fill_in(line)).collect()
    }

    /// The commands and lines of code that the program needs besides.
    pub(super) fn step_lines(&self, target: &SetupTarget<'_>) -> Vec<String> {
        let steps = self.steps.iter().filter(|step| target.applies(step.only));
        steps.flat_map(|step| &step.lines).map(|line| target.fill_in(line)).collect()
    }

    /// The settings file; `None` for a program of the user's own, and for a vendor's console.
    ///
    /// # Errors
    /// The home folder is not known.
    pub(super) fn settings_path(&self) -> Result<Option<PathBuf>, CommandError> {
        let Some(file) = &self.file else { return Ok(None) };
        let Some(folder) = &file.folder else { return Ok(None) };
        let variable = |name: &str| env::var(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = || variable("HOME").map(|home| home.join(folder));
        let folder = file.variable.as_deref().and_then(variable).or_else(home);
        let folder = folder.ok_or("the variable HOME is not set: name the settings file with `--file`")?;
        let mut paths = file.names.iter().map(|name| folder.join(name));
        let first = paths.next();
        let existing = first.iter().cloned().chain(paths).find(|path| path.symlink_metadata().is_ok());
        Ok(existing.or(first))
    }
}

fn to_changes(settings: &[ClientSetting], target: &SetupTarget<'_>, with_content: bool) -> Vec<SettingChange> {
    let applying = settings.iter().filter(|setting| target.applies(setting.only));
    let to_change = |setting: &ClientSetting| {
        let is_off = !with_content && setting.off.is_some();
        let value = if is_off { setting.off.as_ref() } else { setting.value.as_ref() };
        let value = value.map(|value| map_texts(value, &|text| target.fill_in(text)));
        SettingChange {
            path: setting.at.split('.').map(str::to_owned).collect(),
            value,
            keep: setting.keep && !is_off,
            replaces_text: setting.replaces_text,
            unless: setting.unless.clone(),
        }
    };
    applying.map(to_change).collect()
}
