//! Keys stored as AWS KMS ciphertext ([`Ciphertext`]), and [`decrypt`], which asks KMS to open one. A disk, backup or
//! image with such a key file contains no usable key, and the KMS log records each decryption.
//!
//! `Decrypt` is the only request, and it ends within [`DEADLINE`], retries included. A plaintext key is never sent. The
//! result is a [`Secret`]; errors contain codes and remedies, no values. Neighbours: `app/keys` and `cli/auditors`
//! choose the keys; `aws kms encrypt` makes the ciphertext.

mod ciphertext;
mod request;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;

use super::aws::{CONNECT, CaFileError, NO_TIME, chain, is_code, not_sent};
use super::chain::note::SigningKey;
use kernel::secret::Secret;
use net::{Kept, is_this_machine};

pub use ciphertext::{Ciphertext, CiphertextError};
use request::{DecryptFailure, DecryptRequest, Plaintext, RetryPolicy};

/// Limit for the whole operation: credentials, attempts, and the waits between them.
pub const DEADLINE: Duration = Duration::from_secs(15);
const ATTEMPT: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 5;

/// How to reach KMS, and the request's parameters besides the ciphertext.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KmsSettings {
    /// Region; if empty, the standard credential chain determines it.
    pub region: String,
    /// Address, if it is not the region's AWS endpoint.
    pub endpoint: Option<String>,
    /// The only key that may decrypt; without it, the key that the ciphertext names.
    pub key_id: Option<String>,
    /// The encryption context given at encryption.
    pub encryption_context: BTreeMap<String, String>,
    /// PEM certificates to trust.
    pub ca_file: Option<PathBuf>,
}

/// A signing key stored as ciphertext, of one configuration.
#[derive(Clone, Default)]
pub struct SealedKey {
    /// The KMS that decrypts the key.
    pub kms: KmsSettings,
    /// The decrypted key. A reload decrypts it beforehand, so that KMS need not be called during the switch.
    pub opened: Kept<Arc<SigningKey>>,
}

/// Why KMS did not decrypt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KmsError {
    /// Retrying is useless: KMS' answer, and the remedy.
    Refused(String, &'static str),
    /// KMS is unavailable for now.
    Away(String),
}

impl KmsError {
    /// Whether retrying is useless.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(..))
    }
}

impl fmt::Display for KmsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(answer, remedy) => write!(f, "KMS does not open it ({answer}): {remedy}"),
            Self::Away(why) => write!(f, "KMS is not available: {why}"),
        }
    }
}

/// Decrypts ciphertext with the credentials of the standard chain.
///
/// # Errors
/// KMS refuses, or is unavailable.
pub async fn decrypt(settings: &KmsSettings, sealed: &Ciphertext) -> Result<Secret, KmsError> {
    if settings.endpoint.as_deref().is_some_and(is_in_clear) {
        return Err(KmsError::Refused("not asked".to_owned(), IN_CLEAR));
    }
    let opened = async {
        let shared = chain(&settings.region, settings.ca_file.as_deref()).await.map_err(unusable)?.load().await;
        if shared.region().is_none() {
            return Err(KmsError::Refused("not asked".to_owned(), "say in which region the key is"));
        }
        ask(&shared, settings, sealed).await
    };
    // the SDK's own deadline does not cover a metadata service that hangs
    tokio::time::timeout(DEADLINE, opened).await.unwrap_or_else(|_| Err(KmsError::Away(NO_TIME.to_owned())))
}

/// Why an endpoint without TLS is refused.
pub const IN_CLEAR: &str = "the key would cross the network in clear: `http://` only to 127.0.0.1, ::1 or localhost and through no proxy, else `https://`";

/// Whether the answer of a KMS at `endpoint` would cross the network unencrypted.
pub fn is_in_clear(endpoint: &str) -> bool {
    endpoint.parse::<Uri>().is_ok_and(|uri| is_open(&uri) && !uri.host().is_some_and(is_this_machine))
}

/// Blocks unencrypted requests: the environment and AWS profiles can also set addresses and proxies.
#[derive(Debug)]
struct Guard;

/// The request would have crossed the network unencrypted.
#[derive(Debug)]
struct InClear;

impl fmt::Display for InClear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(IN_CLEAR)
    }
}

impl Error for InClear {}

impl Intercept for Guard {
    fn name(&self) -> &'static str {
        "tollgate: no key in clear"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let uri = context.request().uri();
        // the client also uses the environment's proxies for requests to this machine
        let proxied = |uri: Uri| is_open(&uri) && Matcher::from_env().intercept(&uri).is_some();
        let clear = is_in_clear(uri) || uri.parse().is_ok_and(proxied);
        if clear { Err(InClear.into()) } else { Ok(()) }
    }
}

/// Whether an address is without TLS.
fn is_open(uri: &Uri) -> bool {
    uri.scheme_str() == Some("http")
}

/// Whether an error was caused by [`InClear`].
fn was_in_clear(error: &(dyn Error + 'static)) -> bool {
    error.is::<InClear>() || error.source().is_some_and(was_in_clear)
}

fn unusable(why: CaFileError) -> KmsError {
    KmsError::Refused(why.to_string(), "give `ca_file` the PEM certificates of who signed that of the endpoint")
}

fn retry_policy() -> RetryPolicy {
    RetryPolicy {
        retries: RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(Duration::from_millis(200)),
        timeouts: TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_attempt_timeout(ATTEMPT)
            .operation_timeout(DEADLINE)
            .build(),
    }
}

async fn ask(shared: &SdkConfig, settings: &KmsSettings, sealed: &Ciphertext) -> Result<Secret, KmsError> {
    let request = DecryptRequest {
        ciphertext_blob: STANDARD.encode(sealed.bytes()),
        key_id: settings.key_id.as_deref(),
        encryption_context: &settings.encryption_context,
    };
    let policy = retry_policy();
    let asked = request::send_decrypt(shared, settings.endpoint.as_deref(), &policy, Guard, &request);
    let Plaintext(plain) = asked.await.map_err(|error| judge(&error))?;
    let text = std::str::from_utf8(&plain).ok().map(str::trim).filter(|text| !text.is_empty());
    let nothing =
        || KmsError::Refused("200".to_owned(), "what was encrypted is no key file of `tollgate vault keygen`");
    text.map(|text| Secret::new(text.to_owned())).ok_or_else(nothing)
}

/// Maps an SDK error. Texts are error codes, never bodies.
fn judge(error: &SdkError<DecryptFailure, HttpResponse>) -> KmsError {
    match error {
        error if was_in_clear(error) => KmsError::Refused("not asked".to_owned(), IN_CLEAR),
        SdkError::TimeoutError(_) => KmsError::Away(NO_TIME.to_owned()),
        SdkError::DispatchFailure(failure) => KmsError::Away(not_sent(failure.as_connector_error()).to_owned()),
        SdkError::ConstructionFailure(_) => {
            KmsError::Refused("not asked".to_owned(), "look at credentials, region and endpoint")
        }
        SdkError::ServiceError(service) => {
            judge_answer(service.raw().status().as_u16(), service.err().code().unwrap_or_default())
        }
        _ => KmsError::Away("the answer can't be read".to_owned()),
    }
}

fn judge_answer(status: u16, code: &str) -> KmsError {
    // the server may be anyone: only a text that can be an error code is shown
    let code = if is_code(code) { code } else { "" };
    let answer = if code.is_empty() { status.to_string() } else { format!("{status} {code}") };
    let remedy = match code {
        "ThrottlingException" | "LimitExceededException" | "RequestLimitExceeded" => return KmsError::Away(answer),
        _ if status >= 500 || status == 408 || status == 429 => return KmsError::Away(answer),
        "AccessDeniedException" => {
            "the credentials need kms:Decrypt on this key, by its policy too (which may ask for an encryption context)"
        }
        "InvalidCiphertextException" => {
            "it is damaged, or was encrypted in another region, or with another encryption context"
        }
        "IncorrectKeyException" => "it was encrypted under another key than the one that is named",
        "NotFoundException" => "there is no such key in this region",
        "DisabledException" | "KMSInvalidStateException" => "the key is disabled, or about to be deleted",
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "ExpiredTokenException"
        | "ExpiredToken" => "the credentials are wrong or over, or this machine's clock is",
        "" => "this is no answer of KMS: look at endpoint and proxy",
        _ => "look at key, region and endpoint",
    };
    KmsError::Refused(answer, remedy)
}

#[cfg(test)]
mod tests;
