//! Keys stored as AWS KMS ciphertext ([`Ciphertext`]), and [`decrypt`], which asks KMS to open one. A disk, backup or
//! image with such a key file contains no usable key, and the KMS log records each decryption. [`fetch_creation`] asks
//! how old KMS' own key is.
//!
//! Each request ends within [`DEADLINE`], retries included. A plaintext key is never sent. The
//! result is a [`Secret`]; errors contain codes and remedies, no values. Neighbours: `app/key_opening` and
//! `cli/vault_args` choose the keys; `aws kms encrypt` makes the ciphertext.

mod ciphertext;
mod request;

use std::error::Error;
use std::fmt;

use aws_config::SdkConfig;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;

use super::aws::{CaFileError, SendFailure, TIMED_OUT, is_error_code, load_credential_chain};
use kernel::clock::UnixNanos;
use kernel::key_source::KmsKeyFile;
use kernel::secret::Secret;
use net::is_local_host;

pub use ciphertext::{Ciphertext, CiphertextError};
pub use request::DEADLINE;
use request::{KmsCall, KmsFailure, Plaintext};

/// The remedy for a request that can't be built.
const NOT_BUILT: &str = "check credentials, region and endpoint";

/// Why KMS did not decrypt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KmsError {
    /// Retrying is useless: KMS' answer, and the remedy.
    #[error("KMS refused to decrypt the key ({0}): {1}")]
    Refused(String, &'static str),
    #[error("KMS is not available: {0}")]
    Unavailable(String),
}

impl KmsError {
    /// Whether retrying is useless.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(..))
    }

    fn not_sent(remedy: &'static str) -> Self {
        Self::Refused("request not sent".to_owned(), remedy)
    }
}

#[derive(Debug)]
pub struct DecryptedKey {
    pub text: Secret,
    pub kms_key_id: Option<String>,
}

/// Decrypts ciphertext with the credentials of the standard chain.
pub async fn decrypt(settings: &KmsKeyFile, sealed: &Ciphertext) -> Result<DecryptedKey, KmsError> {
    within_deadline(async { request_decrypt(&load_shared(settings).await?, settings, sealed).await }).await
}

/// When a KMS key (id, ARN, `alias/…`) was created. Needs `kms:DescribeKey`.
///
/// # Errors
/// Why KMS gave no date: an error code, never a value.
pub async fn fetch_creation(settings: &KmsKeyFile, kms_key_id: &str) -> Result<UnixNanos, String> {
    let fetched =
        within_deadline(async { request_creation(&load_shared(settings).await?, settings, kms_key_id).await }).await;
    fetched.map_err(describe_missing_date)
}

fn describe_missing_date(error: KmsError) -> String {
    match error {
        KmsError::Refused(answer, _) if answer.ends_with(" AccessDeniedException") => {
            "kms:DescribeKey is not allowed".to_owned()
        }
        KmsError::Refused(answer, _) => format!("kms:DescribeKey gave no date ({answer})"),
        KmsError::Unavailable(_) => error.to_string(),
    }
}

/// Limits an operation's time: the SDK's own deadline does not cover a metadata service that hangs.
async fn within_deadline<T>(operation: impl Future<Output = Result<T, KmsError>>) -> Result<T, KmsError> {
    let limited = tokio::time::timeout(DEADLINE, operation).await;
    limited.unwrap_or_else(|_| Err(KmsError::Unavailable(TIMED_OUT.to_owned())))
}

/// The credentials and the region of a request.
async fn load_shared(settings: &KmsKeyFile) -> Result<SdkConfig, KmsError> {
    if settings.endpoint.as_deref().is_some_and(is_cleartext_endpoint) {
        return Err(KmsError::not_sent(CLEARTEXT_REFUSED));
    }
    let chain = load_credential_chain(&settings.region, settings.ca_file.as_deref()).await;
    let shared = chain.map_err(ca_file_refusal)?.load().await;
    if shared.region().is_none() {
        return Err(KmsError::not_sent("set the region of the key"));
    }
    Ok(shared)
}

/// Why an endpoint without TLS is refused.
pub const CLEARTEXT_REFUSED: &str = "the key would cross the network unencrypted: use `https://`, or `http://` only to 127.0.0.1, ::1 or localhost and without a proxy";

/// Whether the answer of a KMS at `endpoint` would cross the network unencrypted.
pub fn is_cleartext_endpoint(endpoint: &str) -> bool {
    endpoint.parse::<Uri>().is_ok_and(|uri| is_plain_http(&uri) && !uri.host().is_some_and(is_local_host))
}

/// Blocks unencrypted requests: the environment and AWS profiles can also set addresses and proxies.
#[derive(Debug)]
struct CleartextGuard;

/// The request would have crossed the network unencrypted.
#[derive(Debug, thiserror::Error)]
#[error("{}", CLEARTEXT_REFUSED)]
struct CleartextError;

impl Intercept for CleartextGuard {
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
        let is_proxied = |uri: Uri| is_plain_http(&uri) && Matcher::from_env().intercept(&uri).is_some();
        let is_cleartext = is_cleartext_endpoint(uri) || uri.parse().is_ok_and(is_proxied);
        if is_cleartext { Err(CleartextError.into()) } else { Ok(()) }
    }
}

/// Whether an address is without TLS.
fn is_plain_http(uri: &Uri) -> bool {
    uri.scheme_str() == Some("http")
}

/// Whether an error was caused by [`CleartextError`].
fn is_cleartext_error(error: &(dyn Error + 'static)) -> bool {
    error.is::<CleartextError>() || error.source().is_some_and(is_cleartext_error)
}

fn ca_file_refusal(why: CaFileError) -> KmsError {
    KmsError::Refused(
        why.to_string(),
        "set `ca_file` to the PEM certificates of the CA that signed the endpoint's certificate",
    )
}

async fn send<T: fmt::Debug + Send + Sync + 'static>(
    shared: &SdkConfig,
    settings: &KmsKeyFile,
    call: KmsCall<T>,
) -> Result<T, KmsError> {
    let sent = request::send(shared, settings, call, CleartextGuard).await;
    sent.ok_or_else(|| KmsError::not_sent(NOT_BUILT))?.map_err(|error| classify_sdk_error(&error))
}

async fn request_decrypt(
    shared: &SdkConfig,
    settings: &KmsKeyFile,
    sealed: &Ciphertext,
) -> Result<DecryptedKey, KmsError> {
    let Plaintext { bytes, key_id } = send(shared, settings, KmsCall::decrypt(settings, sealed)).await?;
    let text = std::str::from_utf8(&bytes).ok().map(str::trim).filter(|text| !text.is_empty());
    let not_a_key_file = || {
        KmsError::Refused(
            "200".to_owned(),
            "the decrypted text is not a key: encrypt the text of the key, not its bytes",
        )
    };
    let text = text.map(|text| Secret::new(text.to_owned())).ok_or_else(not_a_key_file)?;
    Ok(DecryptedKey { text, kms_key_id: key_id })
}

async fn request_creation(shared: &SdkConfig, settings: &KmsKeyFile, kms_key_id: &str) -> Result<UnixNanos, KmsError> {
    let created = send(shared, settings, KmsCall::describe_key(kms_key_id)).await?;
    Ok(UnixNanos::default().plus(created))
}

/// Maps an SDK error. Texts are error codes, never bodies.
fn classify_sdk_error(error: &SdkError<KmsFailure, HttpResponse>) -> KmsError {
    match error {
        error if is_cleartext_error(error) => KmsError::not_sent(CLEARTEXT_REFUSED),
        SdkError::TimeoutError(_) => KmsError::Unavailable(TIMED_OUT.to_owned()),
        SdkError::DispatchFailure(failure) => {
            KmsError::Unavailable(SendFailure::from_connector(failure.as_connector_error()).with_remedy())
        }
        SdkError::ConstructionFailure(_) => KmsError::not_sent(NOT_BUILT),
        SdkError::ServiceError(service) => {
            classify_answer(service.raw().status().as_u16(), service.err().code().unwrap_or_default())
        }
        _ => KmsError::Unavailable("the response can't be read".to_owned()),
    }
}

fn classify_answer(status: u16, code: &str) -> KmsError {
    // the server may be anyone: only a text that can be an error code is shown
    let code = if is_error_code(code) { code } else { "" };
    let answer = if code.is_empty() { status.to_string() } else { format!("{status} {code}") };
    let remedy = match code {
        "ThrottlingException" | "LimitExceededException" | "RequestLimitExceeded" => {
            return KmsError::Unavailable(answer);
        }
        _ if status >= 500 || status == 408 || status == 429 => return KmsError::Unavailable(answer),
        "AccessDeniedException" => {
            "the credentials need kms:Decrypt on this key, also in the key's own policy (which may require an encryption context)"
        }
        "InvalidCiphertextException" => {
            "the ciphertext is damaged, or was encrypted in another region or with another encryption context"
        }
        "IncorrectKeyException" => "the ciphertext was encrypted with another key than the configured one",
        "NotFoundException" => "there is no such key in this region",
        "DisabledException" | "KMSInvalidStateException" => "the key is disabled, or about to be deleted",
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "ExpiredTokenException"
        | "ExpiredToken" => "the credentials are wrong or expired, or this machine's clock is wrong",
        "" => "the response does not come from KMS: check endpoint and proxy",
        _ => "check key, region and endpoint",
    };
    KmsError::Refused(answer, remedy)
}

#[cfg(test)]
mod tests;
