//! The KMS calls that tollgate makes, `Decrypt` and `DescribeKey`: endpoint, request, signature, response. The
//! generated KMS client is not used, because it would be compiled and shipped for two POSTs.
//!
//! The SDK handles retries, timeouts, signing and clock-skew correction. The response body is never traced, and an
//! error carries only the error code. Neighbour: the parent module translates codes for the user.
//!
//! Sources: the AWS JSON 1.1 protocol of Smithy; `Decrypt` and `DescribeKey` in the KMS API reference; the endpoint
//! rules of the AWS SDKs.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_runtime::auth::sigv4::{self, SigV4AuthScheme};
use aws_runtime::auth::{SigV4OperationSigningConfig, SigningOptions};
use aws_runtime::retries::classifiers::AwsErrorCodeClassifier;
use aws_runtime::service_clock_skew::{
    DisableClockSkewCorrection, ServiceClockSkewClassifier, ServiceClockSkewInterceptor,
};
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime::client::retries::classifiers::{HttpStatusCodeClassifier, TransientErrorClassifier};
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::auth::{
    AuthSchemeOptionResolverParams, SharedAuthScheme, SharedAuthSchemeOptionResolver,
};
use aws_smithy_runtime_api::client::identity::SharedIdentityResolver;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError, SensitiveOutput};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_runtime_api::client::runtime_plugin::StaticRuntimePlugin;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::Layer;
use aws_smithy_types::error::metadata::{ErrorMetadata, ProvideErrorMetadata};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SigningName;
use aws_types::region::SigningRegion;
use aws_types::service_config::ServiceConfigKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_TYPE, USER_AGENT};
use kernel::key_source::KmsKeyFile;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::ciphertext::Ciphertext;
use crate::aws::CONNECT_TIMEOUT;

/// Limit for the whole operation: credentials, attempts, and the waits between them.
pub const DEADLINE: Duration = Duration::from_secs(15);
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const MAX_ATTEMPTS: u32 = 5;

/// The decrypted bytes. `Debug` prints none of them.
pub(super) struct Plaintext {
    pub bytes: Zeroizing<Vec<u8>>,
    /// ARN of the KMS key that decrypted them.
    pub key_id: Option<String>,
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(kernel::secret::REDACTED)
    }
}

/// KMS answered with an error, or with a body that can't be parsed; holds the error code if there was one.
#[derive(Debug, thiserror::Error)]
#[error("KMS refused")]
pub(super) struct KmsFailure(ErrorMetadata);

impl ProvideErrorMetadata for KmsFailure {
    fn meta(&self) -> &ErrorMetadata {
        &self.0
    }
}

/// A call of an operation, whose response gives a `T`.
pub(super) struct KmsCall<T> {
    operation: &'static str,
    body: Vec<u8>,
    /// Reads the body of a success.
    parse: fn(&[u8]) -> Option<T>,
}

impl KmsCall<Plaintext> {
    pub(super) fn decrypt(settings: &KmsKeyFile, sealed: &Ciphertext) -> Self {
        let mut request = Map::from_iter([("CiphertextBlob".to_owned(), json!(STANDARD.encode(sealed.bytes())))]);
        // with a key, KMS refuses a ciphertext made under another one; the context must equal that of the encryption
        if let Some(key_id) = &settings.key_id {
            request.insert("KeyId".to_owned(), json!(key_id));
        }
        if !settings.encryption_context.is_empty() {
            request.insert("EncryptionContext".to_owned(), json!(settings.encryption_context));
        }
        Self { operation: "Decrypt", body: Value::from(request).to_string().into_bytes(), parse: parse_plaintext }
    }
}

impl KmsCall<Duration> {
    /// `DescribeKey`, which gives the key's creation as a time since 1970.
    pub(super) fn describe_key(key_id: &str) -> Self {
        let body = json!({ "KeyId": key_id }).to_string().into_bytes();
        Self { operation: "DescribeKey", body, parse: parse_creation }
    }
}

/// Makes a call, with retries, until it succeeds, is refused or times out. `guard` may stop a request before it leaves.
/// `None` if the request can't be built.
pub(super) async fn send<T: fmt::Debug + Send + Sync + 'static>(
    shared: &SdkConfig,
    settings: &KmsKeyFile,
    call: KmsCall<T>,
    guard: impl Intercept + 'static,
) -> Option<Result<T, SdkError<KmsFailure, HttpResponse>>> {
    let KmsCall { operation: name, body, parse } = call;
    let endpoint_url = resolve_endpoint(shared, settings.endpoint.as_deref())?;
    let client = shared.http_client()?;
    let retries =
        RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS).with_initial_backoff(Duration::from_millis(200));
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(DEADLINE);
    let operation = Operation::builder()
        .service_name("KMS")
        .operation_name(name)
        .behavior_version(shared.behavior_version().unwrap_or_else(BehaviorVersion::latest))
        .http_client(client)
        .endpoint_url(&endpoint_url)
        .standard_retry(&retries)
        .timeout_config(timeouts.build())
        .retry_classifier(TransientErrorClassifier::<KmsFailure>::new())
        .retry_classifier(HttpStatusCodeClassifier::default())
        .retry_classifier(AwsErrorCodeClassifier::<KmsFailure>::new())
        .retry_classifier(ServiceClockSkewClassifier::<KmsFailure>::new())
        .with_connection_poisoning()
        .interceptor(ServiceClockSkewInterceptor::new())
        .interceptor(guard)
        .runtime_plugin(sigv4_plugin(shared)?)
        .serializer(move |body| build_request(name, body))
        .deserializer(move |answer: &HttpResponse| parse_response(answer, parse).map_err(OrchestratorError::operation))
        .build();
    Some(operation.invoke(body).await)
}

fn build_request(operation: &str, body: Vec<u8>) -> Result<HttpRequest, Box<dyn Error + Send + Sync>> {
    let request = http::Request::post("/")
        .header(CONTENT_TYPE, "application/x-amz-json-1.1")
        .header("x-amz-target", format!("TrentService.{operation}"))
        .header(USER_AGENT, concat!("tollgate/", env!("CARGO_PKG_VERSION")))
        .body(SdkBody::from(body))?;
    Ok(request.try_into()?)
}

fn parse_plaintext(body: &[u8]) -> Option<Plaintext> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct DecryptResponse<'a> {
        #[serde(borrow)]
        plaintext: Option<Cow<'a, str>>,
        key_id: Option<String>,
    }
    let response: DecryptResponse<'_> = serde_json::from_slice(body).ok()?;
    let bytes = STANDARD.decode(response.plaintext.as_deref().unwrap_or_default()).ok()?;
    Some(Plaintext { bytes: Zeroizing::new(bytes), key_id: response.key_id })
}

fn parse_creation(body: &[u8]) -> Option<Duration> {
    let response: Value = serde_json::from_slice(body).ok()?;
    let seconds = response.get("KeyMetadata")?.get("CreationDate")?.as_f64()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Reads a success with `parse`, or the error code of any other response.
fn parse_response<T>(answer: &HttpResponse, parse: fn(&[u8]) -> Option<T>) -> Result<T, KmsFailure> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct ErrorResponse {
        code: Value,
        #[serde(rename = "__type")]
        kind: Value,
    }
    let body = answer.body().bytes().unwrap_or_default();
    let no_code = || KmsFailure(ErrorMetadata::builder().build());
    if answer.status().is_success() {
        return parse(body).ok_or_else(no_code);
    }
    let body: ErrorResponse = serde_json::from_slice(body).unwrap_or_default();
    let header = answer.headers().get("x-amzn-errortype");
    let error_type = header.or(body.code.as_str()).or(body.kind.as_str()).ok_or_else(no_code)?;
    // the header's form is `namespace#Code:documentation URL`
    let head = error_type.split_once(':').map_or(error_type, |(head, _)| head);
    let code = head.split_once('#').map_or(head, |(_, code)| code);
    Err(KmsFailure(ErrorMetadata::builder().code(code).build()))
}

/// A plugin that signs with SigV4 and marks the response as sensitive, so that the SDK does not trace it.
fn sigv4_plugin(shared: &SdkConfig) -> Option<StaticRuntimePlugin> {
    let credentials = shared.credentials_provider()?;
    let region = shared.region()?.clone();
    let mut layer = Layer::new("KMS");
    layer.store_put(AuthSchemeOptionResolverParams::new(()));
    layer.store_put(SensitiveOutput);
    if let Some(disabled) = shared.disable_clock_skew_correction() {
        layer.store_put(DisableClockSkewCorrection::from(disabled));
    }
    layer.store_put(SigV4OperationSigningConfig {
        region: Some(SigningRegion::from(region)),
        region_set: None,
        name: Some(SigningName::from_static("kms")),
        signing_options: SigningOptions::default(),
    });
    let schemes = StaticAuthSchemeOptionResolver::new(vec![sigv4::SCHEME_ID]);
    let mut components = RuntimeComponentsBuilder::new("KMS");
    components
        .set_auth_scheme_option_resolver(Some(SharedAuthSchemeOptionResolver::new(schemes)))
        .push_auth_scheme(SharedAuthScheme::new(SigV4AuthScheme::new()))
        .set_identity_resolver(sigv4::SCHEME_ID, SharedIdentityResolver::new(credentials));
    Some(StaticRuntimePlugin::new().with_config(layer.freeze()).with_runtime_components(components))
}

/// AWS partitions: prefix of their regions, DNS suffix, dual-stack DNS suffix. The first match wins; the empty prefix
/// is the commercial one.
const PARTITIONS: &[(&str, &str, &str)] = &[
    ("cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    ("eusc-", "amazonaws.eu", "api.amazonwebservices.eu"),
    ("us-iso-", "c2s.ic.gov", "api.aws.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov", "api.aws.scloud"),
    ("us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    ("", "amazonaws.com", "api.aws"),
];

/// The endpoint: from the settings, else `AWS_ENDPOINT_URL_KMS`, else `AWS_ENDPOINT_URL` (environment or profile), else
/// AWS' own.
pub(super) fn resolve_endpoint(shared: &SdkConfig, endpoint: Option<&str>) -> Option<String> {
    let key = ServiceConfigKey::builder().service_id("KMS").env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
    let service_endpoint = || shared.service_config()?.load_config(key.ok()?);
    let global_endpoint = || shared.endpoint_url().map(str::to_owned);
    let configured = endpoint.map(str::to_owned).or_else(service_endpoint).or_else(global_endpoint);
    let (fips, dual_stack) = (shared.use_fips() == Some(true), shared.use_dual_stack() == Some(true));
    match configured {
        // as in the SDK: FIPS and dual stack must not be ignored silently
        Some(_) if fips || dual_stack => None,
        Some(configured) => Some(configured),
        None => regional_endpoint(shared.region()?, fips, dual_stack),
    }
}

/// AWS' KMS endpoint of a region; `None` if the region, which may come from the environment, is not a DNS label.
pub(super) fn regional_endpoint(region: &Region, fips: bool, dual_stack: bool) -> Option<String> {
    let region = region.as_ref();
    let is_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if !(1..=63).contains(&region.len()) || region.starts_with('-') || !region.bytes().all(is_label) {
        return None;
    }
    let (_, domain, dual_stack_domain) = PARTITIONS.iter().find(|(prefix, ..)| region.starts_with(prefix))?;
    let service = if fips { "kms-fips" } else { "kms" };
    Some(format!("https://{service}.{region}.{}", if dual_stack { dual_stack_domain } else { domain }))
}
