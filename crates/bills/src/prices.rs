//! [`Prices`]: what the commands need of a configuration, which only the root package can read.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::amounts::WHOLE;
use super::days::second_of;
use super::format::{ChargeKind, kind_of};
use command::error::CommandError;
use rates::{CallCircumstances, Exchange, RateQuery, RateTable, RateTables, Unit, Usd};

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
                 … }}`, so that they can be converted day by day (docs/how-to/prices.md#another-currency)"
            ))),
        }
    }

    /// The rate table's id of a model that a bill names, in lower case.
    pub(crate) fn find_model(&self, provider: &str, model: &str, day: Date) -> Option<String> {
        let (models, query) = ([model], CallCircumstances::default());
        let query = RateQuery { provider: Some(provider), models: &models, time: noon(day)?, circumstances: query };
        self.tables.common().row(&query, 0).ok().map(|row| row.model().to_lowercase())
    }

    /// The list price of one token in a tier, as a ratio of the standard price, in 1e-9. `None`: not listed.
    pub(crate) fn tier_ratio(
        &self,
        provider: &str,
        model: &str,
        day: Date,
        (kind, tier): (ChargeKind, &str),
    ) -> Option<u64> {
        if tier.is_empty() {
            return Some(WHOLE);
        }
        let unit = Unit::ALL.iter().copied().find(|unit| kind_of(*unit) == kind).unwrap_or(Unit::Input);
        let (models, time) = ([model], noon(day)?);
        let price = |circumstances| {
            let query = RateQuery { provider: Some(provider), models: &models, time, circumstances };
            let row = self.list.row(&query, 0).ok().filter(|row| !row.flags().context_unmatched)?;
            row.price(unit).map(|(price, _)| price.0)
        };
        let speed = (tier == "fast").then_some(tier);
        let service_tier = speed.is_none().then_some(tier);
        let standard = price(CallCircumstances::default()).filter(|price| *price > 0)?;
        let own = price(CallCircumstances { service_tier, speed, ..CallCircumstances::default() })?;
        u64::try_from(own.checked_mul(i128::from(WHOLE))? / standard).ok()
    }
}

/// The middle of a day, UTC, Unix ns: prices change at its ends.
fn noon(day: Date) -> Option<u64> {
    second_of(day, 12, &TimeZone::UTC)?.checked_mul(1_000_000_000)
}

/// The first and last day of a month.
pub(crate) fn parse_month(text: &str) -> Result<(Date, Date), CommandError> {
    let first = format!("{text}-01").parse::<Date>().ok().filter(|_| text.len() == 7);
    let first = first.ok_or_else(|| CommandError::Usage("--month must be a month such as 2026-11".to_owned()))?;
    Ok((first, first.last_of_month()))
}
