//! [`Prices`]: what the commands need of a configuration, which only the root package can read.

use jiff::civil::Date;

use command::error::CommandError;
use rates::{Exchange, RateTable, RateTables, Usd};

/// The prices that divide amounts by kind of token.
pub struct Prices {
    pub tables: RateTables,
    /// The table without contracts.
    pub list: RateTable,
    /// Whether fees per use are charged.
    pub fees: bool,
    pub exchange: Option<Exchange>,
}

/// Turns 1e-18 USD at a time (Unix ns) into 1e-18 of a currency.
pub(crate) type Convert<'e> = Box<dyn Fn(i128, u64) -> Option<i128> + Send + Sync + 'e>;

impl Prices {
    pub(crate) fn converter(&self, currency: &str) -> Result<Convert<'_>, CommandError> {
        if currency == "USD" {
            return Ok(Box::new(|atto, _| Some(atto)));
        }
        match self.exchange.as_ref().filter(|exchange| exchange.currency().as_str() == currency) {
            Some(exchange) => Ok(Box::new(|atto, at| Some(exchange.convert(Usd(atto), at)?.0))),
            None => Err(CommandError::Failed(format!(
                "our amounts are in USD: for {currency}, give --config with `cost: {{ currency: {currency}, exchange: \
                 … }}`, so that they can be converted day by day"
            ))),
        }
    }
}

/// The first and last day of a month.
pub(crate) fn parse_month(text: &str) -> Result<(Date, Date), CommandError> {
    let first = format!("{text}-01").parse::<Date>().ok().filter(|_| text.len() == 7);
    let first = first.ok_or_else(|| CommandError::Usage("--month must be a month such as 2026-11".to_owned()))?;
    Ok((first, first.last_of_month()))
}
