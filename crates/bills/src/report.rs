//! The report of `bill reconcile`, as text and JSON: a line a day and model, why the bill differs, and what would
//! explain it.

use serde_json::{Value as Json, json};

use super::amounts::{format_amount, format_ratio};
use super::bill::Bill;
use super::causes::{Cause, Line, Reconciliation, SharedRatio, WHOLE};
use super::own::OwnSums;
use kernel::terminal::{escape_unsafe, format_count};
use rates::Usd;

/// Most lines of the text.
const MAX_LINES: usize = 400;

/// What a report is made from.
pub(crate) struct Report<'r> {
    pub(crate) bill: &'r Bill,
    pub(crate) own: &'r OwnSums,
    pub(crate) result: &'r Reconciliation,
    /// The difference that still counts as none, as a part of the bill, in 1e-9.
    pub(crate) tolerance: u64,
}

impl Report<'_> {
    /// Whether more than the tolerance is unexplained. Amounts of different lines don't offset each other.
    pub(crate) fn exceeds_tolerance(&self) -> bool {
        let unexplained = |line: &Line| line.causes.get(&Cause::Unexplained).map_or(0, |atto| atto.abs());
        let allowed = super::amounts::times_ratio(self.result.total(|line| line.bill.abs()), self.tolerance);
        self.result.total(unexplained) > allowed
    }

    pub(crate) fn text(&self) -> String {
        let (bill, result) = (self.bill, self.result);
        let currency = &bill.currency;
        let mut out = format!(
            "Bill of {} in {currency}, days in {}, beside {}\n\n{:<12} {:<34} {:>14} {:>14} {:>14}  why\n",
            bill.provider,
            bill.zone_name,
            format_count(self.own.calls, "call"),
            "day",
            "model",
            "bill",
            "ours",
            "difference"
        );
        for line in result.lines.iter().take(MAX_LINES) {
            out.push_str(&format_line(line));
        }
        if result.lines.len() > MAX_LINES {
            out.push_str(&format!("… and {} more lines (--json has all)\n", result.lines.len() - MAX_LINES));
        }
        let [billed, own, difference] = self.sums().map(format_amount);
        out.push_str(&format!("{:<47} {billed:>14} {own:>14} {difference:>14}\n\nwhy the bill differs\n", "total"));
        for cause in Cause::ALL {
            let atto = result.cause(*cause);
            if atto != 0 || *cause == Cause::Unexplained {
                let about = self.about(*cause);
                out.push_str(&format!("  {:<42} {:>14}{about}\n", cause.as_str(), format_amount(atto)));
            }
        }
        let hints = self.hints();
        if !hints.is_empty() {
            out.push_str("\nwhat would explain it\n");
            hints.iter().for_each(|hint| out.push_str(&format!("  {}\n", hint.replace('\n', "\n  "))));
        }
        for note in self.notes() {
            out.push_str(&format!("note: {}\n", escape_unsafe(&note)));
        }
        out
    }

    fn sums(&self) -> [i128; 3] {
        [self.result.total(|line| line.bill), self.result.total(|line| line.own), self.result.total(Line::difference)]
    }

    /// What a number alone doesn't say about a cause.
    fn about(&self, cause: Cause) -> String {
        let lines = &self.result.lines;
        match cause {
            Cause::Unseen => {
                let (unseen, all) = (self.result.total(|line| line.unseen_tokens.into()), self.tokens());
                let nothing = lines.iter().filter(|line| line.own == 0 && line.causes.contains_key(&cause));
                let mut days: Vec<String> = nothing.map(|line| line.period.from.to_string()).collect();
                days.dedup();
                let share = if all > 0 { format!("  {}% of the tokens", percent(unseen, all)) } else { String::new() };
                match days.as_slice() {
                    [] => share,
                    days => format!("{share}; nothing of {} on {}", list(&self.models_of(cause)), list(days)),
                }
            }
            Cause::Unpriced => {
                let models = self.own.unpriced.iter().map(|(model, calls)| format!("{calls} of {model}"));
                format!("  {}", escape_unsafe(&list(&models.collect::<Vec<_>>())))
            }
            Cause::TimeZone => {
                format!("  its days begin {} h earlier than in {}", self.result.shift, self.bill.zone_name)
            }
            _ => String::new(),
        }
    }

    fn models_of(&self, cause: Cause) -> Vec<String> {
        let lines = self.result.lines.iter().filter(|line| line.own == 0 && line.causes.contains_key(&cause));
        let mut models: Vec<String> = lines.map(|line| escape_unsafe(&line.model)).collect();
        models.sort();
        models.dedup();
        models
    }

    fn tokens(&self) -> i128 {
        self.result.total(|line| line.bill_tokens.into())
    }

    /// Overlays of the rate table with which our sums would be the bill's.
    fn hints(&self) -> Vec<String> {
        self.result.ratios.iter().map(|shared| hint(shared, &self.bill.provider)).collect()
    }

    fn notes(&self) -> Vec<String> {
        let (own, mut notes) = (self.own, self.bill.notes.clone());
        if own.clock_off > 0 {
            let calls = format_count(own.clock_off, "call");
            notes.push(format!(
                "the clock of {calls} is wrong: more than five minutes after their arrival, which counts"
            ));
        }
        if !self.bill.has_tokens && self.result.cause(Cause::Unexplained) != 0 {
            let more =
                "the bill has no numbers of tokens: the vendor's report of uses, as a second --file, tells more apart";
            notes.push(more.to_owned());
        }
        if own.loose_corrections.1 > 0 {
            notes.push(format!(
                "{} of {} USD in all name no model, so they are in none of these sums",
                format_count(own.loose_corrections.1, "correction"),
                Usd(own.loose_corrections.0)
            ));
        }
        if own.is_incomplete {
            notes.push(
                "some of our calls are not in these sums: too many, or no exchange rate for their day".to_owned(),
            );
        }
        notes
    }

    pub(crate) fn json(&self) -> Json {
        let amount = |atto: i128| Usd(atto).to_string();
        let causes = |of: &dyn Fn(Cause) -> i128| -> Json {
            let named = Cause::ALL.iter().map(|cause| (*cause, of(*cause)));
            let named = named.filter(|(cause, atto)| *atto != 0 || *cause == Cause::Unexplained);
            named.map(|(cause, atto)| (word(cause), json!(amount(atto)))).collect::<serde_json::Map<_, _>>().into()
        };
        let lines: Vec<Json> = (self.result.lines.iter())
            .map(|line| {
                json!({"from": line.period.from.to_string(), "to": line.period.to.to_string(), "model": &*line.model,
                    "bill": amount(line.bill), "ours": amount(line.own), "difference": amount(line.difference()),
                    "bill_tokens": line.bill_tokens, "unseen_tokens": line.unseen_tokens,
                    "causes": causes(&|cause| line.causes.get(&cause).copied().unwrap_or(0))})
            })
            .collect();
        let ratios: Vec<Json> = (self.result.ratios.iter())
            .map(|shared| {
                json!({"ratio": format_ratio(shared.ratio), "tier": shared.tier, "lines": shared.lines,
                    "models": shared.models.iter().map(|model| &**model).collect::<Vec<_>>(),
                    "overlay": hint(shared, &self.bill.provider)})
            })
            .collect();
        let [bill, own, difference] = self.sums().map(amount);
        json!({"provider": self.bill.provider, "currency": self.bill.currency, "time_zone": self.bill.zone_name,
            "shift_hours": self.result.shift, "calls": self.own.calls, "bill": bill, "ours": own,
            "difference": difference, "causes": causes(&|cause| self.result.cause(cause)),
            "within_tolerance": !self.exceeds_tolerance(), "ratios": ratios, "notes": self.notes(), "lines": lines})
    }
}

/// The word of a cause in JSON.
fn word(cause: Cause) -> String {
    format!("{cause:?}").chars().fold(String::new(), |mut word, c| {
        if c.is_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.extend(c.to_lowercase());
        word
    })
}

fn format_line(line: &Line) -> String {
    let model = if line.model.is_empty() { "-".to_owned() } else { escape_unsafe(&line.model) };
    let causes = line.causes.iter().filter(|(cause, _)| **cause != Cause::Rounding);
    let causes = causes.map(|(cause, atto)| format!("{} {}", word(*cause).replace('_', " "), format_amount(*atto)));
    let [billed, own, difference] = [line.bill, line.own, line.difference()].map(format_amount);
    let why = causes.collect::<Vec<_>>().join("; ");
    let row =
        format!("{:<12} {model:<34} {billed:>14} {own:>14} {difference:>14}  {why}", line.period.from.to_string());
    format!("{}\n", row.trim_end())
}

fn hint(shared: &SharedRatio, provider: &str) -> String {
    let models = list(&shared.models.iter().map(|model| escape_unsafe(model)).collect::<Vec<_>>());
    let ratio = format_ratio(shared.ratio);
    if let Some(tier) = shared.tier {
        return format!(
            "{models}: the bill has {ratio} of the standard price, which is the price of the {tier} tier: have the \
             client report its service tier (docs/concepts/cost.md)"
        );
    }
    let share = if shared.ratio < WHOLE { "a discount" } else { "a surcharge" };
    format!(
        "{models}: {share}, {ratio} of our price on {}. In an overlay (docs/how-to/prices.md):\n  \
         providers: {{ {provider}: {{ discount: \"{ratio}\" }} }}",
        format_count(shared.lines, "line"),
    )
}

fn percent(part: i128, whole: i128) -> String {
    let hundredths = part.saturating_mul(10_000) / whole.max(1);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// At most five of them.
fn list(words: &[String]) -> String {
    let more = if words.len() > 5 { format!(" and {} more", words.len() - 5) } else { String::new() };
    format!("{}{more}", words.iter().take(5).cloned().collect::<Vec<_>>().join(", "))
}
