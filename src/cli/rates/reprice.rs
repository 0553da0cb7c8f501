//! `tollgate rates reprice`: what calls would have cost under another table, from OTLP files or the index of a vault.
//! The code of the `cost` processor prices them at the calls' own times. The same input and table give the same output;
//! stored data is not changed. The price of a call is computed in `processors/cost`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use clap::Args;
use serde_json::{Value as Json, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::tables::{print_pretty_json, read_table};
use audit::read::{IndexLines, StoreAccessArgs, Vault, each_row};
use command::error::{CommandError, ExitStatus};
use command::keyfile;
use command::output::print;
use command::runtime::block_on;
use genai::{BillingStatus, Facts, Vocabulary};
use kernel::clock::UnixNanos;
use kernel::files::describe_io_error;
use kernel::hex;
use kernel::pseudonym::Pseudonymizer;
use kernel::terminal::format_count;
use otlp::{Payload, Signal, json as otlp_json};
use pipeline::{Batch, BatchOrigin, Processor as _, Trust};
use processors::cost::{CostConfig, CostProcessor, price_basis};
use rates::{RateTables, Usd};
use telemetry::Meter;
use vault::index_row::IndexRow;
use vault::object_names::{UNATTRIBUTED, rfc3339};

/// Maximum number of calls that the text output lists.
const MAX_LINES: usize = 200;

/// Options of `rates reprice`.
#[derive(Args)]
pub(crate) struct RepriceArgs {
    /// OTLP files: JSON (also one request per line) or protobuf.
    files: Vec<PathBuf>,
    /// The new table.
    #[arg(long, default_value = "builtin", value_name = "FILE")]
    rates: String,
    /// Overlays, in order.
    #[arg(long, value_name = "FILE")]
    overlay: Vec<String>,
    /// Adds usage fees.
    #[arg(long)]
    fees: bool,
    /// Only calls that had no price.
    #[arg(long)]
    only_unpriced: bool,
    /// Signal of a protobuf file whose name doesn't show it: `traces` or `logs`.
    #[arg(long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Reads the index of this vault.
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX")]
    store: Option<String>,
    /// Only calls that began at this time or later, RFC 3339.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only calls that began before this time.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Only this account of the vault.
    #[arg(long)]
    account: Option<String>,
    /// Only this tenant: its `h-…` pseudonym, or with `--pseudonym-key` its name.
    #[arg(long)]
    tenant: Option<String>,
    /// The gateway's pseudonym key (`pseudonym.key` beside its spool), and earlier ones after a rotation. They identify
    /// tenants whose names are not in the index, for `--tenant` and for overlays of single tenants.
    #[arg(long, value_name = "FILE")]
    pseudonym_key: Vec<PathBuf>,
    #[command(flatten)]
    store_access: StoreAccessArgs,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// One call with its old and new price.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RepricedCall {
    /// Start of the call, RFC 3339.
    pub(super) began: String,
    pub(super) trace: String,
    pub(super) span: String,
    pub(super) tenant: String,
    pub(super) model: String,
    /// The old price as an exact decimal, if there was one.
    pub(super) old: Option<String>,
    /// The table of the old price.
    pub(super) old_rates: String,
    pub(super) new: Option<String>,
    /// Why there is no new price.
    pub(super) reason: String,
    pub(super) new_rates: String,
    /// The row of the table that was used.
    pub(super) rate: String,
}

#[derive(Default)]
pub(super) struct RepriceReport {
    pub(super) lines: Vec<RepricedCall>,
    /// Number of rows from older versions, which did not store the basis of a price.
    pub(super) without_basis: u64,
    /// Number of rows whose tenant is unknown although overlays of single tenants exist: priced without those overlays.
    pub(super) unknown_tenants: u64,
}

/// The means to identify tenants behind pseudonyms.
#[derive(Default)]
pub(super) struct TenantLookup {
    pub(super) keys: Vec<Pseudonymizer>,
    /// The tenant requested with `--tenant`.
    pub(super) wanted: Option<String>,
}

impl TenantLookup {
    fn from_options(options: &RepriceArgs) -> Result<Self, CommandError> {
        let keys = options.pseudonym_key.iter().map(|path| {
            let key = keyfile::read_argument(path).map_err(|error| error.to_string())?;
            let key = key.ok_or_else(|| format!("{}: no such file", path.display()))?;
            Ok::<_, String>(Pseudonymizer::new(&key))
        });
        Ok(Self { keys: keys.collect::<Result<_, _>>()?, wanted: options.tenant.clone() })
    }

    /// The name of the tenant behind a row's pseudonym, if a key tells it.
    fn find_behind<'a>(&'a self, rates: &'a RateTables, account: &str, shown_tenant: &str) -> Option<&'a str> {
        let is_behind = |name: &&str| self.keys.iter().any(|key| key.has_made(account, name, shown_tenant));
        rates.tenants().chain(self.wanted.as_deref()).find(is_behind)
    }
}

/// Prices the calls again and prints the report.
pub(super) fn run(options: &RepriceArgs) -> Result<ExitStatus, CommandError> {
    if options.files.is_empty() == options.store.is_none() {
        return Err(CommandError::Usage(
            "pass either OTLP files or --store, which reads the index of a vault".to_owned(),
        ));
    }
    let base = read_table(&options.rates)?;
    let overlays = options.overlay.iter().map(|path| read_table(path)).collect::<Result<Vec<_>, _>>()?;
    let build_tables = || RateTables::build(&base, &overlays);
    let mut report = RepriceReport::default();
    if options.files.is_empty() {
        price_index(options, &build_tables()?, &TenantLookup::from_options(options)?, &mut report)?;
    } else {
        let mut calls = CallPricer::new(build_tables()?, options.fees)?;
        for path in &options.files {
            calls.price_file(path, options.signal.as_deref(), &mut report)?;
        }
    }
    let (from, to) = (parse_instant(options.from.as_deref())?, parse_instant(options.to.as_deref())?);
    let is_selected = |line: &RepricedCall| {
        from.as_ref().is_none_or(|from| line.began >= *from)
            && to.as_ref().is_none_or(|to| line.began < *to)
            && options.tenant.as_ref().is_none_or(|tenant| *tenant == line.tenant)
            && (!options.only_unpriced || line.old.is_none())
    };
    report.lines.retain(is_selected);
    report.lines.sort();
    if options.json {
        print_pretty_json(&as_json(&report))?;
    } else {
        print(&as_text(&report))?;
    }
    Ok(ExitStatus::Success)
}

/// Converts a time to the form used in lines.
fn parse_instant(text: Option<&str>) -> Result<Option<String>, CommandError> {
    let Some(text) = text else { return Ok(None) };
    let time = OffsetDateTime::parse(text, &Rfc3339).ok();
    let nanos = time.and_then(|time| u64::try_from(time.unix_timestamp_nanos()).ok());
    nanos
        .map(|nanos| Some(rfc3339(UnixNanos(nanos))))
        .ok_or_else(|| CommandError::Failed(format!("{text} is not a time in RFC 3339")))
}

/// Prices OTLP requests as a gateway would, each call once across all requests.
pub(super) struct CallPricer {
    cost: CostProcessor,
    batches: u128,
}

impl CallPricer {
    pub(super) fn new(rates: RateTables, fees: bool) -> Result<Self, CommandError> {
        let config = CostConfig { reprice: true, fees, ..CostConfig::default() };
        let settings = config.settings().map_err(|_| "the settings of `cost` are invalid")?;
        let vocabulary = Arc::new(Vocabulary::builtin().map_err(|error| error.0)?);
        let cost = CostProcessor::new("cost".into(), &settings, vocabulary, &Meter::new()).map_err(|error| error.0)?;
        cost.replace_tables(rates, UnixNanos(0));
        Ok(Self { cost, batches: 0 })
    }

    fn price_file(
        &mut self,
        path: &Path,
        signal: Option<&str>,
        report: &mut RepriceReport,
    ) -> Result<(), CommandError> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| format!("{name}: {}", describe_io_error(error.kind())))?;
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            let signal = match signal {
                Some("logs") => Signal::Logs,
                Some("traces") => Signal::Traces,
                Some(_) => return Err("the signal must be `traces` or `logs`".into()),
                None if path.file_name().is_some_and(|name| name.to_string_lossy().contains("logs")) => Signal::Logs,
                None => Signal::Traces,
            };
            return self.price_request(&name, signal, bytes.into(), report);
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| format!("{name}: not UTF-8"))?;
        let is_one_document = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
        let requests: Vec<&str> =
            if is_one_document { vec![text] } else { text.lines().filter(|line| !line.trim().is_empty()).collect() };
        for request in requests {
            let signal = match (request.contains("\"resourceSpans\""), request.contains("\"resourceLogs\"")) {
                (true, _) => Signal::Traces,
                (false, true) => Signal::Logs,
                (false, false) => continue,
            };
            let wire = otlp_json::decode(signal, request.as_bytes()).map_err(|error| format!("{name}: {error}"))?;
            self.price_request(&name, signal, wire.into(), report)?;
        }
        Ok(())
    }

    fn price_request(
        &mut self,
        name: &str,
        signal: Signal,
        wire: Bytes,
        report: &mut RepriceReport,
    ) -> Result<(), CommandError> {
        let payload = Payload::parse(signal, wire).map_err(|error| format!("{name}: {}", error.message))?;
        self.price_payload(payload, report).map(drop)
    }

    /// Prices one request and returns its facts.
    pub(super) fn price_payload(
        &mut self,
        payload: Payload,
        report: &mut RepriceReport,
    ) -> Result<Arc<Facts>, CommandError> {
        self.batches += 1;
        let origin = BatchOrigin {
            account: "default".into(),
            identity: pipeline::ClientIdentity::Unverified,
            receiver: "file".into(),
            trust: Trust::Internal,
            received: UnixNanos(1),
            id: self.batches.to_be_bytes(),
            repeat: false,
            source_record: None,
        };
        let before: Vec<(Option<String>, String)> = (payload.items())
            .map(|node| {
                let text = |key: &str| payload.get_str(node, key).map(str::to_owned);
                (text("tollgate.cost.usd"), text("tollgate.cost.rates").unwrap_or_default())
            })
            .collect();
        let mut batch = Batch::new(Arc::new(origin), payload);
        self.cost.process(&mut batch).map_err(|_| "the request can't be priced")?;
        batch.effects.iter().for_each(|effect| self.cost.apply(effect));
        let Some(facts) = batch.facts.clone().and_then(|facts| facts.downcast::<Facts>().ok()) else {
            return Ok(Arc::default());
        };
        for (item, (old, old_rates)) in facts.items.iter().zip(before) {
            let Some(cost) = item
                .cost
                .as_ref()
                .filter(|cost| !matches!(cost.status, BillingStatus::Deferred | BillingStatus::NotCounted))
            else {
                continue;
            };
            let payload = &batch.payload;
            let id = |bytes: &[u8]| hex::encode(bytes);
            report.lines.push(RepricedCall {
                began: rfc3339(UnixNanos(payload.time(item.node))),
                trace: id(payload.trace_id(item.node)),
                span: id(payload.span_id(item.node)),
                tenant: item.tenant.clone().unwrap_or_else(|| UNATTRIBUTED.to_owned()),
                model: item.response_model.clone().or_else(|| item.request_model.clone()).unwrap_or_default(),
                old,
                old_rates,
                new: cost.usd.clone(),
                reason: cost.reason.unwrap_or_default().to_owned(),
                new_rates: cost.rate_table.to_string(),
                rate: cost.rate_row.clone().unwrap_or_default(),
            });
        }
        report.lines.extend(facts.late_prices.iter().map(|late| RepricedCall {
            began: rfc3339(UnixNanos(late.basis.time)),
            trace: hex::encode(&late.trace),
            span: hex::encode(&late.span),
            tenant: late.tenant.clone().unwrap_or_else(|| UNATTRIBUTED.to_owned()),
            model: late.basis.models.first().cloned().unwrap_or_default(),
            new: late.cost.usd.clone(),
            reason: late.cost.reason.unwrap_or_default().to_owned(),
            new_rates: late.cost.rate_table.to_string(),
            rate: late.cost.rate_row.clone().unwrap_or_default(),
            ..RepricedCall::default()
        }));
        Ok(facts)
    }
}

fn price_index(
    options: &RepriceArgs,
    rates: &RateTables,
    tenants: &TenantLookup,
    report: &mut RepriceReport,
) -> Result<(), CommandError> {
    let location = options.store_access.location(options.store.as_deref().unwrap_or_default(), None);
    block_on(async {
        let vault = Vault::from_location(&location)?;
        let account = options.account.as_deref();
        let mut on_row = |_: &str, row| reprice_row(&row, rates, tenants, options.fees, report);
        let unreadable = each_row(&vault, account, &|_| true, IndexLines::All, &mut on_row).await?.unreadable;
        // A total that lacks the unreadable lines would look complete.
        if unreadable.is_empty() { Ok(()) } else { Err(CommandError::Failed(unreadable.join("\n"))) }
    })
}

/// Prices one line of an index again.
pub(super) fn reprice_row(
    row: &IndexRow,
    rates: &RateTables,
    tenants: &TenantLookup,
    fees: bool,
    report: &mut RepriceReport,
) {
    let tail = &row.tail;
    let status = tail.cost_status.as_deref();
    if !matches!(status, Some("priced" | "unpriced" | "correction")) {
        return;
    }
    if status == Some("correction") && tail.basis.as_ref().is_none_or(|basis| basis.billed_before.is_none()) {
        // what it changes was priced in other lines; only what a call cost on top of an earlier record has a price
        let (old, new) = (tail.cost_usd.clone(), tail.cost_usd.clone());
        report.lines.push(RepricedCall { old, new, began: tail.ts.clone(), ..RepricedCall::default() });
        return;
    }
    let Some(basis) = &tail.basis else {
        report.without_basis += 1;
        return;
    };
    let behind = tenants.find_behind(rates, &tail.account, &tail.tenant);
    let (table, is_unknown) = rates.table_of_line(&tail.tenant, basis.contract.as_deref(), behind);
    report.unknown_tenants += u64::from(is_unknown);
    let mut line = RepricedCall {
        began: rfc3339(UnixNanos(basis.time)),
        trace: tail.trace_id.clone().unwrap_or_default(),
        span: tail.span_id.clone().unwrap_or_default(),
        tenant: behind.unwrap_or(&tail.tenant).to_owned(),
        model: basis.models.first().cloned().unwrap_or_default(),
        old: tail.cost_usd.clone(),
        old_rates: tail.rates.clone().unwrap_or_default(),
        new_rates: table.stamp().to_string(),
        ..RepricedCall::default()
    };
    match price_basis(table, basis, fees) {
        Ok(priced) => (line.new, line.rate) = (Some(priced.total.to_string()), priced.rate),
        Err(unpriced) => unpriced.reason.as_str().clone_into(&mut line.reason),
    }
    report.lines.push(line);
}

/// Exact totals: old, new, and the number of calls without an old and a new price.
fn total_prices(report: &RepriceReport) -> (Option<Usd>, Option<Usd>, usize, usize) {
    let sum = |price_of: fn(&RepricedCall) -> &Option<String>| {
        let mut amounts = report.lines.iter().filter_map(|line| price_of(line).as_deref());
        amounts.try_fold(Usd::ZERO, |sum, text| sum.plus(Usd::parse(text)?))
    };
    let count_without = |price_of: fn(&RepricedCall) -> &Option<String>| {
        report.lines.iter().filter(|line| price_of(line).is_none()).count()
    };
    (sum(|line| &line.old), sum(|line| &line.new), count_without(|line| &line.old), count_without(|line| &line.new))
}

/// The new price minus the old one, if both are known.
fn price_change(line: &RepricedCall) -> Option<String> {
    let (old, new) = (Usd::parse(line.old.as_deref()?)?, Usd::parse(line.new.as_deref()?)?);
    Some(new.minus(old)?.to_string())
}

pub(super) fn as_json(report: &RepriceReport) -> Json {
    let (old, new, unpriced_before, unpriced_after) = total_prices(report);
    let calls: Vec<Json> = (report.lines.iter())
        .map(|line| {
            json!({"time": line.began, "trace_id": line.trace, "span_id": line.span, "tenant": line.tenant, "model": line.model,
                "old_usd": line.old, "old_rates": line.old_rates, "new_usd": line.new, "new_rates": line.new_rates,
                "delta_usd": price_change(line), "rate": line.rate, "reason": line.reason})
        })
        .collect();
    let text = |usd: Option<Usd>| usd.map(|usd| usd.to_string());
    json!({"calls": calls, "old_usd": text(old), "new_usd": text(new), "unpriced_before": unpriced_before,
        "unpriced_after": unpriced_after, "rows_without_basis": report.without_basis, "rows_of_unknown_tenants": report.unknown_tenants})
}

fn as_text(report: &RepriceReport) -> String {
    let mut text = String::new();
    let changed: Vec<&RepricedCall> = report.lines.iter().filter(|line| line.old != line.new).collect();
    for line in changed.iter().take(MAX_LINES) {
        let (old, new) = (line.old.as_deref().unwrap_or("unpriced"), line.new.as_deref().unwrap_or(&line.reason));
        let began = line.began.get(..19).unwrap_or(&line.began);
        text.push_str(&format!("{began}  {:<16} {:<32} {old:>16} -> {new:<16}\n", line.tenant, line.model));
    }
    if changed.len() > MAX_LINES {
        text.push_str(&format!("… and {} more (--json shows all)\n", changed.len() - MAX_LINES));
    }
    let (old, new, unpriced_before, unpriced_after) = total_prices(report);
    let usd = |usd: Option<Usd>| usd.map_or("too large".to_owned(), |usd| usd.to_string());
    text.push_str(&format!(
        "{}, {} with another price: {} USD before ({unpriced_before} without a price), {} USD after ({unpriced_after} without)\n",
        format_count(report.lines.len(), "call"),
        changed.len(),
        usd(old),
        usd(new)
    ));
    if report.without_basis > 0 {
        text.push_str(&format!(
            "{} rows were left out because they do not contain the data needed for a price\n",
            report.without_basis
        ));
    }
    if report.unknown_tenants > 0 {
        text.push_str(&format!(
            "{} rows belong to tenants whose names are not in the index: priced without tenant overlays (see --pseudonym-key)\n",
            report.unknown_tenants
        ));
    }
    text
}
