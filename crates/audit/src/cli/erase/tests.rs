//! Those who sign see each field for itself, and sign only when they say so.

use std::sync::Arc;

use super::*;
use command::admin_client::AdminPort;
use vault::recipients::RecipientPolicy;

/// A configuration of which only `--admin URL` is known.
pub(crate) struct NoConfig;

impl GatewayConfig for NoConfig {
    fn admin_port(&self, options: &AdminPortArgs) -> Result<AdminPort, CommandError> {
        let base = options.admin.clone().unwrap_or_default();
        Ok(AdminPort { base, tls: Default::default(), authorization: None })
    }

    fn redaction_rules(&self) -> Result<Arc<Detector>, CommandError> {
        Err("no configuration".into())
    }

    fn vault_recipients(&self) -> Result<Vec<(String, RecipientPolicy)>, CommandError> {
        Ok(Vec::new())
    }
}

/// Only `yes` at a terminal signs; without a terminal `--yes` is needed.
#[test]
fn nothing_is_signed_unasked() {
    assert!(confirm_signing(Some(&b"yes\n"[..])).is_ok());
    for answer in ["", "\n", "no\n", "y\n", "yes, but\n"] {
        assert!(confirm_signing(Some(answer.as_bytes())).is_err(), "{answer:?}");
    }
    let why = confirm_signing(None::<&[u8]>).expect_err("no terminal").to_string();
    assert!(why.contains("--yes"), "{why}");
}

/// No field of a request looks like another field or line of the summary.
#[test]
fn fields_are_quoted() {
    let request = ErasureRequest {
        v: 1,
        store: "s3://vault".to_owned(),
        account: "acme\" of the user \"x".to_owned(),
        what: ContentTarget::Session("s0 in /other\nfor the reason \u{202e}".to_owned()),
        who: "officer".to_owned(),
        why: "ticket".to_owned(),
        time: String::new(),
        expires: "2026-12-01T00:00:00Z".to_owned(),
        nonce: String::new(),
        sessions: Vec::new(),
        keys: Vec::new(),
        holds: Vec::new(),
    };
    let text = summarize_request(&request);
    assert!(text.starts_with("erase the session  \"s0 in /other\\nfor the reason \\u202e\"\n"), "{text}");
    assert!(text.contains("of the account     \"acme\\\" of the user \\\"x\"\n"), "{text}");
    assert_eq!(text.lines().count(), 6, "{text}");
}
