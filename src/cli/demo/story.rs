//! [`DemoStory`]: the texts of the demo, one sentence per event. Incoming data may be shown because it is the demo's
//! own; outgoing data is read from the exporter's file. Layout is in `screen`, checks are in `check`, `costs` and
//! `opened_content`.

use std::path::Path;
use std::time::Duration;

use rust_decimal::Decimal;

use crate::cli::config_loading::TRYOUT_KEY;
use kernel::terminal::format_bytes;
use otlp::Signal;

use super::captured::{CapturedItem, CapturedTelemetry};
use super::check::{self, LeakSearch};
use super::costs::SessionCosts;
use super::gateway::DemoGateway;
use super::opened_content::OpenedContent;
use super::screen::{StoryScreen, StyledText, TextRole};
use super::session::{ADDED_SECRETS, ADDED_SPAN, CLIENT};

/// The items shown, and which of their attributes.
const SHOWN_ITEMS: [(&str, &[&str]); 5] = [
    ("user_prompt", &["session.id", "prompt", "gen_ai.input.messages_ref", "tollgate.run.id"]),
    ("claude_code.tool", &["tool_name", "full_command", "tool.output/output", "duration_ms"]),
    ("api_request", &["model", "tollgate.cost.usd"]),
    ("assistant_response", &["response"]),
    (ADDED_SPAN, &["url.full", "exception/exception.message", "retry.note", "http.request.header.authorization"]),
];
/// Columns of attribute names on a normal and on a narrow screen.
const NAME_COLUMNS: (usize, usize) = (28, 22);
/// Columns of a call's id, its model, and its numbers.
const CALL_COLUMNS: usize = 24;
const MODEL_COLUMNS: usize = 17;
const NUMBER_COLUMNS: [usize; 6] = [6, 6, 7, 6, 11, 11];
/// Indent of the details of a step.
const DETAIL_INDENT: usize = 3;

/// Prints the story.
pub(super) struct DemoStory {
    screen: StoryScreen,
    step: u32,
}

impl DemoStory {
    /// A story on this screen.
    pub(super) fn new(screen: StoryScreen) -> Self {
        Self { screen, step: 0 }
    }

    /// Whether the reader is still there.
    pub(super) fn has_reader(&self) -> bool {
        self.screen.is_open()
    }

    /// Prints the title.
    pub(super) fn show_title(&mut self) {
        let title = format!("tollgate {} demo", env!("CARGO_PKG_VERSION"));
        self.screen.print_wrapped(0, &StyledText::styled(TextRole::Title, &title));
        let introduction = "A recorded session of a real coding agent goes through a real gateway, which runs in this \
                    process. Nothing leaves the machine.";
        self.screen.print_wrapped(0, &StyledText::styled(TextRole::Dim, introduction));
    }

    fn start_step(&mut self, text: &str) {
        self.step += 1;
        self.screen.print_blank_line();
        let width = self.screen.width().saturating_sub(DETAIL_INDENT);
        self.screen.print_row(
            0,
            usize::MAX,
            &[
                (1, StyledText::styled(TextRole::Title, &self.step.to_string())),
                (width, StyledText::styled(TextRole::Title, text)),
            ],
        );
    }

    fn show_fact(&mut self, name: &str, text: StyledText) {
        let width = self.screen.width().saturating_sub(DETAIL_INDENT + 10);
        self.screen.print_row(
            DETAIL_INDENT,
            usize::MAX,
            &[(8, StyledText::styled(TextRole::Dim, name)), (width, text)],
        );
    }

    /// Shows where the gateway runs.
    pub(super) fn show_start(&mut self, gateway: &DemoGateway, directory: &Path, keep: bool) {
        self.start_step("A gateway with the default configuration starts in a fresh directory.");
        let removal_note = if keep { "" } else { "  (removed at the end)" };
        self.show_fact("data", StyledText::plain(&directory.display().to_string()).append(TextRole::Dim, removal_note));
        let http = format!("http://{}", gateway.http);
        let port_note = if gateway.uses_other_ports { "  (the default ports are in use)" } else { "" };
        let grpc = format!("{}", gateway.grpc);
        let text =
            StyledText::styled(TextRole::Link, &http).append(TextRole::Dim, "  gRPC ").append(TextRole::Link, &grpc);
        self.show_fact("OTLP", text.append(TextRole::Dim, port_note));
        self.show_fact("page", StyledText::styled(TextRole::Link, &format!("http://{}/", gateway.admin)));
    }

    /// Shows that all requests were sent and acknowledged.
    pub(super) fn show_sent(&mut self, incoming: &CapturedTelemetry, requests: usize, slowest: Duration) {
        self.start_step(&format!("{CLIENT} sends its telemetry: OTLP/HTTP, with new ids and current times."));
        let counts = format!(
            "{requests} requests, {} spans, {} log records, {} data points",
            incoming.count(Signal::Traces),
            incoming.count(Signal::Logs),
            incoming.count(Signal::Metrics)
        );
        self.show_fact("sent", StyledText::plain(&counts));
        let durability =
            format!("each sent after the data was encrypted on disk; the slowest took {} ms", slowest.as_millis());
        self.show_fact("answers", StyledText::plain("200 OK, ").append(TextRole::Plain, &durability));
    }

    /// Compares what came in with what went out.
    pub(super) fn show_comparison(
        &mut self,
        incoming: &CapturedTelemetry,
        outgoing: &CapturedTelemetry,
        missing: &[String],
    ) {
        self.start_step("Incoming data compared with the data an exporter to a third party received.");
        let name_width = if self.screen.width() < 96 { NAME_COLUMNS.1 } else { NAME_COLUMNS.0 };
        let side_width = (self.screen.width().saturating_sub(DETAIL_INDENT + name_width + 4)) / 2;
        let heads = ["", "came in", "went out"].map(|head| StyledText::styled(TextRole::Dim, head));
        let [key, left, right] = heads;
        self.screen.print_row(DETAIL_INDENT, 1, &[(name_width, key), (side_width, left), (side_width, right)]);
        for (name, keys) in SHOWN_ITEMS {
            let Some(item) = incoming.items().find(|item| item.name() == name) else { continue };
            let exported = outgoing.find_same(item);
            let added_note = if name == ADDED_SPAN { "  (added by the demo)" } else { "" };
            let head = StyledText::styled(TextRole::Title, name)
                .append(TextRole::Dim, &format!(" {}{added_note}", item.kind()));
            self.screen.print_row(DETAIL_INDENT, 1, &[(self.screen.width() - DETAIL_INDENT, head)]);
            for path in keys {
                let (before, after) = (item.text(path), exported.and_then(|exported| exported.text(path)));
                if before.is_none() && after.is_none() {
                    continue;
                }
                let key = path.split_once('/').map_or(*path, |(_, key)| key);
                let (left, right) = format_sides(before.as_deref(), after.as_deref(), exported, side_width);
                let key = StyledText::styled(TextRole::Dim, key).elide(name_width - 2);
                // Content is shown only in part; redacted text is shown completely.
                let max_lines = if after.is_none() { 2 } else { 4 };
                self.screen.print_row(
                    DETAIL_INDENT + 2,
                    max_lines,
                    &[(name_width - 2, key), (side_width, left), (side_width, right)],
                );
            }
        }
        if !missing.is_empty() {
            let lost = format!("{} incoming records were not exported: {}", missing.len(), missing.join(", "));
            self.show_verdict(false, &lost);
        }
    }

    /// Shows the cost of each call.
    pub(super) fn show_prices(&mut self, costs: &SessionCosts) {
        self.start_step("Each model call is priced once; the client's own figure must agree.");
        let headings = ["call", "model", "input", "cached", "written", "output", "tollgate $", "client $"];
        self.show_call_row(headings.map(|name| (name, TextRole::Dim)));
        for call in &costs.calls {
            let [input, read, written, output] = &call.tokens;
            let tollgate_usd = call.usd().map_or_else(|| "none".to_owned(), |tollgate_usd| format_usd(&tollgate_usd));
            let client_usd = format_usd(&call.client_usd);
            let verdict = if call.agrees() { TextRole::Safe } else { TextRole::Wrong };
            let texts =
                [&call.request, &call.model, input, read, written, output].map(|text| (&**text, TextRole::Plain));
            let [request, model, input, read, written, output] = texts;
            let prices = [(&*tollgate_usd, verdict), (&*client_usd, TextRole::Plain)];
            let [tollgate_usd, client_usd] = prices;
            self.show_call_row([request, model, input, read, written, output, tollgate_usd, client_usd]);
        }
        for call in costs.calls.iter().filter(|call| call.tollgate_usd.len() > 1) {
            let parts = call.tollgate_usd.iter().map(format_usd).collect::<Vec<_>>().join(" + ");
            let text =
                format!("{}: {parts}: its span came first and was priced, its log added the remainder", call.request);
            self.screen.print_row(
                DETAIL_INDENT,
                2,
                &[(self.screen.width() - DETAIL_INDENT, StyledText::styled(TextRole::Dim, &text))],
            );
        }
        let (tollgate_usd, client_usd) = costs.totals();
        let rates = costs.rates.as_deref().unwrap_or("none");
        let summary = match costs.agrees() {
            true => {
                format!("{} USD, equal to the client's figure within 1e-9; rates {rates}", format_usd(&tollgate_usd))
            }
            false => {
                format!(
                    "{} USD, but the client reports {}; rates {rates}",
                    format_usd(&tollgate_usd),
                    format_usd(&client_usd)
                )
            }
        };
        self.show_verdict(costs.agrees(), &summary);
    }

    /// A row of the table of calls: names aligned left, numbers right.
    fn show_call_row(&mut self, texts: [(&str, TextRole); 8]) {
        let mut numbers = NUMBER_COLUMNS.iter();
        let name_width = self
            .screen
            .width()
            .saturating_sub(DETAIL_INDENT + NUMBER_COLUMNS.iter().map(|width| width + 2).sum::<usize>());
        let (call, model) = if name_width > CALL_COLUMNS + 2 {
            (name_width - MODEL_COLUMNS - 2, MODEL_COLUMNS)
        } else {
            (name_width, 0)
        };
        let mut cells = Vec::new();
        for (column, (text, role)) in texts.into_iter().enumerate() {
            let width = match column {
                0 => call.min(CALL_COLUMNS),
                1 if model == 0 => continue,
                1 => model,
                _ => numbers.next().copied().unwrap_or(0),
            };
            let pad = if column < 2 { 0 } else { width.saturating_sub(text.chars().count()) };
            cells.push((width, StyledText::plain(&" ".repeat(pad)).append(role, text).elide(width)));
        }
        self.screen.print_row(DETAIL_INDENT, 1, &cells);
    }

    /// Shows what the vault contains.
    pub(super) fn show_vault(&mut self, opened: &OpenedContent, auditor: &Path) {
        self.start_step("The content is in the vault, encrypted for an auditor; the gateway can't read it.");
        let mut previous_uri = None;
        for reference in opened.references.keys() {
            if previous_uri.replace(&reference.uri) != Some(&reference.uri) {
                let object = StyledText::styled(TextRole::Dim, "object    ").append(TextRole::Link, &reference.uri);
                self.screen.print_unwrapped(DETAIL_INDENT, &object);
            }
        }
        let keys: std::collections::BTreeSet<&str> =
            opened.references.keys().map(|reference| reference.key_id.as_str()).collect();
        self.show_fact("key", StyledText::plain(&keys.into_iter().collect::<Vec<_>>().join(" ")));
        let items: usize = opened.references.values().map(|(items, _)| items).sum();
        let bytes: u64 = opened.references.values().map(|(_, bytes)| bytes).sum();
        let counts = format!(
            "{bytes} bytes of {items} records, in {} fragments; {} bytes as stored",
            opened.references.len(),
            opened.stored
        );
        self.show_fact("holds", StyledText::plain(&counts));
        let name = auditor.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.show_fact("opened", StyledText::plain(&format!("with the try-out auditor's key, {name}:")));
        let width = self.screen.width().saturating_sub(DETAIL_INDENT + 10 + 14);
        for (speaker, key) in
            [("user", "prompt"), ("tool", "full_command"), ("tool", "output"), ("assistant", "response")]
        {
            let Some(text) = opened.content(key) else { continue };
            let text = StyledText::styled(TextRole::Private, text).elide(width);
            self.screen.print_row(
                DETAIL_INDENT + 10,
                1,
                &[(9, StyledText::styled(TextRole::Dim, speaker)), (width, text)],
            );
        }
    }

    /// Shows the result of the search for private texts.
    pub(super) fn show_search_result(&mut self, leaks: &LeakSearch, needles: usize, canaries: (usize, usize)) {
        self.start_step("All output is searched for private texts: plain, escaped, encoded and compressed.");
        let searched =
            format!("in {} of exported data, spool, vault, /metrics and admin page", format_bytes(leaks.bytes));
        match leaks.found.as_slice() {
            [] => self.show_verdict(true, &format!("none of {needles} private texts {searched}")),
            found => {
                for (place, texts) in found {
                    self.show_verdict(false, &format!("{} private texts are in {place}", texts.len()));
                }
            }
        }
        let (found, total) = canaries;
        self.show_verdict(
            check::has_all(found, total),
            &format!("{found} of the recording's {total} marks are in the content that the auditor opened"),
        );
    }

    /// Explains how to send one's own telemetry.
    pub(super) fn show_own_setup(&mut self, gateway: &DemoGateway, directory: &Path, session: &str) {
        self.start_step("Send your own telemetry: the gateway runs until Ctrl-C.");
        let base = format!("http://{}", gateway.http);
        self.screen.print_unwrapped(DETAIL_INDENT, &StyledText::styled(TextRole::Dim, "Claude Code"));
        for line in [
            "export CLAUDE_CODE_ENABLE_TELEMETRY=1 CLAUDE_CODE_ENHANCED_TELEMETRY_BETA=1",
            "export OTEL_TRACES_EXPORTER=otlp OTEL_LOGS_EXPORTER=otlp OTEL_METRICS_EXPORTER=otlp",
            "export OTEL_LOG_USER_PROMPTS=1 OTEL_LOG_ASSISTANT_RESPONSES=1",
            "export OTEL_LOG_TOOL_DETAILS=1 OTEL_LOG_TOOL_CONTENT=1",
            &format!("export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf OTEL_EXPORTER_OTLP_ENDPOINT={base}"),
            "claude",
        ] {
            self.screen.print_unwrapped(DETAIL_INDENT + 2, &StyledText::styled(TextRole::Link, line));
        }
        self.screen.print_unwrapped(DETAIL_INDENT, &StyledText::styled(TextRole::Dim, "any OpenTelemetry SDK"));
        let sdk = format!("OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf OTEL_EXPORTER_OTLP_ENDPOINT={base} python app.py");
        self.screen.print_unwrapped(DETAIL_INDENT + 2, &StyledText::styled(TextRole::Link, &sdk));
        let viewing = "see the exported data, the content in the vault, and the admin page";
        self.screen.print_unwrapped(DETAIL_INDENT, &StyledText::styled(TextRole::Dim, viewing));
        let path = |path: &Path| quote_for_shell(&path.display().to_string());
        let (vault, key) = (path(&directory.join("vault")), path(&directory.join(TRYOUT_KEY)));
        for line in [
            format!("tail -f {}", path(&gateway.outbound)),
            format!("tollgate vault replay {} --store {vault} --identity {key}", quote_for_shell(session)),
            format!("http://{}/", gateway.admin),
        ] {
            self.screen.print_unwrapped(DETAIL_INDENT + 2, &StyledText::styled(TextRole::Link, &line));
        }
    }

    /// Explains what to do after the demo; `kept_session` is the session, if its vault is kept.
    pub(super) fn show_next_steps(&mut self, directory: &Path, kept_session: Option<&str>) {
        self.start_step("What to do next.");
        for (command, why) in [
            ("tollgate", "runs a gateway; its log shows the addresses and the settings for clients"),
            ("tollgate demo", "plays the demo again, then accepts your own telemetry until Ctrl-C"),
            ("tollgate explain FILE", "shows how the pipeline changes recorded telemetry, and why"),
        ] {
            let width = self.screen.width().saturating_sub(DETAIL_INDENT + 23);
            self.screen.print_row(
                DETAIL_INDENT,
                2,
                &[(21, StyledText::styled(TextRole::Link, command)), (width, StyledText::plain(why))],
            );
        }
        if let Some(session) = kept_session {
            let path = |name: &str| quote_for_shell(&directory.join(name).display().to_string());
            let (vault, key) = (path("vault"), path(TRYOUT_KEY));
            let line = format!("tollgate vault replay {} --store {vault} --identity {key}", quote_for_shell(session));
            self.screen.print_unwrapped(DETAIL_INDENT, &StyledText::styled(TextRole::Link, &line));
        }
    }

    /// Shows the overall result of the checks.
    pub(super) fn show_overall_result(&mut self, passed: bool) {
        let text = if passed { "All checks passed." } else { "Some checks failed: see above." };
        self.show_verdict(passed, text);
    }

    fn show_verdict(&mut self, passed: bool, text: &str) {
        let (sign, role) = if passed { ("✓", TextRole::Safe) } else { ("✗", TextRole::Wrong) };
        let width = self.screen.width().saturating_sub(DETAIL_INDENT + 3);
        let text = StyledText::styled(if passed { TextRole::Plain } else { TextRole::Wrong }, text);
        self.screen.print_row(DETAIL_INDENT, usize::MAX, &[(1, StyledText::styled(role, sign)), (width, text)]);
    }
}

/// Quotes a word for a shell.
pub(super) fn quote_for_shell(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:@%+=,".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The incoming and outgoing value of one attribute.
fn format_sides(
    before: Option<&str>,
    after: Option<&str>,
    exported: Option<CapturedItem<'_>>,
    width: usize,
) -> (StyledText, StyledText) {
    let range = exported.and_then(|exported| exported.text("gen_ai.payload.range"));
    match (before, after) {
        (Some(before), Some(after)) if before == after => (
            StyledText::styled(TextRole::Plain, before).elide(width),
            StyledText::styled(TextRole::Plain, after).elide(width),
        ),
        (Some(before), Some(after)) => {
            let placeholders: Vec<&str> = find_placeholders(after);
            (
                StyledText::plain(before).mark(ADDED_SECRETS, TextRole::Private),
                StyledText::plain(after).mark(placeholders, TextRole::Safe),
            )
        }
        (Some(before), None) => {
            let replacement =
                range.map_or("▸ dropped".to_owned(), |range| format!("▸ vault, {}", format_range(&range)));
            (StyledText::styled(TextRole::Private, before), StyledText::styled(TextRole::Safe, &replacement))
        }
        (None, after) => (
            StyledText::styled(TextRole::Dim, "–"),
            StyledText::styled(TextRole::Safe, after.unwrap_or_default()).elide(width),
        ),
    }
}

/// Shortens `bytes=0000000000-0000000611` by its leading zeros.
fn format_range(range: &str) -> String {
    let number = |digits: &str| digits.trim_start_matches('0').parse().unwrap_or(0_u64);
    let ends = range.trim_start_matches("bytes=").split_once('-');
    ends.map_or_else(|| range.to_owned(), |(first, last)| format!("bytes {}–{}", number(first), number(last)))
}

/// The placeholders, such as `[EMAIL]`, in a text.
fn find_placeholders(text: &str) -> Vec<&str> {
    let pieces = text.split_inclusive(']').filter_map(|piece| piece.get(piece.rfind('[')?..));
    pieces.filter(|piece| piece.bytes().all(|b| b.is_ascii_uppercase() || b"[]_".contains(&b))).collect()
}

fn format_usd(amount: &Decimal) -> String {
    amount.normalize().to_string()
}
