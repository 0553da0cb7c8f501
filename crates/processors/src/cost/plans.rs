//! Plans: which calls are paid with a seat or reserved capacity, not each by the rate table. [`Plans`] finds the plan
//! of a call, once, when the call is priced; [`BasisAmounts`] splits an amount by how its calls are billed. The seats'
//! use is summed up by `rates::SeatSums`.

use std::collections::BTreeMap;

use calls::{CallRecord, Correction, Money, traits};
use config::FieldProblem;
use genai::{BillingBasis, ItemFacts, OwnerKey, VERIFIED_IDS, Vocabulary};
use otlp::Payload;
use rates::Usd;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Attributes that name the user beside the item's user id.
const USER_KEYS: [&str; 3] = ["user.email", "user.account_uuid", "user.account_id"];

/// A plan: how the calls of some users, accounts or models are billed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanConfig {
    /// Name of the plan, as the page shows it.
    pub name: String,
    /// `subscription` (a seat's price includes the calls), `provisioned` (the price of reserved capacity does), or
    /// `api` (each call is to pay, whatever the client says).
    pub billing: BillingBasis,
    /// The plan's calls. A call must match each key that is given, by one of its values.
    #[serde(rename = "match")]
    pub matches: PlanMatch,
    /// Price of a user's seat a month, in USD, such as `"100"`. The page and the API compare it with what the seat's
    /// calls would have cost.
    #[serde(default)]
    pub seat_usd: Option<String>,
}

/// The calls of a plan. Give at least one key.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PlanMatch {
    /// User ids or e-mail addresses: the call's user, or its `user.email`, `user.account_uuid` or `user.account_id`.
    pub user: Vec<String>,
    /// Domains of these addresses.
    pub user_domain: Vec<String>,
    /// Accounts of the receivers' credentials.
    pub account: Vec<String>,
    /// Tenants of the calls.
    pub tenant: Vec<String>,
    /// Providers, as the rate table names them.
    pub provider: Vec<String>,
    /// Models, as the call names them.
    pub model: Vec<String>,
    /// Attributes of the item or its resource, each with its values.
    pub attributes: BTreeMap<String, Vec<String>>,
}

impl PlanMatch {
    /// All but the attributes; those of the user first.
    fn lists(&self) -> [&[String]; 6] {
        [&self.user, &self.user_domain, &self.account, &self.tenant, &self.provider, &self.model]
    }

    /// Whether a key other than the user's tells the calls of both apart.
    fn excludes(&self, other: &Self) -> bool {
        let mut lists = self.lists().into_iter().zip(other.lists()).skip(2);
        let is_apart = |one: &[String], two: &[String]| !two.is_empty() && !allows(one, two);
        lists.any(|(one, two)| is_apart(one, two))
            || self.attributes.iter().any(|(key, one)| other.attributes.get(key).is_some_and(|two| is_apart(one, two)))
    }

    /// The key that names a user or domain which `earlier` names too.
    fn repeated_key(&self, earlier: &Self) -> Option<&'static str> {
        let is_in = |list: &[String], name: &str| !list.is_empty() && allows(list, &[name]);
        let has_domain = |domain: &str| is_in(&earlier.user_domain, domain);
        let has_user = |user: &String| is_in(&earlier.user, user) || domain(user).is_some_and(has_domain);
        let user = self.user.iter().any(has_user).then_some("user");
        user.or_else(|| self.user_domain.iter().any(|domain| has_domain(domain)).then_some("user_domain"))
    }
}

/// Whether a list is empty or has one of the names.
fn allows(list: &[String], names: &[impl AsRef<str>]) -> bool {
    let is_named = |known: &String| names.iter().any(|name| known.eq_ignore_ascii_case(name.as_ref()));
    list.is_empty() || list.iter().any(is_named)
}

fn domain(address: &str) -> Option<&str> {
    address.rsplit_once('@').map(|(_, domain)| domain)
}

/// Checks plans: each has a name of its own and matches something, and no user is in two of them.
pub(super) fn check_plans(plans: &[PlanConfig], problems: &mut Vec<FieldProblem>) {
    const TWICE: &str = "names a user of an earlier plan too: a user must be in one plan, or another key must tell the \
        calls of the plans apart";
    for (at, plan) in plans.iter().enumerate() {
        let (earlier, matches) = (plans.get(..at).unwrap_or_default(), &plan.matches);
        let has_name = !plan.name.trim().is_empty() && earlier.iter().all(|other| other.name != plan.name);
        let has_key = matches.lists().iter().any(|list| !list.is_empty()) || !matches.attributes.is_empty();
        let is_price = |text: &String| Usd::parse(text).is_some_and(|usd| usd > Usd::ZERO);
        let has_seats = plan.billing == BillingBasis::Subscription && plan.seat_usd.as_ref().is_none_or(is_price);
        let mut repeated = earlier.iter().filter(|other| !matches.excludes(&other.matches));
        let repeated = repeated.find_map(|other| matches.repeated_key(&other.matches));
        let found = [
            (!has_name).then_some(("name", "must be a name that no other plan has")),
            (!has_key).then_some((
                "match",
                "must name at least one user, user_domain, account, tenant, provider, model or attribute",
            )),
            (plan.seat_usd.is_some() && !has_seats)
                .then_some(("seat_usd", "must be an amount in USD above zero, and only with `billing: subscription`")),
            repeated.map(|key| (if key == "user" { "match.user" } else { "match.user_domain" }, TWICE)),
        ];
        let to_problem = |(field, problem)| FieldProblem::new(format!("plans[{at}].{field}"), problem);
        problems.extend(found.into_iter().flatten().map(to_problem));
    }
}

/// The checked plans, in their order.
pub(super) struct Plans(Vec<PlanConfig>);

impl Plans {
    /// The plans as configured, with providers by their current names, as items have them.
    pub(super) fn new(plans: &[PlanConfig], vocabulary: &Vocabulary) -> Self {
        let mut plans = plans.to_vec();
        for provider in plans.iter_mut().flat_map(|plan| &mut plan.matches.provider) {
            *provider = vocabulary.current_provider_name(provider).unwrap_or_else(|| provider.clone());
        }
        Self(plans)
    }

    /// The prices of a seat a month, by plan.
    pub(super) fn seat_prices(&self) -> BTreeMap<String, Usd> {
        let price = |plan: &PlanConfig| Some((plan.name.clone(), Usd::parse(plan.seat_usd.as_deref()?)?));
        self.0.iter().filter_map(price).collect()
    }

    /// The first plan that matches a call. Without one, a call is billed as its client says, else by the rate table.
    pub(super) fn find(&self, payload: &Payload, account: &str, item: &ItemFacts) -> Option<&PlanConfig> {
        if self.0.is_empty() {
            return None;
        }
        let resource = payload.resource(item.node);
        let text = |key: &str| payload.get_str(item.node, key).or_else(|| payload.get_str(resource, key));
        // beside a verified user, what the client says of one proves nothing
        let is_verified = text(VERIFIED_IDS).is_some_and(|kinds| OwnerKey::User.is_verified_in(kinds));
        let claimed = USER_KEYS.into_iter().filter(|_| !is_verified).filter_map(text);
        let users: Vec<&str> = item.stated_user().into_iter().chain(claimed).collect();
        let domains = users.iter().filter_map(|user| domain(user)).collect();
        let models = [&item.response_model, &item.request_model].into_iter().flatten().map(String::as_str).collect();
        let [tenant, provider] = [&item.tenant, &item.provider].map(|name| name.as_deref().into_iter().collect());
        let names: [Vec<&str>; 6] = [users, domains, vec![account], tenant, provider, models];
        self.0.iter().find(|PlanConfig { matches, .. }| {
            matches.lists().into_iter().zip(&names).all(|(list, names)| allows(list, names))
                && matches.attributes.iter().all(|(key, values)| allows(values, text(key).as_slice()))
        })
    }
}

/// How the call of a record is billed.
pub(super) fn basis_of(record: &CallRecord) -> BillingBasis {
    let position = record.traits >> traits::BILLING.trailing_zeros();
    BillingBasis::ALL.get(usize::from(position)).copied().unwrap_or_default()
}

/// The traits of a record whose call is billed like this.
pub(super) fn basis_traits(basis: BillingBasis) -> u16 {
    (basis as u16) << traits::BILLING.trailing_zeros()
}

/// An amount, split by how its calls are billed. Negative: taken back.
#[derive(Clone, Copy)]
pub(super) struct BasisAmounts {
    /// How the item's own call is billed.
    pub(super) own: BillingBasis,
    parts: [Money; 3],
}

impl BasisAmounts {
    /// An amount that contains what changed for the calls of earlier records. Each change is billed as the call that it
    /// corrects, whatever is known by now; the rest is `own`.
    pub(super) fn of_charge(money: Money, own: BillingBasis, corrected: &[Correction]) -> Self {
        let mut amounts = Self { own, parts: [Money::ZERO; 3] };
        amounts.add(own, money);
        for Correction { record, money, .. } in corrected {
            amounts.add(own, Money::ZERO.minus(*money));
            amounts.add(basis_of(record), *money);
        }
        amounts
    }

    /// The amounts of an upstream tollgate's stamp, which has the payable and the covered part only, and what caching
    /// saved. In 1e-18 USD.
    pub(super) fn stamped(atto: i128, covered: i128, saved: i128, own: BillingBasis) -> Self {
        let mut amounts = Self { own, parts: [Money::ZERO; 3] };
        amounts.add(BillingBasis::Api, whole(atto.saturating_sub(covered), 0));
        amounts.add(if own == BillingBasis::Api { BillingBasis::Subscription } else { own }, whole(covered, 0));
        amounts.add(own, whole(0, saved));
        amounts
    }

    fn add(&mut self, basis: BillingBasis, money: Money) {
        self.parts.get_mut(basis as usize).into_iter().for_each(|sum| *sum = sum.plus(money));
    }

    /// What is to pay: the amounts that no plan covers.
    pub(super) fn payable(self) -> Usd {
        Usd(self.parts[0].total())
    }

    /// What plans cover, 1e-18 USD.
    pub(super) fn covered(self) -> i128 {
        self.parts[1].plus(self.parts[2]).total()
    }

    /// The item's own amount, and others that are not zero.
    pub(super) fn iter(self) -> impl Iterator<Item = (BillingBasis, Money)> {
        let parts = BillingBasis::ALL.iter().copied().zip(self.parts);
        parts.filter(move |(basis, sum)| sum.total() != 0 || sum.saved() != 0 || *basis == self.own)
    }
}

/// An amount whose parts are not known, and what caching saved of it, 1e-18 USD.
pub(super) fn whole(atto: i128, saved: i128) -> Money {
    Money([atto, 0, 0, 0, 0], [saved, 0])
}
