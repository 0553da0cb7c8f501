//! The generated policies grant what the vault needs, and no more.

use std::time::Duration;

use serde_json::{Value, json};

use super::AwsPolicies;
use crate::store::settings::{LockMode, ObjectLock, S3Settings};
use crate::testing::gateway::s3_settings;

fn settings(days: u64) -> S3Settings {
    let lock = ObjectLock { mode: LockMode::Compliance, retention: Duration::from_secs(days * 86_400) };
    S3Settings { lock: Some(lock), ..s3_settings(None) }
}

/// Whatever else a writer is granted, it may not read, list, delete or bypass, nor write into others' places.
#[test]
fn a_writer_writes() {
    let policy = AwsPolicies::new(&settings(400)).writer();
    let statements = policy["Statement"].as_array().expect("statements");
    let (allowed, denied): (Vec<&Value>, Vec<&Value>) = statements.iter().partition(|one| one["Effect"] == "Allow");
    // AWS knows the overwrite condition only for PutObject: a statement with another action would allow nothing
    assert!(allowed.iter().all(|one| one["Action"].is_string()), "{policy}");
    let theirs = denied[2]["Resource"].to_string();
    for place in ["audit-keys/agent-sessions/holds/*", "agent-sessions/chain/*/eraser/*", "index/v1/*/eraser-*"] {
        assert!(theirs.contains(place), "{place}");
    }
    for action in ["s3:GetObject*", "s3:ListBucket*", "s3:DeleteObject*", "s3:BypassGovernanceRetention"] {
        assert!(denied[1]["Action"].as_array().expect("a list").contains(&json!(action)), "{action}");
    }
}

/// Erasers may destroy keys and write under their own name, but not delete payload, index or chain.
#[test]
fn an_eraser_reaches_keys_only() {
    let settings = settings(400);
    let policy = AwsPolicies::new(&settings).eraser("eraser");
    let statements = policy["Statement"].as_array().expect("statements");
    let with = |action: &str| -> Vec<&Value> {
        let has = |one: &&Value| one["Action"].as_array().is_some_and(|all| all.contains(&json!(action)));
        statements.iter().filter(has).collect()
    };
    for action in ["s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"] {
        let found = with(action);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0]["Resource"], "arn:aws:s3:::audit-keys/agent-sessions/keys/*");
    }
    let puts = with("s3:PutObject");
    assert_eq!(puts.len(), 1);
    assert!(puts[0]["Resource"].as_array().expect("a list").iter().all(|one| one.to_string().contains("/eraser")));
    assert!(with("s3:DeleteObject").is_empty() && with("s3:*").is_empty());
}

/// An auditor puts nothing; an opener also puts lines and digests of openings, and deletes nothing.
#[test]
fn an_opener_writes_only_openings() {
    let settings = settings(400);
    let policies = AwsPolicies::new(&settings);
    let writes = |policy: &Value| -> Vec<Value> {
        let statements = policy["Statement"].as_array().expect("statements").clone();
        let is_write = |one: &Value| {
            let actions = one["Action"].as_array().expect("a list");
            actions
                .iter()
                .any(|action| ["Put", "Delete", "Bypass", "*"].iter().any(|word| action.to_string().contains(word)))
        };
        statements.into_iter().filter(is_write).collect()
    };
    assert_eq!(writes(&policies.auditor(true)), Vec::<Value>::new());
    let own = ["index/v1/*/openings-*", "chain/*/openings/*"]
        .map(|name| format!("arn:aws:s3:::audit-logs/agent-sessions/{name}"));
    assert_eq!(
        writes(&policies.opener("openings", true)),
        [
            json!({"Sid": "OwnChain", "Effect": "Allow", "Action": ["s3:PutObject", "s3:PutObjectRetention"], "Resource": own})
        ]
    );
    let writer = policies.writer();
    let denied = writer["Statement"].as_array().expect("statements").iter().find(|one| one["Sid"] == "NotTheirs");
    let denied = denied.expect("a denial")["Resource"].as_array().expect("a list").clone();
    let forged = own.map(|name| name.replace("openings", "openings*"));
    assert!(forged.iter().all(|name| denied.contains(&json!(name))), "a gateway can't forge them, nor block a writer");
}

/// Payload expires after its retention and moves to colder classes only if that saves money; no rule's prefix covers
/// the chain.
#[test]
fn the_chain_outlives_the_payload() {
    let long = settings(400);
    let rules = AwsPolicies::new(&long).lifecycle(&["default".to_owned(), "acme".to_owned()]);
    let rules = rules["Rules"].as_array().expect("rules").clone();
    let prefixes: Vec<&str> = rules.iter().filter_map(|rule| rule["Filter"]["Prefix"].as_str()).collect();
    let payload = ["default/", "packed/default/", "acme/", "packed/acme/"].map(|name| format!("agent-sessions/{name}"));
    assert_eq!(prefixes[0], "agent-sessions/index/");
    assert_eq!(prefixes[1..5], payload);
    assert!(prefixes[..5].iter().all(|prefix| !"agent-sessions/chain/default/w/e/1.json".starts_with(prefix)));
    let (sessions, others) = rules.split_last().expect("rules");
    let (markers, others) = others.split_last().expect("rules");
    assert_eq!(markers["Expiration"], json!({"ExpiredObjectDeleteMarker": true}));
    assert!(others.iter().all(|rule| rule["Expiration"]["Days"] == 401));
    assert_eq!(sessions["Filter"]["And"]["Prefix"], "agent-sessions/sessions/");
    assert!(sessions.get("Expiration").is_none(), "what was done and what it cost outlives the content");
    assert_eq!(rules[1]["Transitions"][0], json!({"Days": 30, "StorageClass": "GLACIER_IR"}));
    assert!(rules[0].get("Transitions").is_none());
    let short = settings(90);
    let rules = AwsPolicies::new(&short).lifecycle(&["default".to_owned()]);
    assert!(
        rules["Rules"][1].get("Transitions").is_none_or(|all| all.as_array().is_some_and(|all| all.len() == 1)),
        "{rules}"
    );
}

/// The Terraform has both buckets, each with lock, versioning and policy, and every policy as JSON.
#[test]
fn terraform_is_whole() {
    let settings = settings(400);
    let accounts = ["default".to_owned()];
    let text = AwsPolicies::new(&settings).terraform(&accounts, true);
    for word in [
        "\"audit-logs\"",
        "\"audit-keys\"",
        "object_lock_enabled = true",
        "tollgate-writer",
        "tollgate-auditor",
        "tollgate-opener",
        "s3:RestoreObject",
        "days = 400",
    ] {
        assert!(text.contains(word), "{word}");
    }
    let blocks: Vec<&str> = text.split("<<-JSON").skip(1).filter_map(|rest| rest.split("  JSON").next()).collect();
    assert_eq!(blocks.len(), 6);
    for block in blocks {
        assert!(serde_json::from_str::<Value>(block).is_ok(), "{block}");
    }
    assert_eq!(text.matches('{').count(), text.matches('}').count());
    // the same rules and days as in the other format
    let (payload, keys) =
        (AwsPolicies::new(&settings).lifecycle(&accounts), AwsPolicies::new(&settings).key_lifecycle());
    for (name, rules) in [("vault", payload), ("vault_keys", keys)] {
        let start = format!("resource \"aws_s3_bucket_lifecycle_configuration\" \"{name}\" {{");
        let block = text.split(&start).nth(1).and_then(|rest| rest.split("\n}\n").next()).expect("a lifecycle");
        let rules = rules["Rules"].as_array().expect("rules").clone();
        assert_eq!(block.matches("  rule {").count(), rules.len());
        for rule in rules {
            let own =
                block.split("  rule {").find(|one| one.contains(&format!("= {}\n", rule["ID"]))).expect("the rule");
            let prefix = rule["Filter"].get("And").unwrap_or(&rule["Filter"])["Prefix"].clone();
            assert!(own.contains(&format!("prefix = {prefix}\n")), "{own}");
            let days = rule["Expiration"]["Days"].as_u64();
            assert!(days.is_none_or(|days| own.contains(&format!("expiration {{\n      days = {days}\n"))), "{own}");
            let colder = rule["Transitions"].as_array().cloned().unwrap_or_default();
            assert_eq!(own.matches("transition {").count(), colder.len(), "{own}");
            assert!(colder.iter().all(|to| own.contains(&format!("storage_class = {}", to["StorageClass"]))), "{own}");
        }
    }
    assert!(text.contains("object_size_greater_than = 131072") && text.contains("expired_object_delete_marker = true"));
}

/// Evaluates a policy like IAM, as far as these policies need it: an explicit deny wins, nothing is allowed by default,
/// all conditions of a statement must hold; for a key missing in the request, only `Null` holds.
fn allows(policy: &Value, action: &str, resource: &str, told: &[(&str, &str)]) -> bool {
    let list = |value: &Value| -> Vec<String> {
        let one = value.as_str().map(|one| vec![one.to_owned()]);
        let many =
            || value.as_array().expect("a list").iter().map(|one| one.as_str().expect("text").to_owned()).collect();
        one.unwrap_or_else(many)
    };
    let fits = |pattern: &String, text: &str| match pattern.strip_suffix('*') {
        Some(start) => text.starts_with(start),
        None => pattern == text,
    };
    let holds = |operator: &str, key: &str, wanted: &str| {
        let told = told.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
        let number = |text: &str| text.parse::<u64>().expect("a number");
        match (operator, told) {
            ("Null", told) => told.is_none() == (wanted == "true"),
            (_, None) => false,
            ("StringEquals", Some(told)) => told == wanted,
            ("NumericGreaterThanEquals", Some(told)) => number(told) >= number(wanted),
            ("NumericLessThanEquals", Some(told)) => number(told) <= number(wanted),
            _ => panic!("{operator}"),
        }
    };
    let matches = |statement: &&Value| {
        let conditions = statement["Condition"].as_object().into_iter().flatten();
        list(&statement["Action"]).iter().any(|one| fits(one, action))
            && list(&statement["Resource"]).iter().any(|one| fits(one, resource))
            && conditions.into_iter().all(|(operator, keys)| {
                let keys = keys.as_object().expect("keys");
                keys.iter().all(|(key, wanted)| holds(operator, key, wanted.as_str().expect("text")))
            })
    };
    let found: Vec<&Value> = policy["Statement"].as_array().expect("statements").iter().filter(matches).collect();
    !found.is_empty() && found.iter().all(|statement| statement["Effect"] == "Allow")
}

/// With one bucket or two: payload under compliance and keys under governance, each for its retention, can be written.
/// Everything else that a thief of the credential might want (weaker or shorter locks, locks for a century, keys that
/// can't be erased, no lock, overwriting) is denied.
#[test]
fn a_thief_writes_only_what_the_gateway_writes() {
    for key_bucket in ["audit-keys", "audit-logs"] {
        let settings = S3Settings { key_bucket: key_bucket.into(), ..settings(400) };
        let policy = AwsPolicies::new(&settings).writer();
        let payload = "arn:aws:s3:::audit-logs/agent-sessions/default/acme/s/2026-11-20/gw-E-0.agev";
        let key = format!("arn:aws:s3:::{key_bucket}/agent-sessions/keys/default/acme/s/2026-11-20/k.age");
        let put = |resource: &str, mode: &str, days: &str| {
            let told = [
                ("s3:if-none-match", "*"),
                ("s3:object-lock-mode", mode),
                ("s3:object-lock-remaining-retention-days", days),
            ];
            let given = |action: &str, told: &[(&str, &str)]| allows(&policy, action, resource, told);
            // without the overwrite condition, or without a lock, nothing is allowed
            assert!(
                !given("s3:PutObject", &told[1..]) && !given("s3:PutObject", &told[..1]),
                "{resource} {mode} {days}"
            );
            // a lock is set together with the object, whatever the request's condition on the name
            let lock = given("s3:PutObjectRetention", &told[1..]);
            given("s3:PutObject", &told) && lock
        };
        for days in ["399", "400"] {
            assert!(put(payload, "COMPLIANCE", days) && put(&key, "GOVERNANCE", days), "{key_bucket} {days}");
        }
        for days in ["400", "1", "398", "402", "36500"] {
            assert!(!put(payload, "GOVERNANCE", days) && !put(&key, "COMPLIANCE", days), "{key_bucket} {days}");
        }
        for days in ["0", "1", "398", "402", "36500"] {
            assert!(!put(payload, "COMPLIANCE", days) && !put(&key, "GOVERNANCE", days), "{key_bucket} {days}");
        }
        for action in ["s3:GetObject", "s3:DeleteObjectVersion", "s3:RestoreObject", "s3:PutObjectLegalHold"] {
            assert!(!allows(&policy, action, payload, &[]), "{action}");
        }
    }
}

/// In one bucket a single set of rules covers everything including keys, which expire last.
#[test]
fn one_bucket_has_all_rules() {
    let settings = S3Settings { key_bucket: "audit-logs".into(), ..settings(400) };
    let rules = AwsPolicies::new(&settings).lifecycle(&["default".to_owned()]);
    let policy = AwsPolicies::new(&settings).bucket(false);
    assert!(policy.to_string().contains("OnlyErasersBypass"), "nobody could erase: {policy}");
    let rules = rules["Rules"].as_array().expect("rules");
    let keys = rules.iter().find(|rule| rule["ID"] == "keys").expect("keys");
    assert_eq!((&keys["Filter"]["Prefix"], &keys["Expiration"]["Days"]), (&json!("agent-sessions/keys/"), &json!(431)));
}
