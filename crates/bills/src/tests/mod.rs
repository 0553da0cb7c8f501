//! Exports as vendors write them, a synthetic month with known causes, and the arithmetic behind it.

mod arithmetic;
mod exports;
mod focus;
mod month;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::prices::Prices;
use genai::usage::{PriceBasis, TokenSplit};
use kernel::calendar::rfc3339;
use kernel::clock::UnixNanos;
use processors::cost::{CallPriceInput, price_call};
use rates::{RateTables, TableSource};
use vault::index_row::{IndexRow, RowTail};

/// 2026-11-01, Unix seconds.
pub(super) const NOVEMBER: u64 = 1_793_491_200;

/// The built-in prices, with these overlays.
pub(super) fn prices(overlays: &[&str]) -> Prices {
    let base = TableSource::builtin().unwrap();
    let overlays: Vec<_> = overlays.iter().map(|text| TableSource::parse("overlay", text).unwrap()).collect();
    Prices {
        tables: RateTables::build(&base, &overlays).unwrap(),
        list: base.compile().unwrap(),
        fees: false,
        exchange: None,
    }
}

/// The index line of a call, priced as a gateway would.
pub(super) fn line(prices: &Prices, (provider, model): (&str, &str), second: u64, units: TokenSplit) -> IndexRow {
    let time = second * 1_000_000_000;
    let basis = PriceBasis {
        time,
        provider: Some(provider.to_owned()),
        models: vec![model.to_owned()],
        units,
        ..PriceBasis::default()
    };
    let usd = price_call(prices.tables.common(), &CallPriceInput::from_basis(&basis), false).ok();
    let tail = RowTail {
        ts: rfc3339(UnixNanos(time)),
        ingest_ts: rfc3339(UnixNanos(time + 2_000_000_000)),
        signal: "traces".to_owned(),
        account: "acme".to_owned(),
        tenant: "shop".to_owned(),
        call: "model".to_owned(),
        status: "ok".to_owned(),
        provider: Some(provider.to_owned()),
        model: Some(model.to_owned()),
        cost_status: Some(if usd.is_some() { "priced" } else { "unpriced" }.to_owned()),
        cost_usd: usd.map(|priced| priced.total.to_string()),
        basis: Some(basis),
        ..RowTail::default()
    };
    IndexRow { v: 1, leaf: 0, object_key: None, off: None, of: None, tail }
}

pub(super) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Compares with a golden file; `TOLLGATE_UPDATE=1` writes it.
pub(super) fn assert_golden(path: &Path, text: &str) {
    if config::env::var("TOLLGATE_UPDATE").is_some() {
        std::fs::write(path, text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    let mut first = String::new();
    if let Some((at, (old, new))) = (1..).zip(golden.lines().zip(text.lines())).find(|(_, (old, new))| old != new) {
        write!(first, "line {at}:\n- {old}\n+ {new}").unwrap();
    }
    assert!(golden == text, "{} differs (TOLLGATE_UPDATE=1 writes it): {first}", path.display());
}
