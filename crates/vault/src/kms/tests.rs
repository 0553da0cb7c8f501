//! Requests to a KMS, and the interpretation of its answers.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::aws::http_client;
use super::request::{ATTEMPT_TIMEOUT, MAX_ATTEMPTS};
use super::*;
use fakes::fake_kms::{FakeKms, KEY, Mood, seal};

/// A key that must appear only in the decrypted result.
const SECRET: &str = "# public key: CANARY\nCANARY-SECRET";

fn settings(fake: &FakeKms) -> KmsKeyFile {
    KmsKeyFile { region: "eu-central-1".to_owned(), endpoint: Some(fake.url()), ..KmsKeyFile::default() }
}

/// The standard chain's configuration, without an environment.
async fn shared(region: &str) -> aws_types::sdk_config::Builder {
    let credentials = Credentials::new("AKIATEST", "CANARY-CREDENTIAL", None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .region(Region::new(region.to_owned()))
        .http_client(http_client(None).await.expect("a client"))
}

/// As [`decrypt`], with credentials that don't come from the environment.
async fn opened(settings: &KmsKeyFile, file: &[u8]) -> Result<Secret, KmsError> {
    let shared = shared(&settings.region).await.build();
    let decrypted = request_decrypt(&shared, settings, &Ciphertext::parse(file).expect("ciphertext")).await?;
    assert_eq!(decrypted.kms_key_id.as_deref(), Some(KEY));
    Ok(decrypted.text)
}

/// One request in KMS' format, with all configured parameters; the result is the key, and its `Debug` prints nothing.
#[tokio::test]
async fn a_key_is_opened_with_one_request() {
    let fake = FakeKms::start();
    let context = [("purpose", "vault"), ("env", "prod")];
    let settings = KmsKeyFile {
        key_id: Some(KEY.to_owned()),
        encryption_context: context.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        ..settings(&fake)
    };
    let secret = opened(&settings, &seal(&context, SECRET.as_bytes())).await.expect("opened");
    assert_eq!(secret.expose(), SECRET);
    assert!(!format!("{secret:?} {secret}").contains("CANARY"));
    let state = fake.state();
    assert!(state.wrong.is_empty(), "{:?}", state.wrong);
    assert_eq!(state.asked.len(), 1);
    assert_eq!(state.asked[0]["KeyId"], KEY);
    assert_eq!(state.asked[0]["EncryptionContext"], serde_json::json!({"purpose": "vault", "env": "prod"}));
}

/// The creation date of KMS' own key is asked for by the key's name. A response without one, or with a strange one, gives
/// no date and no panic; a missing right is named by [`fetch_creation`], and nothing else of KMS' answer is.
#[tokio::test]
async fn the_creation_of_a_key_is_fetched() {
    let fake = FakeKms::start();
    let settings = settings(&fake);
    let shared = shared(&settings.region).await.build();
    let fetch = async || request_creation(&shared, &settings, KEY).await;
    assert_eq!(fetch().await, Ok(UnixNanos(1_700_000_000_500_000_000)));
    assert_eq!(fake.state().asked, [serde_json::json!({ "KeyId": KEY })]);
    for (status, body) in [
        (200, ""),
        (200, "CANARY"),
        (200, r#"{"KeyMetadata": {}}"#),
        (200, r#"{"KeyMetadata": {"CreationDate": "CANARY"}}"#),
        (200, r#"{"KeyMetadata": {"CreationDate": -1}}"#),
        (200, r#"{"KeyMetadata": {"CreationDate": 1e300}}"#),
        (400, r#"{"__type": "NotFoundException", "message": "CANARY"}"#),
        (403, "<html>CANARY</html>"),
    ] {
        fake.set(Mood::Describes(status, body));
        let why = describe_missing_date(fetch().await.expect_err("no date"));
        assert!(why.starts_with("kms:DescribeKey gave no date (") && !why.contains("CANARY"), "{body}: {why}");
    }
    // a date beyond all calendars is capped
    fake.set(Mood::Describes(200, r#"{"KeyMetadata": {"CreationDate": 1e15}}"#));
    assert_eq!(fetch().await, Ok(UnixNanos(u64::MAX)));
    fake.set(Mood::Describes(400, r#"{"__type": "AccessDeniedException", "message": "CANARY"}"#));
    assert_eq!(describe_missing_date(fetch().await.expect_err("denied")), "kms:DescribeKey is not allowed");
    fake.set(Mood::Says(500, "KMSInternalException"));
    assert!(describe_missing_date(fetch().await.expect_err("away")).contains("KMS is not available"));
}

/// Every form in which people keep the output of `aws kms encrypt` is accepted as the same ciphertext.
#[tokio::test]
async fn ciphertext_is_taken_in_every_form() {
    let fake = FakeKms::start();
    let sealed = seal(&[], SECRET.as_bytes());
    let text = STANDARD.encode(&sealed);
    let (half, rest) = text.split_at(40);
    for file in
        [sealed.clone(), format!("{text}\n").into(), format!("\"{text}\"\n").into(), format!("{half}\r\n{rest}").into()]
    {
        let secret = opened(&settings(&fake), &file).await.expect("opened");
        assert_eq!(secret.expose(), SECRET);
    }
}

/// Anything but ciphertext, above all a plaintext key, also in base64 as `aws kms decrypt` prints it, is never sent and
/// never shown.
#[test]
fn a_plain_key_is_no_ciphertext() {
    let folder = tempfile::tempdir().expect("a folder");
    let read = |name: &str| Ciphertext::read(&folder.path().join(name)).err().expect("refused").to_string();
    crate::keygen::generate_auditor_key(&folder.path().join("auditor.key")).expect("a key");
    crate::keygen::generate_signing_key(&folder.path().join("signing.key"), "x", &kernel::rng::SystemRng)
        .expect("a key");
    for name in ["auditor.key", "signing.key"] {
        assert!(read(name).contains("plaintext"), "{name}: {}", read(name));
    }
    for key in [
        "# public key: x\nPRIVATE+KEY+gw+0a1b2c3d+AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA\n".to_owned(),
        format!("# created: 2026\nAGE-SECRET-KEY-1{}\n", "Q".repeat(58)),
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", "A".repeat(64)),
    ] {
        for file in [key.clone(), STANDARD.encode(&key), format!("\"{}\"\n", STANDARD.encode(&key))] {
            let why = Ciphertext::parse(file.as_bytes()).err().expect("refused").to_string();
            assert!(why.contains("plaintext"), "{why}");
        }
    }
    std::fs::write(folder.path().join("long"), STANDARD.encode(vec![7; 6145])).expect("written");
    std::fs::write(folder.path().join("empty"), "\n").expect("written");
    std::fs::write(folder.path().join("json"), "{\"CiphertextBlob\": \"CANARY\"}").expect("written");
    // 32 bytes in base64, as in the spool's keys
    std::fs::write(folder.path().join("short"), STANDARD.encode([7; 32])).expect("written");
    std::fs::write(folder.path().join("words"), "contains no KMS ciphertext (expected the output of `aws kms encrypt --query CiphertextBlob`, as base64 or raw bytes)").expect("written");
    for name in ["long", "empty", "json", "short", "words"] {
        assert!(read(name).contains("contains no KMS ciphertext (expected the output of `aws kms encrypt --query CiphertextBlob`, as base64 or raw bytes)") && !read(name).contains("CANARY"), "{name}");
    }
    assert!(read("missing").contains("can't be read"));
}

/// An error that needs a change is not retried, and has a remedy; nothing of KMS' answer but its code is passed on, and
/// that only if its form is valid, because it reaches terminals and logs.
#[tokio::test]
async fn a_refusal_names_what_to_change() {
    let fake = FakeKms::start();
    let sealed = seal(&[("purpose", "vault")], SECRET.as_bytes());
    let right =
        KmsKeyFile { encryption_context: [("purpose".to_owned(), "vault".to_owned())].into(), ..settings(&fake) };
    let said = async |settings: &KmsKeyFile, mood: Mood, file: &[u8]| {
        fake.set(mood);
        let before = fake.count();
        let error = opened(settings, file).await.expect_err("refused");
        assert!(error.is_refused() && fake.count() == before + 1, "{mood:?}: {error}");
        let told = format!("{error} {error:?}");
        assert!(!told.contains("CANARY"), "{told}");
        told
    };
    for (code, remedy) in [
        ("AccessDeniedException", "kms:Decrypt"),
        ("NotFoundException", "no such key in this region"),
        ("DisabledException", "disabled"),
        ("KMSInvalidStateException", "disabled"),
        ("UnrecognizedClientException", "credentials are wrong"),
        ("SomethingNewException", "check key, region and endpoint"),
    ] {
        let told = said(&right, Mood::Says(400, code), &sealed).await;
        assert!(told.contains(code) && told.contains(remedy), "{told}");
    }
    let strange = said(&right, Mood::Says(400, "\u{1b}[31mCANARY error: all is well"), &sealed).await;
    assert!(strange.contains("(400)") && !strange.contains('\u{1b}'), "{strange:?}");
    assert!(said(&right, Mood::Page, &sealed).await.contains("proxy"));
    assert!(said(&settings(&fake), Mood::Works, &sealed).await.contains("encryption context"));
    assert!(said(&right, Mood::Works, &[0xfe; 80]).await.contains("InvalidCiphertext"));
    let other = KmsKeyFile { key_id: Some("alias/other".to_owned()), ..right.clone() };
    assert!(said(&other, Mood::Works, &sealed).await.contains("another key"));
    for nothing in [b"".as_slice(), b"  \n", b"\xff\xfeCANARY"] {
        let told = said(&settings(&fake), Mood::Works, &seal(&[], nothing)).await;
        assert!(told.contains("the decrypted text is not a key"), "{told}");
    }
}

/// An outage is retried, so that a short one does not end a start; a lasting one is reported after a few attempts.
#[tokio::test]
async fn an_outage_is_tried_again_for_a_while() {
    let fake = FakeKms::start();
    let sealed = seal(&[], SECRET.as_bytes());
    fake.set(Mood::Fails(2));
    assert!(opened(&settings(&fake), &sealed).await.is_ok());
    assert_eq!(fake.count(), 3);
    for (status, code) in [(500, "KMSInternalException"), (400, "ThrottlingException"), (503, "")] {
        fake.set(Mood::Says(status, code));
        let before = fake.count();
        let error = opened(&settings(&fake), &sealed).await.expect_err("away");
        assert!(!error.is_refused() && error.to_string().contains("not available"), "{error}");
        assert_eq!(fake.count() - before, MAX_ATTEMPTS as usize, "{status} {code}");
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    let dead = KmsKeyFile { endpoint: Some(format!("http://{free}")), ..settings(&fake) };
    let error = opened(&dead, &sealed).await.expect_err("away").to_string();
    assert!(
        error.contains("no connection: Connection refused ") && error.contains("no server listens there"),
        "{error}"
    );
}

/// A KMS that accepts requests and never answers delays a start only for a limited time.
#[tokio::test]
async fn a_kms_that_hangs_is_waited_for_in_bounds() {
    let fake = FakeKms::start();
    fake.set(Mood::Hangs);
    let clock = kernel::clock::SystemClock::new();
    let began = kernel::clock::Clock::monotonic(&clock);
    let (settings, sealed) = (settings(&fake), seal(&[], SECRET.as_bytes()));
    let asked = opened(&settings, &sealed);
    let error = tokio::time::timeout(DEADLINE + Duration::from_secs(10), asked).await.expect("in time");
    assert_eq!(error.expect_err("away"), KmsError::Unavailable("timed out".to_owned()));
    assert!(kernel::clock::Clock::monotonic(&clock) - began >= ATTEMPT_TIMEOUT, "an attempt has its time");
    assert!(fake.count() > 1, "more than one attempt");
}

/// A key never crosses the network unencrypted, wherever the address comes from: the configuration, the environment or
/// a profile.
#[tokio::test]
async fn a_key_crosses_no_network_in_clear() {
    for (endpoint, clear) in [
        ("http://kms.example.com", true),
        ("http://10.0.0.1:4566", true),
        ("http://127.0.0.1.example.com", true),
        ("http://127.0.0.1:4566", false),
        ("http://[::1]:4566", false),
        ("HTTP://LOCALHOST:1", false),
        ("https://kms.example.com", false),
    ] {
        assert_eq!(is_cleartext_endpoint(endpoint), clear, "{endpoint}");
    }
    let settings = KmsKeyFile {
        region: "x".to_owned(),
        endpoint: Some("http://kms.example.com".to_owned()),
        ..KmsKeyFile::default()
    };
    let sealed = Ciphertext::parse(&seal(&[], SECRET.as_bytes())).expect("ciphertext");
    let error = decrypt(&settings, &sealed).await.expect_err("refused");
    assert!(error.is_refused() && error.to_string().contains("unencrypted"), "{error}");
    let shared = shared("eu-central-1").await.endpoint_url("http://192.0.2.1:9").build();
    let error = request_decrypt(&shared, &KmsKeyFile::default(), &sealed).await.expect_err("refused");
    assert_eq!(error, KmsError::Refused("request not sent".to_owned(), CLEARTEXT_REFUSED));
}

/// AWS' address of a region, as its SDKs build it; an invalid region name has none.
#[test]
fn every_partition_has_its_address() {
    for (region, fips, dual_stack, host) in [
        ("eu-central-1", false, false, "https://kms.eu-central-1.amazonaws.com"),
        ("us-gov-west-1", true, false, "https://kms-fips.us-gov-west-1.amazonaws.com"),
        ("us-east-1", true, true, "https://kms-fips.us-east-1.api.aws"),
        ("cn-north-1", false, false, "https://kms.cn-north-1.amazonaws.com.cn"),
        ("cn-north-1", false, true, "https://kms.cn-north-1.api.amazonwebservices.com.cn"),
        ("eusc-de-east-1", false, false, "https://kms.eusc-de-east-1.amazonaws.eu"),
        ("us-iso-east-1", false, false, "https://kms.us-iso-east-1.c2s.ic.gov"),
        ("us-isob-east-1", false, false, "https://kms.us-isob-east-1.sc2s.sgov.gov"),
    ] {
        assert_eq!(
            request::regional_endpoint(&Region::new(region), fips, dual_stack).as_deref(),
            Some(host),
            "{region}"
        );
    }
    for region in ["", "a.b", "x/../y", "-x", "x@evil.example"] {
        assert_eq!(request::regional_endpoint(&Region::new(region), false, false), None, "{region}");
    }
}

/// A requested FIPS or dual-stack endpoint is never replaced by a configured address: nothing is sent.
#[tokio::test]
async fn no_configured_address_replaces_fips() {
    let fake = FakeKms::start();
    let sealed = Ciphertext::parse(&seal(&[], SECRET.as_bytes())).expect("ciphertext");
    for shared in
        [shared("eu-central-1").await.use_fips(true).build(), shared("eu-central-1").await.use_dual_stack(true).build()]
    {
        let error = request_decrypt(&shared, &settings(&fake), &sealed).await.expect_err("refused");
        assert!(error.is_refused() && fake.count() == 0, "{error}");
        let expected = request::resolve_endpoint(&shared, None).expect("AWS' own");
        assert!(expected.contains("kms-fips.") || expected.ends_with(".api.aws"), "{expected}");
    }
}
