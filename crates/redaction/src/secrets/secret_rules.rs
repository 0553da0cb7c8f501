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
        let rule = |family: RuleFamily| families.rule(family);
        Self {
            password: rule(RuleFamily::Password),
            value: rule(RuleFamily::SecretValue),
            header: rule(RuleFamily::HeaderCredentials),
            basic: rule(RuleFamily::BasicCredentials),
            cookie: rule(RuleFamily::Cookie),
            aws: rule(RuleFamily::AwsSecret),
            azure: rule(RuleFamily::AzureKey),
            url_web: rule(RuleFamily::WebUserinfo),
            url_other: rule(RuleFamily::Userinfo),
            block: rule(RuleFamily::KeyBlock),
            provider: rule(RuleFamily::ProviderValue),
            entropy: rule(RuleFamily::Entropy),
            webhook: rule(RuleFamily::HostedWebhook),
            phrase: rule(RuleFamily::SeedPhrase),
            shapes: TokenShapeRules {
                telegram: rule(RuleFamily::TelegramToken),
                marked_token: rule(RuleFamily::MarkedToken),
                mailchimp: rule(RuleFamily::MailchimpKey),
                azure: rule(RuleFamily::AzureKey),
                discord: rule(RuleFamily::DiscordToken),
                hash: rule(RuleFamily::PasswordHash),
            },
        }
    }

    /// The rule for a key's value.
    pub(super) fn rule_for_key(&self, kind: SecretKind, key: &[u8]) -> Option<u16> {
        let has = |word: &[u8]| contains_any_case(key, word);
        let is_aws = (has(b"aws") || (has(b"access") && has(b"secret"))) && !has(b"session");
        let is_azure = has(b"accountkey") || has(b"sharedaccess") || has(b"azure");
        match kind {
            SecretKind::Password | SecretKind::Pass | SecretKind::Pin | SecretKind::Doubtful => self.password,
            _ if is_aws && has(b"secret") => self.aws.or(self.value),
            _ if is_azure => self.azure.or(self.value),
            _ => self.value,
        }
    }

    pub(super) fn is_any_enabled(&self) -> bool {
        self.password.is_some() || self.value.is_some() || self.provider.is_some() || self.block.is_some()
    }
}

/// Rules for tokens with a shape of their own, which are found from a run with digits.
#[derive(Clone, Copy, Default)]
pub(crate) struct TokenShapeRules {
    pub(super) telegram: Option<u16>,
    pub(super) marked_token: Option<u16>,
    pub(super) mailchimp: Option<u16>,
    pub(super) azure: Option<u16>,
    pub(super) discord: Option<u16>,
    pub(super) hash: Option<u16>,
}
