//! `bill focus`: a month's costs as CSV in FOCUS 1.2 (focus.finops.org): a row for each day, owner, model, kind of
//! token and price, so that price times quantity is the cost, exactly. Cells that a spreadsheet would run as
//! formulas are made text.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::ToSpan as _;
use jiff::civil::Date;
use serde::Deserialize;
use serde_json::json;

use super::calls::{OwnCall, OwnPart, OwnStatus};
use super::days::utc_day_at;
use super::format::ChargeKind;
use super::own::{IndexArgs, NO_RATE, read_calls};
use super::prices::{Prices, parse_month};
use command::error::{CommandError, ExitStatus};
use command::output::{print, print_notes};
use kernel::files::{describe_io_error, read_text};
use rates::Usd;

/// Most rows of a file. A row takes about 1 kB.
const MAX_ROWS: usize = 2_000_000;
/// Largest file of teams, bytes.
const MAX_TEAMS: u64 = 16 << 20;

/// Options of `bill focus`.
#[derive(Args)]
pub struct FocusArgs {
    #[command(flatten)]
    index: IndexArgs,
    /// The month, such as `2026-11`, in UTC.
    #[arg(long)]
    month: String,
    /// The currency of the amounts. If it isn't USD, pass `--config` with its exchange rate (`cost.exchange`).
    #[arg(long, default_value = "USD")]
    currency: String,
    /// A CSV file without a heading for the tag `team`: in each line a user (its pseudonym), feature, tenant or
    /// account, and its team. The first match in this order counts.
    #[arg(long, value_name = "FILE")]
    teams: Option<PathBuf>,
}

/// What tells rows apart.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FocusRowKey {
    day: Date,
    account: String,
    tenant: String,
    provider: String,
    model: String,
    kind: ChargeKind,
    tier: String,
    is_covered: bool,
    /// Prices of one token, or of one use, 1e-18: without and with contracts, in the currency and then in USD.
    prices: Option<[i128; 4]>,
    /// JSON, in one order.
    tags: String,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct FocusRowSum {
    /// Tokens, or uses that cost a fee.
    quantity: u64,
    /// By the list, by contract, and what no plan covers, in the currency and then in USD, 1e-18.
    amounts: [i128; 4],
}

pub(crate) fn run(args: &FocusArgs, prices: &Prices) -> Result<ExitStatus, CommandError> {
    let (first, last) = parse_month(&args.month)?;
    let currency = args.currency.to_uppercase();
    let convert = prices.converter(&currency)?;
    let teams = args.teams.as_deref().map(read_teams).transpose()?.unwrap_or_default();
    let mut rows: BTreeMap<FocusRowKey, FocusRowSum> = BTreeMap::new();
    let mut unpriced = 0_u64;
    read_calls(&args.index, prices, first, &mut |call| {
        let Some(day) = utc_day_at(call.at).filter(|day| (first..=last).contains(day)) else { return Ok(()) };
        if call.status == OwnStatus::Unpriced {
            unpriced += 1;
            return Ok(());
        }
        let parts = rows_of(&call, day, &teams, &*convert);
        for (key, sum) in parts.ok_or(NO_RATE)? {
            rows.entry(key).or_default().add(sum);
        }
        if rows.len() <= MAX_ROWS {
            return Ok(());
        }
        Err(format!("more than {MAX_ROWS} rows: write one file for each --account or --tenant"))
    })?;
    let text = as_csv(&rows, first, &currency)?;
    print(&text)?;
    if unpriced > 0 {
        let note = format!("{unpriced} calls without a price are in no row (`tollgate rates reprice` prices them)");
        print_notes("note", [&note]);
    }
    Ok(ExitStatus::Success)
}

impl FocusRowSum {
    pub(crate) fn add(&mut self, other: Self) {
        self.quantity = self.quantity.saturating_add(other.quantity);
        self.amounts.iter_mut().zip(other.amounts).for_each(|(sum, one)| *sum = sum.saturating_add(one));
    }
}

/// The rows that a call adds to; `None` if its day has no exchange rate.
pub(crate) fn rows_of(
    call: &OwnCall<'_>,
    day: Date,
    teams: &HashMap<String, String>,
    convert: &(dyn Fn(i128, u64) -> Option<i128> + Sync),
) -> Option<Vec<(FocusRowKey, FocusRowSum)>> {
    let is_covered = call.tail.billing.is_some();
    let mut rows = Vec::new();
    for OwnPart { kind, tokens, atto, covered, list_atto } in &call.parts {
        let (list_usd, billed_usd) = (list_atto.unwrap_or(*atto), atto.saturating_sub(*covered));
        let [list, contracted, billed] = [list_usd, *atto, billed_usd].map(|amount| convert(amount, call.at));
        let (list, contracted, billed) = (list?, contracted?, billed?);
        // the fees of a call are one use
        let quantity = if *kind == ChargeKind::Fee { 1 } else { *tokens };
        let is_adjustment = call.status == OwnStatus::Correction || quantity == 0;
        let per_one = |amount: i128| amount / i128::from(quantity.max(1));
        let prices = (!is_adjustment).then(|| [list, contracted, list_usd, *atto].map(per_one));
        let key = FocusRowKey {
            day,
            account: call.tail.account.clone(),
            tenant: call.tail.tenant.clone(),
            provider: call.provider.clone(),
            model: call.model.clone(),
            kind: *kind,
            tier: call.tier.clone(),
            is_covered,
            prices,
            tags: tags_of(call, *kind, teams),
        };
        rows.push((key, FocusRowSum { quantity, amounts: [list, contracted, billed, billed_usd] }));
    }
    Some(rows)
}

/// The tags of a part of a call: who caused the cost, and for what. Those that nobody named are left out.
fn tags_of(call: &OwnCall<'_>, kind: ChargeKind, teams: &HashMap<String, String>) -> String {
    let tail = call.tail;
    let (user, feature) = (tail.user_key.as_deref(), tail.feature.as_deref());
    let of_team = |name: Option<&str>| name.and_then(|name| teams.get(name)).map(String::as_str);
    let named = [user, feature, Some(&*tail.tenant), Some(&*tail.account)];
    let tags = [
        ("account", Some(&*tail.account)),
        ("agent", tail.actor.as_deref()),
        ("billing", tail.billing.as_deref()),
        ("environment", tail.environment.as_deref()),
        ("feature", feature),
        ("issue", tail.issue_id.as_deref()),
        ("model", Some(&*call.model).filter(|model| !model.is_empty())),
        ("team", named.into_iter().find_map(of_team)),
        ("tenant", Some(&*tail.tenant)),
        ("tier", Some(&*call.tier).filter(|tier| !tier.is_empty())),
        ("token_kind", Some(kind.as_str())),
        ("user", user),
    ];
    let tags = tags.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?))));
    serde_json::Value::Object(tags.collect()).to_string()
}

/// Teams by user, feature, tenant or account.
fn read_teams(path: &Path) -> Result<HashMap<String, String>, CommandError> {
    let name = path.display();
    let text = read_text(path, MAX_TEAMS).map_err(|error| format!("{name}: {}", describe_io_error(error.kind())))?;
    let mut reader = csv::ReaderBuilder::new().has_headers(false).comment(Some(b'#')).from_reader(text.as_bytes());
    let mut teams = HashMap::new();
    for (number, record) in (1..).zip(reader.records()) {
        let record = record.ok().filter(|record| record.len() == 2);
        let record = record.ok_or_else(|| format!("{name}: line {number}: must have a name and its team"))?;
        let (Some(member), Some(team)) = (record.get(0), record.get(1)) else { continue };
        teams.insert(member.trim().to_owned(), team.trim().to_owned());
    }
    Ok(teams)
}

/// A text that no spreadsheet takes for a formula (OWASP, CSV injection).
fn escape_formula(text: &str) -> String {
    const SIGNS: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];
    let is_formula = text.trim_start().starts_with(SIGNS) || text.starts_with(char::is_whitespace);
    if is_formula { format!("'{text}") } else { text.to_owned() }
}

pub(crate) fn as_csv(
    rows: &BTreeMap<FocusRowKey, FocusRowSum>,
    first: Date,
    currency: &str,
) -> Result<String, CommandError> {
    let month = (first, first.checked_add(1.month()).map_err(|_| "the month is too far away")?);
    let names = column_names()?;
    let mut out = csv::Writer::from_writer(Vec::new());
    let failed = |error: csv::Error| CommandError::Failed(format!("can't write CSV: {error}"));
    out.write_record(&names).map_err(failed)?;
    for row in rows {
        out.write_record(cells(&names, row, month, currency)).map_err(failed)?;
    }
    let bytes = out.into_inner().map_err(|_| "can't write CSV")?;
    String::from_utf8(bytes).map_err(|_| "can't write CSV".into())
}

/// The columns of FOCUS 1.2.
fn column_names() -> Result<Vec<String>, CommandError> {
    #[derive(Deserialize)]
    struct Column {
        name: String,
    }
    #[derive(Deserialize)]
    struct File {
        columns: Vec<Column>,
    }
    let file = config::load::parse_data::<File>("focus_columns.yaml", include_str!("focus_columns.yaml"));
    let file = file.map_err(|problem| CommandError::Failed(problem.to_string()))?;
    Ok(file.columns.into_iter().map(|column| column.name).collect())
}

/// The cells of a row; one that a bill of tokens doesn't have is null.
fn cells(
    names: &[String],
    (key, sum): (&FocusRowKey, &FocusRowSum),
    month: (Date, Date),
    currency: &str,
) -> Vec<String> {
    let midnight = |day: Date| format!("{day}T00:00:00Z");
    let amount = |atto: i128| Usd(atto).to_string();
    // a million tokens, or one use
    let (unit, pricing_unit, scale) = match key.kind {
        ChargeKind::Fee => ("Requests", "Requests", 1),
        _ => ("Tokens", "1000000 Tokens", 1_000_000),
    };
    let [list, contracted, billed, billed_usd] = sum.amounts;
    let prices = key.prices.unwrap_or_default().map(|price| price.saturating_mul(scale));
    let [list_price, contracted_price, list_price_usd, contracted_price_usd] = prices;
    let quantity = i128::from(sum.quantity).saturating_mul(1_000_000_000_000_000_000 / scale);
    let tier = if key.tier.is_empty() { String::new() } else { format!("/{}", key.tier) };
    let sku = format!("{}/{}/{}", key.provider, key.model, key.kind.as_str());
    let provider = if key.provider.is_empty() { "tollgate" } else { &*key.provider };
    let details = json!({"Model": key.model, "ServiceTier": key.tier, "TokenKind": key.kind.as_str()});
    let cell = |name: &String| match &**name {
        "BilledCost" | "EffectiveCost" => amount(billed),
        "BillingAccountId" | "BillingAccountName" => escape_formula(&key.account),
        "BillingAccountType" => "tollgate account".to_owned(),
        "BillingCurrency" => currency.to_owned(),
        "BillingPeriodEnd" => midnight(month.1),
        "BillingPeriodStart" => midnight(month.0),
        "ChargeCategory" => if key.prices.is_some() { "Usage" } else { "Adjustment" }.to_owned(),
        "ChargeDescription" => escape_formula(&format!("{}: {}{tier}", key.model, key.kind.as_str())),
        "ChargeFrequency" => "Usage-Based".to_owned(),
        "ChargePeriodEnd" => midnight(key.day.tomorrow().unwrap_or(key.day)),
        "ChargePeriodStart" => midnight(key.day),
        "ContractedCost" => amount(contracted),
        "InvoiceIssuerName" | "ProviderName" | "PublisherName" | "ServiceName" => escape_formula(provider),
        "ListCost" => amount(list),
        "PricingCurrency" => "USD".to_owned(),
        "PricingCurrencyEffectiveCost" => amount(billed_usd),
        "ServiceCategory" => "AI and Machine Learning".to_owned(),
        "ServiceSubcategory" => "Generative AI".to_owned(),
        "SubAccountId" | "SubAccountName" => escape_formula(&key.tenant),
        "SubAccountType" => "tollgate tenant".to_owned(),
        "Tags" => key.tags.clone(),
        // the rest is of tokens and uses, which an adjustment has not
        _ if key.prices.is_none() => String::new(),
        "ConsumedQuantity" => sum.quantity.to_string(),
        "ConsumedUnit" => unit.to_owned(),
        "ContractedUnitPrice" => amount(contracted_price),
        "ListUnitPrice" => amount(list_price),
        "PricingCategory" => if key.is_covered { "Other" } else { "Standard" }.to_owned(),
        "PricingCurrencyContractedUnitPrice" => amount(contracted_price_usd),
        "PricingCurrencyListUnitPrice" => amount(list_price_usd),
        "PricingQuantity" => amount(quantity),
        "PricingUnit" => pricing_unit.to_owned(),
        "SkuId" => escape_formula(&sku),
        "SkuMeter" => key.kind.as_str().replace('_', " "),
        "SkuPriceDetails" => details.to_string(),
        "SkuPriceId" => escape_formula(&format!("{sku}{tier}")),
        _ => String::new(),
    };
    names.iter().map(cell).collect()
}
