//! **What**: reads the table and overlays that the settings name. **Invariants**: errors name files and places.
//! **Not here**: what is in them (`rates/`), newer ones (`app/rates`).

use std::fs;
use std::path::Path;

use rates::{Rates, RatesError, Source};
use telemetry::{Meter, names};

use super::config::{RatesFrom, Settings};

/// Largest table that is read, bytes.
const MAX_BYTES: u64 = 64 << 20;

impl Settings {
    /// The table below everything.
    ///
    /// # Errors
    /// The file can't be read, or is no table.
    pub fn base(&self) -> Result<Source, RatesError> {
        match &self.rates {
            RatesFrom::Builtin => Source::builtin(),
            RatesFrom::File(path) => read(path),
        }
    }

    /// Contract prices, in order.
    ///
    /// # Errors
    /// A file can't be read, or is no overlay.
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

/// Says which tables are in use (1) or were (0).
pub(super) fn tell(meter: &Meter, rates: &Rates, value: f64) {
    let tables = std::iter::once(rates.common()).chain(rates.tenants().map(|tenant| rates.table(Some(tenant))));
    for table in tables {
        meter.gauge(&names::RATES_INFO, &[("version", table.version()), ("sha256", table.digest())]).set(value);
    }
}
