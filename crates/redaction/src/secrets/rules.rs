//! [`Rules`]: the enabled rules of secrets, by family.

use super::keys::Kind;
use super::values::contains;
use crate::rule::{Families, Family};

/// The enabled rules of secrets.
#[derive(Clone, Default)]
pub(crate) struct Rules {
    pub(super) password: Option<u16>,
    pub(super) value: Option<u16>,
    pub(super) header: Option<u16>,
    pub(super) basic: Option<u16>,
    pub(super) cookie: Option<u16>,
    pub(super) aws: Option<u16>,
    pub(super) azure: Option<u16>,
    pub(super) url_web: Option<u16>,
    pub(super) url_other: Option<u16>,
    pub(super) block: Option<u16>,
    pub(super) provider: Option<u16>,
    pub(super) entropy: Option<u16>,
    pub(super) webhook: Option<u16>,
    pub(super) phrase: Option<u16>,
    pub(super) shapes: Shapes,
}

impl Rules {
    /// Looks up the rules of the families.
    pub(crate) fn new(families: &Families) -> Self {
        let of = |family: Family| families.rule(family);
        Self {
            password: of(Family::Password),
            value: of(Family::SecretValue),
            header: of(Family::HeaderCredentials),
            basic: of(Family::BasicCredentials),
            cookie: of(Family::Cookie),
            aws: of(Family::AwsSecret),
            azure: of(Family::AzureKey),
            url_web: of(Family::WebUserinfo),
            url_other: of(Family::Userinfo),
            block: of(Family::KeyBlock),
            provider: of(Family::ProviderValue),
            entropy: of(Family::Entropy),
            webhook: of(Family::HostedWebhook),
            phrase: of(Family::SeedPhrase),
            shapes: Shapes {
                telegram: of(Family::TelegramToken),
                marked: of(Family::MarkedToken),
                mailchimp: of(Family::MailchimpKey),
                azure: of(Family::AzureKey),
                discord: of(Family::DiscordToken),
                hash: of(Family::PasswordHash),
            },
        }
    }

    /// The rule for a key's value.
    pub(super) fn of_pair(&self, kind: Kind, key: &[u8]) -> Option<u16> {
        let has = |word: &[u8]| contains(key, word);
        let aws = (has(b"aws") || (has(b"access") && has(b"secret"))) && !has(b"session");
        let azure = has(b"accountkey") || has(b"sharedaccess") || has(b"azure");
        match kind {
            Kind::Password | Kind::Pass | Kind::Pin | Kind::Doubtful => self.password,
            _ if aws && has(b"secret") => self.aws.or(self.value),
            _ if azure => self.azure.or(self.value),
            _ => self.value,
        }
    }

    pub(super) fn any(&self) -> bool {
        self.password.is_some() || self.value.is_some() || self.provider.is_some() || self.block.is_some()
    }
}

/// Rules for shapes whose anchor is a run with digits.
#[derive(Clone, Copy, Default)]
pub(crate) struct Shapes {
    pub(super) telegram: Option<u16>,
    pub(super) marked: Option<u16>,
    pub(super) mailchimp: Option<u16>,
    pub(super) azure: Option<u16>,
    pub(super) discord: Option<u16>,
    pub(super) hash: Option<u16>,
}
