//! The report of `bill reconcile`, as text and JSON: a line a day and model, why the bill differs, and what would
//! explain it.

use serde_json::{Value as Json, json};

use super::amounts::{WHOLE, format_amount, format_ratio, times_ratio};
use super::bill::Bill;
use super::causes::{DifferenceCause, ReconciledLine, Reconciliation, SharedRatio};
use super::own::OwnSums;
use kernel::terminal::{escape_unsafe, format_count};
use rates::Usd;

/// Most lines of the text.
const MAX_LINES: usize = 400;

/// What a report is made from.
pub(crate) struct BillReport<'r> {
    pub(crate) bill: &'r Bill,
    pub(crate) own: &'r OwnSums,
    pub(crate) result: &'r Reconciliation,
    /// The difference that still counts as none, as a part of the bill, in 1e-9.
    pub(crate) tolerance: u64,
}

impl BillReport<'_> {
    /// Why the bill can't be closed, if it can't. Unexplained amounts don't offset each other.
    pub(crate) fn problem(&self) -> Option<String> {
        if self.own.calls == 0 {
            return Some(format!("the index has no calls of {} on the bill's days", self.bill.provider));
        }
        let allowed = times_ratio(self.result.total(|line| line.bill.abs()), self.tolerance);
        let percent = Usd(i128::from(self.tolerance).saturating_mul(100_000_000_000));
        let unexplained = self.unexplained();
        (unexplained > allowed).then(|| {
            let [unexplained, allowed] = [unexplained, allowed].map(format_amount);
            let currency = &self.bill.currency;
            format!(
                "{unexplained} {currency} without signs are unexplained; {allowed} are allowed (--tolerance {percent})"
            )
        })
    }

    /// What nothing explains; positive and negative amounts don't cancel.
    fn unexplained(&self) -> i128 {
        self.result.total(|line| line.unexplained)
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
            "tollgate",
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
        for cause in DifferenceCause::ALL {
            let atto = result.cause(*cause);
            if atto != 0 || *cause == DifferenceCause::Unexplained {
                let about = self.about(*cause);
                out.push_str(&format!("  {:<42} {:>14}{about}\n", cause.describe(), format_amount(atto)));
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
        [
            self.result.total(|line| line.bill),
            self.result.total(|line| line.own),
            self.result.total(ReconciledLine::difference),
        ]
    }

    /// What a number alone doesn't say about a cause.
    fn about(&self, cause: DifferenceCause) -> String {
        match cause {
            DifferenceCause::Unseen => {
                let (unseen, all) = (self.result.total(|line| line.unseen_tokens.into()), self.tokens());
                let is_lost = |line: &&ReconciledLine| line.own_tokens == 0 && line.causes.contains_key(&cause);
                let lost = self.result.lines.iter().filter(is_lost);
                let lost: Vec<String> = lost.map(|line| format!("{} {}", line.period.from, line.model)).collect();
                let share = if all > 0 { format!("  {}% of the tokens", percent(unseen, all)) } else { String::new() };
                if lost.is_empty() { share } else { format!("{share}; nothing of {}", escape_unsafe(&list(&lost))) }
            }
            DifferenceCause::Unpriced => {
                let models = self.own.unpriced.iter().map(|(model, calls)| format!("{calls} of {model}"));
                format!("  {}", escape_unsafe(&list(&models.collect::<Vec<_>>())))
            }
            DifferenceCause::TimeZone => {
                let (shift, zone) = (self.result.shift, &self.bill.zone_name);
                let (minutes, side) = (shift.abs() * 15, if shift > 0 { "before" } else { "after" });
                format!("  its days begin {} h {} min {side} those of {zone} (--time-zone)", minutes / 60, minutes % 60)
            }
            DifferenceCause::Unexplained if self.unexplained() != self.result.cause(cause).abs() => {
                format!("  {} without signs", format_amount(self.unexplained()))
            }
            _ => String::new(),
        }
    }

    fn tokens(&self) -> i128 {
        self.result.total(|line| line.bill_tokens.into())
    }

    /// What would make our sums the bill's.
    fn hints(&self) -> Vec<String> {
        let ratios = self.result.ratios.iter().map(|shared| self.hint(shared));
        let renamed = self.result.renamed.iter().map(|((billed, own), days)| {
            let alias = escape_unsafe(&format!("--alias '{billed}={own}'"));
            format!("two models have the same tokens on {}: {alias}", format_count(*days, "day"))
        });
        ratios.chain(renamed).collect()
    }

    fn hint(&self, shared: &SharedRatio) -> String {
        let models = escape_unsafe(&list(&shared.models.iter().map(|model| model.to_string()).collect::<Vec<_>>()));
        let (ratio, lines) = (format_ratio(shared.ratio), format_count(shared.prices, "price"));
        if let Some(tier) = shared.tier {
            return format!(
                "{models}: the bill has {ratio} of the standard price, which is the price of the {tier} tier: have \
                 the client report its service tier (docs/concepts/cost.md)"
            );
        }
        if shared.ratio > WHOLE {
            return format!(
                "{models}: the bill has {ratio} times our price on {lines}: another price or exchange rate"
            );
        }
        let billed = |line: &&ReconciledLine| line.bill_tokens > 0 || line.bill != 0 && !line.model.is_empty();
        let is_whole = self.result.lines.iter().filter(billed).all(|line| shared.models.contains(&line.model));
        let provider = &self.bill.provider;
        let overlay = match is_whole {
            true => format!("in an overlay:\n  providers: {{ {provider}: {{ discount: \"{ratio}\" }} }}"),
            false => "other models have none: set the prices of these in an overlay".to_owned(),
        };
        format!("{models}: a discount, {ratio} of our price on {lines}; {overlay} (docs/how-to/prices.md)")
    }

    fn notes(&self) -> Vec<String> {
        let (own, mut notes) = (self.own, self.bill.notes.clone());
        let mut note = |count: u64, text: String| {
            if count > 0 {
                notes.push(text);
            }
        };
        let calls = format_count(own.clock_off, "call");
        note(own.clock_off, format!("the clocks of {calls} are wrong, so that the time of arrival counts"));
        let (covered, calls) = (Usd(own.covered.0), format_count(own.covered.1, "call"));
        note(own.covered.1, format!("{calls} that plans cover ({covered} USD) are left out, as no bill has them"));
        let (sum, corrections) = (Usd(own.corrections.0), format_count(own.corrections.1, "correction"));
        note(own.corrections.1, format!("{corrections} of {sum} USD in all name no model, so no sum has them"));
        let is_bare = !self.bill.has_tokens && self.result.cause(DifferenceCause::Unexplained) != 0;
        let more = "the bill has no numbers of tokens: the vendor's usage report, as a second --file, tells more apart";
        note(is_bare.into(), more.to_owned());
        notes
    }

    pub(crate) fn json(&self) -> Json {
        let amount = |atto: i128| Usd(atto).to_string();
        let causes = |of: &dyn Fn(DifferenceCause) -> i128| -> Json {
            let named = DifferenceCause::ALL.iter().map(|cause| (*cause, of(*cause)));
            let named = named.filter(|(cause, atto)| *atto != 0 || *cause == DifferenceCause::Unexplained);
            named
                .map(|(cause, atto)| (cause.as_str().to_owned(), json!(amount(atto))))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        let lines: Vec<Json> = (self.result.lines.iter())
            .map(|line| {
                json!({"from": line.period.from.to_string(), "to": line.period.to.to_string(), "model": &*line.model,
                    "bill": amount(line.bill), "tollgate": amount(line.own), "difference": amount(line.difference()),
                    "bill_tokens": line.bill_tokens, "unseen_tokens": line.unseen_tokens,
                    "causes": causes(&|cause| line.causes.get(&cause).copied().unwrap_or(0))})
            })
            .collect();
        let ratios: Vec<Json> = (self.result.ratios.iter())
            .map(|shared| {
                json!({"ratio": format_ratio(shared.ratio), "tier": shared.tier, "prices": shared.prices,
                    "models": shared.models.iter().map(|model| &**model).collect::<Vec<_>>(),
                    "hint": self.hint(shared)})
            })
            .collect();
        let [bill, own, difference] = self.sums().map(amount);
        json!({"provider": self.bill.provider, "currency": self.bill.currency, "time_zone": self.bill.zone_name,
            "shift_minutes": self.result.shift * 15, "calls": self.own.calls, "bill": bill, "tollgate": own, "unexplained_without_signs": amount(self.unexplained()),
            "difference": difference, "causes": causes(&|cause| self.result.cause(cause)),
            "problem": self.problem(), "hints": self.hints(), "ratios": ratios, "notes": self.notes(), "lines": lines})
    }
}

fn format_line(line: &ReconciledLine) -> String {
    let model = if line.model.is_empty() { "-".to_owned() } else { escape_unsafe(&line.model) };
    let causes = line.causes.iter().filter(|(cause, _)| **cause != DifferenceCause::Rounding);
    let causes = causes.map(|(cause, atto)| format!("{} {}", cause.as_str().replace('_', " "), format_amount(*atto)));
    let [billed, own, difference] = [line.bill, line.own, line.difference()].map(format_amount);
    let why = causes.collect::<Vec<_>>().join("; ");
    let row =
        format!("{:<12} {model:<34} {billed:>14} {own:>14} {difference:>14}  {why}", line.period.from.to_string());
    format!("{}\n", row.trim_end())
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
