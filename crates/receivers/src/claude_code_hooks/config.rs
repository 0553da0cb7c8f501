//! The `claude_code_hooks` receiver's stanza and its checked [`ClaudeCodeHooksSettings`]. Every wait has a limit. `mod`
//! opens the port.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::hook_answers::ANSWER_TABLE;
use super::save_work::SaveWork;
use crate::http_ports::auth_config::{AuthConfig, UNPROTECTED, check_credentials, read_auth};
use crate::http_ports::{ReceiverPortView, ReceiverPortsView, SettingsProblems, auth};
use config::{ByteSize, FieldProblem, PortTls, TimeSpan};
use kernel::secret::Secret;
use net::{BodyLimits, Endpoint, listen, server_tls};

/// Maximum time to receive one body, and the longest pause within it.
const READ_TIMES: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));
/// Longest `answer_within`: agents wait for it.
const MAX_ANSWER_TIME: Duration = Duration::from_secs(60);
const DEFAULT_SAVE_WORK: [&str; 5] = ["git add", "git commit", "git stash", "git status", "git push"];

kernel::with_defaults! {
    /// Receives the events of Claude Code's HTTP hooks, each as a span of the pipelines for traces. With `budgets`, an
    /// answer can stop the agent; agents of other makers and proxies ask on the same port. An answer never waits longer
    /// than `answer_within` for a commit.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct ClaudeCodeHooksConfig {
        /// Address to listen on: `host:port`, or `unix:/path`. With port 0 the system chooses a free port, which the
        /// log names. Default: `127.0.0.1:4319`, the port after those of OTLP.
        pub endpoint: String = "127.0.0.1:4319".to_owned(),
        /// The path that hooks of Claude Code post to. Default: `/v1/hooks/claude-code`.
        pub path: String = "/v1/hooks/claude-code".to_owned(),
        /// Who may send, and as which account; a hook sets the header `authorization` in its `headers`. Without it
        /// every client may send, as account `default`.
        pub auth: Option<AuthConfig>,
        /// Bearer tokens of each account that may only ask budgets, at `/v1/budget` and with hooks other than those of
        /// Claude Code, and can send no telemetry. Requires `auth`, whose senders may ask too.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub budget_tokens: BTreeMap<String, Vec<Secret>>,
        /// Commands by which an agent saves its work when a budget has stopped it. Only a single command counts,
        /// without operators, redirections or substitutions; of the defaults with harmless options, of any other
        /// exactly as it is written here. Default: `git add`, `commit`, `stash`, `status` and `push`.
        pub save_work: Vec<String> = DEFAULT_SAVE_WORK.map(str::to_owned).to_vec(),
        /// Certificate and key. Without this key the port serves plain text.
        pub tls: Option<PortTls>,
        /// How long a complete event may take to be stored before the hook is answered with 503; it is stored all the
        /// same if the gateway can. An answer that stops the agent is given after this time in any case. Default: 500
        /// ms.
        pub answer_within: TimeSpan = TimeSpan(Duration::from_millis(500)),
        /// Largest body of an event; a larger one is answered with 413. Default: 32 MiB.
        pub max_request_body_size: ByteSize = ByteSize::mib(32),
        /// Maximum number of connections. Beyond it a new connection replaces an idle one, or else a slow upload; if
        /// there is neither, the new one is closed. Default: 1024.
        pub max_connections: u32 = 1024,
    }
}

/// The receiver's checked settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaudeCodeHooksSettings {
    /// Address to listen on.
    pub endpoint: Endpoint,
    pub path: String,
    /// Who may send; `None`: anyone.
    pub auth: Option<auth::AuthSettings>,
    /// Who may only ask.
    pub(super) askers: Option<auth::AuthSettings>,
    /// The commands that stay allowed at a limit.
    pub(super) save_work: SaveWork,
    /// How often the tokens file is checked for changes.
    pub reload: Duration,
    /// Certificate and key, if the port uses TLS.
    pub tls: Option<server_tls::ServerTlsSettings>,
    /// How long a complete event may take to be stored before it is answered.
    pub answer_within: Duration,
    /// Size and time limits of one body.
    pub limits: BodyLimits,
    /// Limits and timers of connections.
    pub connections: listen::PortSettings,
    /// Notes on settings that are valid but that the user should know about.
    pub notes: Vec<FieldProblem>,
}

impl ClaudeCodeHooksSettings {
    pub fn ports(&self) -> ReceiverPortsView<'_> {
        let port = ReceiverPortView { field: "", endpoint: &self.endpoint, tls: self.tls.as_ref() };
        ReceiverPortsView { ports: vec![port], auth: self.auth.as_ref() }
    }

    /// The size of an OTLP request that takes as much memory as the largest event, in bytes: an OTLP request is held
    /// twice while it is read, an event three times.
    pub fn largest_request(&self) -> usize {
        self.limits.wire.max(self.limits.inflated).div_ceil(2).saturating_mul(3)
    }

    /// Lowers the limit of a body so that the largest event takes no more memory than an OTLP request of `bytes`;
    /// returns whether it was higher.
    pub fn cap_request_size(&mut self, bytes: usize) -> bool {
        let bytes = bytes / 3 * 2;
        let lowered = self.limits.wire.max(self.limits.inflated) > bytes;
        (self.limits.wire, self.limits.inflated) = (self.limits.wire.min(bytes), self.limits.inflated.min(bytes));
        lowered
    }
}

impl ClaudeCodeHooksConfig {
    /// Validates the stanza.
    ///
    /// # Errors
    /// Every problem, with its path inside the component.
    pub fn settings(&self) -> Result<ClaudeCodeHooksSettings, Vec<FieldProblem>> {
        let mut problems = SettingsProblems::default();
        let endpoint = problems.keep_endpoint("endpoint", Endpoint::parse(&self.endpoint));
        if !self.path.starts_with('/') || self.path.contains(['?', '#', ' ']) {
            problems.add("path", "must be a path that starts with `/`, without a query");
        }
        let checks_clients = self.tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some());
        let (auth, reload) = read_auth(self.auth.as_ref(), checks_clients, &mut problems);
        let askers = self.read_askers(&mut problems);
        let save_work = SaveWork::read(&self.save_work, &ANSWER_TABLE.save_work).unwrap_or_else(|index| {
            let what = "must be one simple command, such as `git commit`, without quotes and operators";
            problems.add(&format!("save_work[{index}]"), what);
            SaveWork::default()
        });
        let tls = self.tls.as_ref().map(|tls| problems.check_tls("tls", tls));
        let answer_within = problems.check_span("answer_within", self.answer_within);
        if answer_within > MAX_ANSWER_TIME {
            problems.add("answer_within", "must be at most 60s: the agent waits for the answer");
        }
        let bytes = problems.check_size("max_request_body_size", self.max_request_body_size.0);
        let (total, idle) = READ_TIMES;
        let connections = listen::PortSettings {
            max_connections: problems.check_count("max_connections", self.max_connections) as usize,
            ..listen::PortSettings::default()
        };
        let mut notes = Vec::new();
        if self.auth.is_none() && endpoint.as_ref().is_some_and(|at| !at.is_local()) {
            notes.push(FieldProblem::new("endpoint", UNPROTECTED));
        }
        let Some(endpoint) = endpoint else { return problems.into_problems() };
        problems.into_result(ClaudeCodeHooksSettings {
            endpoint,
            path: self.path.clone(),
            auth,
            askers,
            save_work,
            reload,
            tls,
            answer_within,
            limits: BodyLimits { wire: bytes, inflated: bytes, idle, total },
            connections,
            notes,
        })
    }

    /// Who may only ask. A token that is also a sender's would send telemetry after all.
    fn read_askers(&self, problems: &mut SettingsProblems) -> Option<auth::AuthSettings> {
        let tokens = check_credentials("budget_tokens", "token", &self.budget_tokens, auth::check_token, problems);
        if tokens.is_empty() {
            return None;
        }
        let Some(auth) = &self.auth else {
            problems.add("budget_tokens", "requires `auth`: without it everyone may send and ask");
            return None;
        };
        let of_users = auth.users.values().flat_map(|user| &user.tokens);
        let mut of_senders = auth.tokens.values().flatten().chain(of_users);
        if of_senders.any(|sender| tokens.iter().any(|(_, token)| token.expose() == sender.expose())) {
            problems.add("budget_tokens", "has a token that is also in `auth`, so it could send telemetry");
        }
        Some(auth::AuthSettings { tokens, ..auth::AuthSettings::default() })
    }
}
