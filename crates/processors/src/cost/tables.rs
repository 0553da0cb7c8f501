//! Reads the rate table and overlays named in the settings. Errors name the file and the place in it. The formats are
//! defined in the crate `rates`; `app/rates` fetches newer tables.

use std::fs;
use std::path::Path;

use rates::{Rates, RatesError, Source};
use telemetry::{Meter, names};

use super::config::{RatesFrom, Settings};

/// Maximum size of a table file, bytes.
const MAX_BYTES: u64 = 64 << 20;

impl Settings {
    /// Loads the base table.
    ///
    /// # Errors
    /// The file cannot be read, or is not a rate table.
    pub fn base(&self) -> Result<Source, RatesError> {
        match &self.rates {
            RatesFrom::Builtin => Source::builtin(),
            RatesFrom::File(path) => read(path),
        }
    }

    /// Loads the overlays with contract prices, in order.
    ///
    /// # Errors
    /// A file cannot be read, or is not an overlay.
    pub fn overlays(&self) -> Result<Vec<Source>, RatesError> {
        self.overlays.iter().map(|path| read(path)).collect()
    }
}

fn read(path: &Path) -> Result<Source, RatesError> {
    let name = path.display().to_string();
    let failed = |error: std::io::Error| RatesError(format!("{name}: {}", error.kind()));
    if fs::metadata(path).map_err(failed)?.len() > MAX_BYTES {
        return Err(RatesError(format!("{name}: larger than {MAX_BYTES} bytes")));
    }
    Source::parse(&name, &fs::read_to_string(path).map_err(failed)?)
}

/// Sets the gauges of the given tables: 1 = in use, 0 = no longer in use.
pub(super) fn tell(meter: &Meter, rates: &Rates, value: f64) {
    let tables = std::iter::once(rates.common()).chain(rates.tenants().map(|tenant| rates.table(Some(tenant))));
    for table in tables {
        meter.gauge(&names::RATES_INFO, &[("version", table.version()), ("sha256", table.digest())]).set(value);
    }
}
