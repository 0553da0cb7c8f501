//! [`Story`]: the texts of the demo, one sentence per event. Incoming data may be shown because it is the demo's own;
//! outgoing data is read from the exporter's file. Layout is in `screen`, checks are in `check`, `costs` and `opened`.

use std::path::Path;
use std::time::Duration;

use rust_decimal::Decimal;

use crate::cli::source::TRYOUT_KEY;
use otlp::Signal;

use super::check::{self, Leaks};
use super::costs::Bill;
use super::gateway::Gateway;
use super::opened::Opened;
use super::screen::{Paint, Screen, Text};
use super::seen::{Item, Seen};
use super::session::{ADDED_SECRETS, ADDED_SPAN, CLIENT};

/// The items shown, and which of their attributes.
const SHOWN: [(&str, &[&str]); 5] = [
    ("user_prompt", &["session.id", "prompt", "gen_ai.input.messages_ref", "tollgate.run.id"]),
    ("claude_code.tool", &["tool_name", "full_command", "tool.output/output", "duration_ms"]),
    ("api_request", &["model", "tollgate.cost.usd"]),
    ("assistant_response", &["response"]),
    (ADDED_SPAN, &["url.full", "exception/exception.message", "retry.note", "http.request.header.authorization"]),
];
/// Columns of attribute names on a normal and on a narrow screen.
const KEY: (usize, usize) = (28, 22);
/// Columns of a call's id, its model, and its numbers.
const CALL: usize = 24;
const MODEL: usize = 17;
const NUMBERS: [usize; 6] = [6, 6, 7, 6, 11, 11];
/// Indent of the details of a step.
const IN: usize = 3;

/// Prints the story.
pub(super) struct Story {
    screen: Screen,
    step: u32,
}

impl Story {
    /// A story on this screen.
    pub(super) fn new(screen: Screen) -> Self {
        Self { screen, step: 0 }
    }

    /// Whether the reader is still there.
    pub(super) fn is_read(&self) -> bool {
        self.screen.is_open()
    }

    /// Prints the title.
    pub(super) fn begin(&mut self) {
        let title = format!("tollgate {} demo", env!("CARGO_PKG_VERSION"));
        self.screen.say(0, &Text::of(Paint::Title, &title));
        let what = "A recorded session of a real coding agent goes through a real gateway, which runs in this \
                    process. Nothing leaves the machine.";
        self.screen.say(0, &Text::of(Paint::Dim, what));
    }

    fn step(&mut self, text: &str) {
        self.step += 1;
        self.screen.gap();
        let width = self.screen.width().saturating_sub(IN);
        self.screen.row(
            0,
            usize::MAX,
            &[(1, Text::of(Paint::Title, &self.step.to_string())), (width, Text::of(Paint::Title, text))],
        );
    }

    fn fact(&mut self, name: &str, text: Text) {
        let width = self.screen.width().saturating_sub(IN + 10);
        self.screen.row(IN, usize::MAX, &[(8, Text::of(Paint::Dim, name)), (width, text)]);
    }

    /// The gateway runs.
    pub(super) fn started(&mut self, gateway: &Gateway, directory: &Path, keep: bool) {
        self.step("A gateway with the default configuration starts in a fresh directory.");
        let ends = if keep { "" } else { "  (removed at the end)" };
        self.fact("data", Text::plain(&directory.display().to_string()).and(Paint::Dim, ends));
        let http = format!("http://{}", gateway.http);
        let other = if gateway.moved { "  (the usual ports are taken)" } else { "" };
        let grpc = format!("{}", gateway.grpc);
        let text = Text::of(Paint::Link, &http).and(Paint::Dim, "  gRPC ").and(Paint::Link, &grpc);
        self.fact("OTLP", text.and(Paint::Dim, other));
        self.fact("page", Text::of(Paint::Link, &format!("http://{}/", gateway.page)));
    }

    /// All requests were sent and acknowledged.
    pub(super) fn played(&mut self, came: &Seen, requests: usize, slowest: Duration) {
        self.step(&format!("{CLIENT} talks to it: OTLP/HTTP, new ids, the present time."));
        let counts = format!(
            "{requests} requests, {} spans, {} log records, {} data points",
            came.count(Signal::Traces),
            came.count(Signal::Logs),
            came.count(Signal::Metrics)
        );
        self.fact("sent", Text::plain(&counts));
        let safe = format!("each once it was on disk, sealed; the slowest took {} ms", slowest.as_millis());
        self.fact("answers", Text::plain("200 OK, ").and(Paint::Plain, &safe));
    }

    /// Compares what came in with what went out.
    pub(super) fn compared(&mut self, came: &Seen, went: &Seen, missing: &[String]) {
        self.step("What came in, and what an exporter to a third party was given.");
        let names = if self.screen.width() < 96 { KEY.1 } else { KEY.0 };
        let side = (self.screen.width().saturating_sub(IN + names + 4)) / 2;
        let heads = ["", "came in", "went out"].map(|head| Text::of(Paint::Dim, head));
        let [key, left, right] = heads;
        self.screen.row(IN, 1, &[(names, key), (side, left), (side, right)]);
        for (name, keys) in SHOWN {
            let Some(item) = came.items().find(|item| item.name() == name) else { continue };
            let out = went.same_as(item);
            let added = if name == ADDED_SPAN { "  (added by the demo)" } else { "" };
            let head = Text::of(Paint::Title, name).and(Paint::Dim, &format!(" {}{added}", item.kind()));
            self.screen.row(IN, 1, &[(self.screen.width() - IN, head)]);
            for place in keys {
                let (before, after) = (item.text(place), out.and_then(|out| out.text(place)));
                if before.is_none() && after.is_none() {
                    continue;
                }
                let key = place.split_once('/').map_or(*place, |(_, key)| key);
                let (left, right) = sides(before.as_deref(), after.as_deref(), out, side);
                let key = Text::of(Paint::Dim, key).elided(names - 2);
                // Content is shown only in part; redacted text is shown completely.
                let most = if after.is_none() { 2 } else { 4 };
                self.screen.row(IN + 2, most, &[(names - 2, key), (side, left), (side, right)]);
            }
        }
        if !missing.is_empty() {
            let lost = format!("{} records came in and did not go out: {}", missing.len(), missing.join(", "));
            self.verdict(false, &lost);
        }
    }

    /// Shows the cost of each call.
    pub(super) fn priced(&mut self, bill: &Bill) {
        self.step("Each model call is priced once; the client's own figure must agree.");
        let names = ["call", "model", "input", "cached", "written", "output", "tollgate $", "client $"];
        self.call(names.map(|name| (name, Paint::Dim)));
        for call in &bill.calls {
            let [input, read, written, output] = &call.tokens;
            let ours = call.usd().map_or_else(|| "none".to_owned(), |ours| usd(&ours));
            let theirs = usd(&call.theirs);
            let verdict = if call.agrees() { Paint::Safe } else { Paint::Wrong };
            let plain = [&call.request, &call.model, input, read, written, output].map(|text| (&**text, Paint::Plain));
            let [request, model, input, read, written, output] = plain;
            let prices = [(&*ours, verdict), (&*theirs, Paint::Plain)];
            let [ours, theirs] = prices;
            self.call([request, model, input, read, written, output, ours, theirs]);
        }
        for call in bill.calls.iter().filter(|call| call.ours.len() > 1) {
            let parts = call.ours.iter().map(usd).collect::<Vec<_>>().join(" + ");
            let text = format!("{}: {parts}: its span came first and was priced, its log told the rest", call.request);
            self.screen.row(IN, 2, &[(self.screen.width() - IN, Text::of(Paint::Dim, &text))]);
        }
        let (ours, theirs) = bill.totals();
        let rates = bill.rates.as_deref().unwrap_or("none");
        let sum = match bill.agrees() {
            true => format!("{} USD as the client says, to 1e-9; rates {rates}", usd(&ours)),
            false => format!("{} USD, but the client says {}; rates {rates}", usd(&ours), usd(&theirs)),
        };
        self.verdict(bill.agrees(), &sum);
    }

    /// A row of the table of calls: names aligned left, numbers right.
    fn call(&mut self, texts: [(&str, Paint); 8]) {
        let mut numbers = NUMBERS.iter();
        let room = self.screen.width().saturating_sub(IN + NUMBERS.iter().map(|width| width + 2).sum::<usize>());
        let (call, model) = if room > CALL + 2 { (room - MODEL - 2, MODEL) } else { (room, 0) };
        let mut cells = Vec::new();
        for (column, (text, paint)) in texts.into_iter().enumerate() {
            let width = match column {
                0 => call.min(CALL),
                1 if model == 0 => continue,
                1 => model,
                _ => numbers.next().copied().unwrap_or(0),
            };
            let pad = if column < 2 { 0 } else { width.saturating_sub(text.chars().count()) };
            cells.push((width, Text::plain(&" ".repeat(pad)).and(paint, text).elided(width)));
        }
        self.screen.row(IN, 1, &cells);
    }

    /// Shows what the vault contains.
    pub(super) fn vaulted(&mut self, opened: &Opened, auditor: &Path) {
        self.step("The content is in the vault, sealed to an auditor; the gateway can't read it.");
        let mut last = None;
        for reference in opened.references.keys() {
            if last.replace(&reference.uri) != Some(&reference.uri) {
                let object = Text::of(Paint::Dim, "object    ").and(Paint::Link, &reference.uri);
                self.screen.raw(IN, &object);
            }
        }
        let keys: std::collections::BTreeSet<&str> =
            opened.references.keys().map(|reference| reference.key_id.as_str()).collect();
        self.fact("key", Text::plain(&keys.into_iter().collect::<Vec<_>>().join(" ")));
        let items: usize = opened.references.values().map(|(items, _)| items).sum();
        let bytes: u64 = opened.references.values().map(|(_, bytes)| bytes).sum();
        let counts = format!(
            "{bytes} bytes of {items} records, in {} fragments; {} bytes as stored",
            opened.references.len(),
            opened.stored
        );
        self.fact("holds", Text::plain(&counts));
        let name = auditor.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.fact("opened", Text::plain(&format!("with the try-out auditor's key, {name}:")));
        let width = self.screen.width().saturating_sub(IN + 10 + 14);
        for (who, key) in [("user", "prompt"), ("tool", "full_command"), ("tool", "output"), ("assistant", "response")]
        {
            let Some(text) = opened.content(key) else { continue };
            let text = Text::of(Paint::Private, text).elided(width);
            self.screen.row(IN + 10, 1, &[(9, Text::of(Paint::Dim, who)), (width, text)]);
        }
    }

    /// Shows the result of the search for private texts.
    pub(super) fn searched(&mut self, leaks: &Leaks, needles: usize, kept: (usize, usize)) {
        self.step("Private texts are searched for, plain, escaped, encoded and compressed.");
        let place = format!("in {} of what went out, spool, vault, /metrics and page", size(leaks.bytes));
        match leaks.found.as_slice() {
            [] => self.verdict(true, &format!("none of {needles} private texts {place}")),
            found => {
                for (at, texts) in found {
                    self.verdict(false, &format!("{} private texts are in {at}", texts.len()));
                }
            }
        }
        let (found, all) = kept;
        self.verdict(
            check::kept(found, all),
            &format!("{found} of the recording's {all} marks are in what the auditor opened"),
        );
    }

    /// Explains how to send one's own telemetry.
    pub(super) fn yours(&mut self, gateway: &Gateway, directory: &Path, session: &str) {
        self.step("Now yours: the gateway serves until Ctrl-C.");
        let base = format!("http://{}", gateway.http);
        self.screen.raw(IN, &Text::of(Paint::Dim, "Claude Code"));
        for line in [
            "export CLAUDE_CODE_ENABLE_TELEMETRY=1 CLAUDE_CODE_ENHANCED_TELEMETRY_BETA=1",
            "export OTEL_TRACES_EXPORTER=otlp OTEL_LOGS_EXPORTER=otlp OTEL_METRICS_EXPORTER=otlp",
            "export OTEL_LOG_USER_PROMPTS=1 OTEL_LOG_ASSISTANT_RESPONSES=1",
            "export OTEL_LOG_TOOL_DETAILS=1 OTEL_LOG_TOOL_CONTENT=1",
            &format!("export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf OTEL_EXPORTER_OTLP_ENDPOINT={base}"),
            "claude",
        ] {
            self.screen.raw(IN + 2, &Text::of(Paint::Link, line));
        }
        self.screen.raw(IN, &Text::of(Paint::Dim, "any OpenTelemetry SDK"));
        let sdk = format!("OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf OTEL_EXPORTER_OTLP_ENDPOINT={base} python app.py");
        self.screen.raw(IN + 2, &Text::of(Paint::Link, &sdk));
        let look = "look: what goes out, what the vault holds, what it all comes to";
        self.screen.raw(IN, &Text::of(Paint::Dim, look));
        let path = |path: &Path| quoted(&path.display().to_string());
        let (vault, key) = (path(&directory.join("vault")), path(&directory.join(TRYOUT_KEY)));
        for line in [
            format!("tail -f {}", path(&gateway.outbound)),
            format!("tollgate vault replay {} --store {vault} --identity {key}", quoted(session)),
            format!("http://{}/", gateway.page),
        ] {
            self.screen.raw(IN + 2, &Text::of(Paint::Link, &line));
        }
    }

    /// Explains what to do after the demo; `kept` is the session, if its vault is kept.
    pub(super) fn next(&mut self, directory: &Path, kept: Option<&str>) {
        self.step("What to do next.");
        for (command, why) in [
            ("tollgate", "runs a gateway of your own; its log says where it listens and what to set"),
            ("tollgate demo", "plays this again, then serves your agent too, until Ctrl-C"),
            ("tollgate explain FILE", "shows what becomes of telemetry that you recorded, and why"),
        ] {
            let width = self.screen.width().saturating_sub(IN + 23);
            self.screen.row(IN, 2, &[(21, Text::of(Paint::Link, command)), (width, Text::plain(why))]);
        }
        if let Some(session) = kept {
            let path = |name: &str| quoted(&directory.join(name).display().to_string());
            let (vault, key) = (path("vault"), path(TRYOUT_KEY));
            let line = format!("tollgate vault replay {} --store {vault} --identity {key}", quoted(session));
            self.screen.raw(IN, &Text::of(Paint::Link, &line));
        }
    }

    /// The overall result of the checks.
    pub(super) fn end(&mut self, fine: bool) {
        let text = if fine { "Everything held." } else { "Something did not hold: see above." };
        self.verdict(fine, text);
    }

    fn verdict(&mut self, fine: bool, text: &str) {
        let (sign, paint) = if fine { ("✓", Paint::Safe) } else { ("✗", Paint::Wrong) };
        let width = self.screen.width().saturating_sub(IN + 3);
        let text = Text::of(if fine { Paint::Plain } else { Paint::Wrong }, text);
        self.screen.row(IN, usize::MAX, &[(1, Text::of(paint, sign)), (width, text)]);
    }
}

/// Quotes a word for a shell.
pub(super) fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:@%+=,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The incoming and outgoing value of one attribute.
fn sides(before: Option<&str>, after: Option<&str>, out: Option<Item<'_>>, width: usize) -> (Text, Text) {
    let range = out.and_then(|out| out.text("gen_ai.payload.range"));
    match (before, after) {
        (Some(before), Some(after)) if before == after => {
            (Text::of(Paint::Plain, before).elided(width), Text::of(Paint::Plain, after).elided(width))
        }
        (Some(before), Some(after)) => {
            let holders: Vec<&str> = placeholders(after);
            (Text::plain(before).mark(ADDED_SECRETS, Paint::Private), Text::plain(after).mark(holders, Paint::Safe))
        }
        (Some(before), None) => {
            let gone = range.map_or("▸ dropped".to_owned(), |range| format!("▸ vault, {}", bytes(&range)));
            (Text::of(Paint::Private, before), Text::of(Paint::Safe, &gone))
        }
        (None, after) => (Text::of(Paint::Dim, "–"), Text::of(Paint::Safe, after.unwrap_or_default()).elided(width)),
    }
}

/// Shortens `bytes=0000000000-0000000611` by its leading zeros.
fn bytes(range: &str) -> String {
    let number = |digits: &str| digits.trim_start_matches('0').parse().unwrap_or(0_u64);
    let ends = range.trim_start_matches("bytes=").split_once('-');
    ends.map_or_else(|| range.to_owned(), |(first, last)| format!("bytes {}–{}", number(first), number(last)))
}

/// The placeholders, such as `[EMAIL]`, in a text.
fn placeholders(text: &str) -> Vec<&str> {
    let pieces = text.split_inclusive(']').filter_map(|piece| piece.get(piece.rfind('[')?..));
    pieces.filter(|piece| piece.bytes().all(|b| b.is_ascii_uppercase() || b"[]_".contains(&b))).collect()
}

fn usd(amount: &Decimal) -> String {
    amount.normalize().to_string()
}

fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} bytes"),
        _ => format!("{} kB", bytes / 1000),
    }
}
