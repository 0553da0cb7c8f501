//! [`SecretRules`]: the enabled rules of secrets, by family.

use super::secret_keys::SecretKind;
use super::value_checks::contains_any_case;
use crate::rule::{FamilyRules, RuleFamily};

/// The enabled rules of secrets.
#[derive(Clone, Default)]
pub(crate) struct SecretRules {
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
    pub(super) shapes: TokenShapeRules,
}

impl SecretRules {
    /// Looks up the rules of the families.
    pub(crate) fn new(families: &FamilyRules) -> Self {
        let of = |family: RuleFamily| families.rule(family);
        Self {
            password: of(RuleFamily::Password),
            value: of(RuleFamily::SecretValue),
            header: of(RuleFamily::HeaderCredentials),
            basic: of(RuleFamily::BasicCredentials),
            cookie: of(RuleFamily::Cookie),
            aws: of(RuleFamily::AwsSecret),
            azure: of(RuleFamily::AzureKey),
            url_web: of(RuleFamily::WebUserinfo),
            url_other: of(RuleFamily::Userinfo),
            block: of(RuleFamily::KeyBlock),
            provider: of(RuleFamily::ProviderValue),
            entropy: of(RuleFamily::Entropy),
            webhook: of(RuleFamily::HostedWebhook),
            phrase: of(RuleFamily::SeedPhrase),
            shapes: TokenShapeRules {
                telegram: of(RuleFamily::TelegramToken),
                marked: of(RuleFamily::MarkedToken),
                mailchimp: of(RuleFamily::MailchimpKey),
                azure: of(RuleFamily::AzureKey),
                discord: of(RuleFamily::DiscordToken),
                hash: of(RuleFamily::PasswordHash),
            },
        }
    }

    /// The rule for a key's value.
    pub(super) fn rule_for_key(&self, kind: SecretKind, key: &[u8]) -> Option<u16> {
        let has = |word: &[u8]| contains_any_case(key, word);
        let aws = (has(b"aws") || (has(b"access") && has(b"secret"))) && !has(b"session");
        let azure = has(b"accountkey") || has(b"sharedaccess") || has(b"azure");
        match kind {
            SecretKind::Password | SecretKind::Pass | SecretKind::Pin | SecretKind::Doubtful => self.password,
            _ if aws && has(b"secret") => self.aws.or(self.value),
            _ if azure => self.azure.or(self.value),
            _ => self.value,
        }
    }

    pub(super) fn is_any_enabled(&self) -> bool {
        self.password.is_some() || self.value.is_some() || self.provider.is_some() || self.block.is_some()
    }
}

/// Rules for shapes whose anchor is a run with digits.
#[derive(Clone, Copy, Default)]
pub(crate) struct TokenShapeRules {
    pub(super) telegram: Option<u16>,
    pub(super) marked: Option<u16>,
    pub(super) mailchimp: Option<u16>,
    pub(super) azure: Option<u16>,
    pub(super) discord: Option<u16>,
    pub(super) hash: Option<u16>,
}
