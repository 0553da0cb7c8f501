//! Reads the rate table and overlays named in the settings. Errors name the file and the place in it. The formats are
//! defined in the crate `rates`; `refresh` fetches newer tables.

use std::fs;
use std::path::Path;

use rates::{Exchange, RateTables, RatesError, TableSource};
use telemetry::{Meter, names};

use super::config::{CostSettings, ExchangeSource, RatesSource};
use kernel::files::describe_io_error;

/// Maximum size of a table file, bytes.
const MAX_TABLE_BYTES: u64 = 64 << 20;

impl CostSettings {
    /// Loads the base table.
    ///
    /// # Errors
    /// The file cannot be read, or is not a rate table.
    pub fn load_base(&self) -> Result<TableSource, RatesError> {
        match &self.rates {
            RatesSource::Builtin => TableSource::builtin(),
            RatesSource::File(path) => read_table(path),
        }
    }

    /// Loads the overlays with contract prices, in order.
    ///
    /// # Errors
    /// A file cannot be read, or is not an overlay.
    pub fn load_overlays(&self) -> Result<Vec<TableSource>, RatesError> {
        self.overlays.iter().map(|path| read_table(path)).collect()
    }

    /// Loads the rates of exchange, if there is another currency.
    ///
    /// # Errors
    /// The file cannot be read, or a line is wrong.
    pub fn load_exchange(&self) -> Result<Option<Exchange>, RatesError> {
        match self.exchange.clone() {
            Some(ExchangeSource::File(currency, path)) => {
                let text = read_text(&path)?;
                Exchange::parse(currency, &path.display().to_string(), &text).map(Some)
            }
            Some(ExchangeSource::Fixed(exchange)) => Ok(Some(exchange)),
            None => Ok(None),
        }
    }
}

fn read_table(path: &Path) -> Result<TableSource, RatesError> {
    TableSource::parse(&path.display().to_string(), &read_text(path)?)
}

fn read_text(path: &Path) -> Result<String, RatesError> {
    let name = path.display().to_string();
    let failed = |error: std::io::Error| {
        let why = describe_io_error(error.kind());
        let folder = std::env::current_dir().ok().filter(|_| path.is_relative());
        let base =
            folder.map_or(String::new(), |folder| format!(" (a relative path, looked up in {})", folder.display()));
        RatesError(format!("{name}: {why}{base}"))
    };
    if fs::metadata(path).map_err(failed)?.len() > MAX_TABLE_BYTES {
        return Err(RatesError(format!(
            "{name}: the file is larger than {MAX_TABLE_BYTES} bytes, the limit for tables of rates"
        )));
    }
    fs::read_to_string(path).map_err(failed)
}

/// Sets the gauges of the given tables: 1 = in use, 0 = no longer in use.
pub(super) fn set_table_gauges(meter: &Meter, rates: &RateTables, value: f64) {
    let tables = std::iter::once(rates.common()).chain(rates.tenants().map(|tenant| rates.table(Some(tenant))));
    for table in tables {
        meter.gauge(&names::RATES_INFO, &[("version", table.version()), ("sha256", table.digest())]).set(value);
    }
}
