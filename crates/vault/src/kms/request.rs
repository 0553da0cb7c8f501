//! **What**: the one request that is sent to KMS, `Decrypt`: its address, its body, its signature, its answer. **Why**: a generated
//! client of all of KMS would be compiled and shipped for one signed POST. **Invariants**: attempts, deadlines, signature and clock
//! skew are the SDK's own; the answer is never traced; an error holds the code that was answered, nothing else of it.
//! **Not here**: what an answer means to the user (`mod.rs`).
//!
//! Sources: the AWS JSON 1.1 protocol of Smithy; `Decrypt` in the KMS API reference; the endpoint rules of the AWS SDKs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_runtime::auth::sigv4::{self, SigV4AuthScheme};
use aws_runtime::auth::{SigV4OperationSigningConfig, SigningOptions};
use aws_runtime::retries::classifiers::AwsErrorCodeClassifier;
use aws_runtime::service_clock_skew::{ServiceClockSkewClassifier, ServiceClockSkewInterceptor};
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
use aws_smithy_runtime_api::client::runtime_plugin::RuntimePlugin;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::{FrozenLayer, Layer};
use aws_smithy_types::error::metadata::{ErrorMetadata, ProvideErrorMetadata};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SigningName;
use aws_types::region::SigningRegion;
use aws_types::service_config::ServiceConfigKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The body of `Decrypt`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'r> {
    /// In base64.
    pub ciphertext_blob: String,
    /// The only key that may open it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<&'r str>,
    /// What was given when it was encrypted.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub encryption_context: &'r BTreeMap<String, String>,
}

/// What KMS opened. Prints as nothing.
pub(super) struct Plaintext(pub Zeroizing<Vec<u8>>);

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// KMS answered with an error, or with what is no answer: the code, where it gave one.
#[derive(Debug)]
pub(super) struct Refusal(ErrorMetadata);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KMS refused")
    }
}

impl Error for Refusal {}

impl ProvideErrorMetadata for Refusal {
    fn meta(&self) -> &ErrorMetadata {
        &self.0
    }
}

/// How often, and for how long.
pub(super) struct Patience {
    /// Attempts and the waits between them.
    pub retries: RetryConfig,
    /// Of a connection, an attempt, all of them.
    pub timeouts: TimeoutConfig,
}

/// Sends `Decrypt` until it is answered, refused or over.
///
/// # Errors
/// What the SDK's clients say: not built, not sent, timed out, refused.
pub(super) async fn send(
    shared: &SdkConfig,
    endpoint: Option<&str>,
    patience: &Patience,
    guard: impl Intercept + 'static,
    request: &Request<'_>,
) -> Result<Plaintext, SdkError<Refusal, HttpResponse>> {
    let unusable = |why: &str| SdkError::construction_failure(why.to_owned());
    let address = address(shared, endpoint).ok_or_else(|| unusable("no address for this region"))?;
    let client = shared.http_client().ok_or_else(|| unusable("no HTTP client"))?;
    let body = serde_json::to_vec(request).map_err(|_| unusable("no JSON"))?;
    let operation = Operation::builder()
        .service_name("KMS")
        .operation_name("Decrypt")
        .behavior_version(shared.behavior_version().unwrap_or_else(BehaviorVersion::latest))
        .http_client(client)
        .endpoint_url(&address)
        .standard_retry(&patience.retries)
        .timeout_config(patience.timeouts.clone())
        .retry_classifier(TransientErrorClassifier::<Refusal>::new())
        .retry_classifier(HttpStatusCodeClassifier::default())
        .retry_classifier(AwsErrorCodeClassifier::<Refusal>::new())
        .retry_classifier(ServiceClockSkewClassifier::<Refusal>::new())
        .with_connection_poisoning()
        .interceptor(ServiceClockSkewInterceptor::new())
        .interceptor(guard)
        .runtime_plugin(Signed::new(shared).ok_or_else(|| unusable("no credentials"))?)
        .serializer(posted)
        .deserializer(|answer: &HttpResponse| read(answer).map_err(OrchestratorError::operation))
        .build();
    operation.invoke(body).await
}

fn posted(body: Vec<u8>) -> Result<HttpRequest, Box<dyn Error + Send + Sync>> {
    let request = http::Request::post("/")
        .header(CONTENT_TYPE, "application/x-amz-json-1.1")
        .header("x-amz-target", "TrentService.Decrypt")
        .body(SdkBody::from(body))?;
    Ok(request.try_into()?)
}

/// The plain bytes, or the code of the error.
fn read(answer: &HttpResponse) -> Result<Plaintext, Refusal> {
    #[derive(Deserialize)]
    struct Opened<'a> {
        #[serde(rename = "Plaintext", borrow)]
        plaintext: Option<Cow<'a, str>>,
    }
    #[derive(Deserialize)]
    struct Failed {
        #[serde(rename = "__type", alias = "code")]
        code: Option<String>,
    }
    let body = answer.body().bytes().unwrap_or_default();
    let no_code = || Refusal(ErrorMetadata::builder().build());
    if answer.status().is_success() {
        let opened: Opened<'_> = serde_json::from_slice(body).map_err(|_| no_code())?;
        let plain = STANDARD.decode(opened.plaintext.as_deref().unwrap_or_default()).map_err(|_| no_code())?;
        return Ok(Plaintext(Zeroizing::new(plain)));
    }
    let told = answer.headers().get("x-amzn-errortype").map(str::to_owned);
    let told = told.or_else(|| serde_json::from_slice::<Failed>(body).ok()?.code).ok_or_else(no_code)?;
    // `namespace#Code:where it is documented`
    let code = told.rsplit('#').next().and_then(|code| code.split(':').next()).unwrap_or_default();
    Err(Refusal(ErrorMetadata::builder().code(code).build()))
}

/// Signs with Signature Version 4; nothing of the answer is traced.
#[derive(Debug)]
struct Signed {
    layer: FrozenLayer,
    components: RuntimeComponentsBuilder,
}

impl Signed {
    fn new(shared: &SdkConfig) -> Option<Self> {
        let credentials = shared.credentials_provider()?;
        let region = shared.region()?.clone();
        let mut layer = Layer::new("KMS");
        layer.store_put(AuthSchemeOptionResolverParams::new(()));
        layer.store_put(SensitiveOutput);
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
        Some(Self { layer: layer.freeze(), components })
    }
}

impl RuntimePlugin for Signed {
    fn config(&self) -> Option<FrozenLayer> {
        Some(self.layer.clone())
    }

    fn runtime_components(&self, _: &RuntimeComponentsBuilder) -> Cow<'_, RuntimeComponentsBuilder> {
        Cow::Borrowed(&self.components)
    }
}

/// How AWS' partitions call their hosts: the beginning of their regions, the domain, the domain that answers over IPv6 too.
const PARTITIONS: &[(&str, &str, &str)] = &[
    ("cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    ("eusc-", "amazonaws.eu", "api.amazonwebservices.eu"),
    ("us-iso-", "c2s.ic.gov", "api.aws.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov", "api.aws.scloud"),
    ("us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    ("", "amazonaws.com", "api.aws"),
];

/// Where KMS is: what settings say, else the environment and the profile (`AWS_ENDPOINT_URL_KMS`, `AWS_ENDPOINT_URL`), else AWS.
pub(super) fn address(shared: &SdkConfig, endpoint: Option<&str>) -> Option<String> {
    let key = ServiceConfigKey::builder().service_id("KMS").env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
    let of_the_service = || shared.service_config()?.load_config(key.ok()?);
    let of_all = || shared.endpoint_url().map(str::to_owned);
    let said = endpoint.map(str::to_owned).or_else(of_the_service).or_else(of_all);
    said.or_else(|| aws_host(shared.region()?, shared.use_fips() == Some(true), shared.use_dual_stack() == Some(true)))
}

/// AWS' own KMS of a region; none where the region can't be part of a host's name.
pub(super) fn aws_host(region: &Region, fips: bool, dual_stack: bool) -> Option<String> {
    let region = region.as_ref();
    let is_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if !(1..=63).contains(&region.len()) || region.starts_with('-') || !region.bytes().all(is_label) {
        return None;
    }
    let (_, domain, both) = PARTITIONS.iter().find(|(prefix, ..)| region.starts_with(prefix))?;
    let service = if fips { "kms-fips" } else { "kms" };
    Some(format!("https://{service}.{region}.{}", if dual_stack { both } else { domain }))
}
