//! [`DemoStory`] prints the sections of `templates/demo.txt` and the tables between them. The first character of a
//! template's line is its kind, `{}` the next value. If the reader goes away, further output is discarded without an
//! error. No control character reaches the terminal.

use std::fmt::Display;
use std::io::Write;

use rust_decimal::Decimal;

use super::costs::BilledCall;
use super::items::{TelemetryItem, find_same};
use super::session::ADDED_SPAN;
use kernel::terminal::is_unsafe;

const TEXTS: &str = include_str!("../../../../templates/demo.txt");
/// Colours, as parameters of the SGR sequence.
const PLAIN: &str = "0";
const TITLE: &str = "1";
const DIM: &str = "2";
/// Private text that must not go out.
const PRIVATE: &str = "33";
/// A replacement of private text, or a check that passed.
const SAFE: &str = "32";
const LINK: &str = "36";
const WRONG: &str = "1;31";

/// The longest line with a value, in columns.
const MAX_COLUMNS: usize = 99;
const CALL_COLUMNS: [usize; 8] = [21, 17, 6, 7, 8, 7, 12, 12];
/// The items shown, and which of their attributes.
const SHOWN_ITEMS: [(&str, &[&str]); 5] = [
    ("user_prompt", &["session.id", "prompt", "gen_ai.input.messages_ref", "tollgate.run.id"]),
    ("claude_code.tool", &["tool_name", "full_command", "tool.output/output", "duration_ms"]),
    ("api_request", &["model", "tollgate.cost.usd", "tollgate.cost.status", "tollgate.cost.corrects"]),
    ("assistant_response", &["response"]),
    (ADDED_SPAN, &["url.full", "exception/exception.message", "retry.note", "http.request.header.authorization"]),
];

pub(super) struct DemoStory {
    out: Box<dyn Write + Send>,
    colour: bool,
    pub(super) has_reader: bool,
    step: u32,
}

impl DemoStory {
    pub(super) fn new(out: Box<dyn Write + Send>, colour: bool) -> Self {
        Self { out, colour, has_reader: true, step: 0 }
    }

    /// Prints a section of the texts with these values.
    pub(super) fn show(&mut self, section: &str, values: &[&dyn Display]) {
        let mut values = values.iter();
        let lines = TEXTS.lines().skip_while(|line| line.strip_prefix('[') != Some(&format!("{section}]"))).skip(1);
        for line in lines.take_while(|line| !line.starts_with('[')) {
            let (kind, text) = line.split_once(' ').unwrap_or_default();
            let mut parts = text.split("{}");
            let mut text = parts.next().unwrap_or_default().to_owned();
            for part in parts {
                text += &values.next().map(ToString::to_string).unwrap_or_default();
                text += part;
            }
            let (indent, colour, lead) = match kind {
                "#" => {
                    self.step += 1;
                    self.print(0, PLAIN, "");
                    (0, TITLE, format!("{}  ", self.step))
                }
                "=" => (0, TITLE, String::new()),
                "~" => (0, DIM, String::new()),
                "✓" => (3, SAFE, "✓  ".to_owned()),
                "✗" => (3, WRONG, "✗  ".to_owned()),
                "$" => (5, LINK, String::new()),
                _ => (3, PLAIN, String::new()),
            };
            self.print(indent, colour, &(lead + &text));
        }
    }

    fn print(&mut self, indent: usize, colour: &str, text: &str) {
        let shown = |c: char| match c {
            '\n' => '⏎',
            c if is_unsafe(c) => '·',
            c => c,
        };
        let text: String = text.chars().map(shown).collect();
        let written = match self.colour && colour != PLAIN {
            true => writeln!(self.out, "{:indent$}\x1b[0;{colour}m{text}\x1b[0m", ""),
            false => writeln!(self.out, "{:indent$}{text}", ""),
        };
        self.has_reader &= written.and_then(|()| self.out.flush()).is_ok();
    }

    fn print_cut(&mut self, indent: usize, colour: &str, text: &str) {
        let start: String = text.chars().take(MAX_COLUMNS - indent).collect();
        let is_cut = start.len() < text.len();
        self.print(indent, colour, &if is_cut { start + "…" } else { start });
    }

    /// Compares the items that came in with those that went out.
    pub(super) fn show_comparison(&mut self, incoming: &[TelemetryItem], outgoing: &[TelemetryItem]) {
        self.show("comparison", &[]);
        for (name, keys) in SHOWN_ITEMS {
            let Some(item) = incoming.iter().find(|item| item.name == name) else { continue };
            let exported = find_same(outgoing, item);
            let note = if name == ADDED_SPAN { " (added by the demo)" } else { "" };
            self.print(3, TITLE, &format!("{} {name}{note}", item.kind));
            for path in keys {
                let key = path.rsplit('/').next().unwrap_or(path);
                let (before, after) = (item.text(path), exported.and_then(|exported| exported.text(path)));
                let range = exported.and_then(|exported| exported.text("gen_ai.payload.range"));
                let moved = range.map_or("▸ dropped".to_owned(), |range| format!("▸ vault, {range}"));
                if before == after {
                    self.attribute(PLAIN, ' ', key, before);
                    continue;
                }
                self.attribute(PRIVATE, '-', key, before);
                self.attribute(SAFE, '+', key, after.or(Some(&moved)));
            }
        }
    }

    fn attribute(&mut self, colour: &str, sign: char, key: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        self.print_cut(5, colour, &format!("{sign} {key} = {value}"));
    }

    /// Shows the price of each call beside the client's; returns whether all agree.
    pub(super) fn show_prices(&mut self, calls: &[BilledCall], rates: &str) -> bool {
        self.show("prices", &[]);
        let heads = ["call", "model", "input", "cached", "written", "output", "tollgate $", "client $"];
        self.print(3, DIM, &format_call(heads.map(str::to_owned)));
        let format_usd = |usd: Option<Decimal>| usd.map_or("none".to_owned(), |usd| usd.normalize().to_string());
        for call in calls {
            let prices = [call.usd, Some(call.client_usd)].map(format_usd);
            let row = format_call(call.cells.iter().cloned().chain(prices));
            self.print(3, if call.agrees() { PLAIN } else { WRONG }, &row);
        }
        let usd = calls.iter().filter_map(|call| call.usd).sum::<Decimal>().normalize();
        let client_usd = calls.iter().map(|call| call.client_usd).sum::<Decimal>().normalize();
        let agrees = !calls.is_empty() && calls.iter().all(BilledCall::agrees);
        match agrees {
            true => self.show("prices agree", &[&usd, &rates]),
            false => self.show("prices differ", &[&usd, &client_usd, &rates]),
        }
        agrees
    }

    pub(super) fn show_content(&mut self, key: &str, content: &str) {
        self.print_cut(13, PRIVATE, &format!("{key:<12}  {content}"));
    }
}

fn format_call(cells: impl IntoIterator<Item = String>) -> String {
    let format_cell = |(index, (text, width)): (usize, (String, usize))| match index {
        0 | 1 => format!("{text:<width$.width$}  "),
        _ => format!("{text:>width$}"),
    };
    cells.into_iter().zip(CALL_COLUMNS).enumerate().map(format_cell).collect()
}
