//! Generates the AWS configuration that an operator applies to the vault's buckets: IAM policies of the writer and the
//! auditors, bucket policies, lifecycle rules, and all of it as Terraform.
//!
//! The writer may only put locked objects below its prefix. Payload, index and chain are never deleted before their
//! retention ends. Only roles that may bypass governance can erase keys, and those can delete nothing else. Neighbour:
//! `store/probe` checks whether the configuration is in force.

mod terraform;

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::key_ring::EXTRA_KEY_RETENTION_DAYS;
use super::object_names::account_segment;
use super::store::settings::{LockMode, S3Settings};

/// The statements of all policies by their `Sid`, with placeholders.
const STATEMENTS: &str = include_str!("../../../../config/aws/statements.json");
/// Lifecycle rules by name, with placeholders. Cold classes bill at least 128 KiB per object. Session lines never
/// expire, because they outlive all content. In a versioned bucket, expiry leaves a delete marker, which is useless
/// once the version below it is gone.
const LIFECYCLE: &str = include_str!("../../../../config/aws/lifecycle.json");
/// A bucket in Terraform, with placeholders.
const BUCKET: &str = include_str!("../../../../config/aws/bucket.tf");

/// Days of a retention, rounded down, because a policy counts whole remaining days.
fn whole_days(retention: Duration) -> u64 {
    retention.as_secs() / 86_400
}

/// A vault's S3 settings, from which policies are generated.
pub struct AwsPolicies<'s> {
    settings: &'s S3Settings,
    /// Prefix of all names, with its slash; may be empty.
    prefix: String,
}

impl<'s> AwsPolicies<'s> {
    /// Policies for an S3 store.
    pub fn new(settings: &'s S3Settings) -> Self {
        let prefix = if settings.prefix.is_empty() { String::new() } else { format!("{}/", settings.prefix) };
        Self { settings, prefix }
    }

    /// A policy of these statements of `statements.json`. `values` fill placeholders beside those of the settings.
    fn policy(&self, sids: &[&str], values: &[(&str, &str)]) -> Value {
        let S3Settings { bucket, key_bucket, lock, .. } = self.settings;
        let days = lock.map_or(0, |lock| whole_days(lock.retention));
        let own_values = [
            ("{bucket}", format!("arn:aws:s3:::{bucket}")),
            ("{key_bucket}", format!("arn:aws:s3:::{key_bucket}")),
            ("{objects}", format!("arn:aws:s3:::{bucket}/{}", self.prefix)),
            ("{key_objects}", format!("arn:aws:s3:::{key_bucket}/{}", self.prefix)),
            ("{mode}", self.lock_mode().to_owned()),
            // a put takes time, so the remaining retention at arrival is slightly less than requested
            ("{min_days}", days.saturating_sub(1).to_string()),
            // a stolen credential must not be able to fill the bucket for a century
            ("{max_days}", (days + 1).to_string()),
        ];
        let own_values = own_values.iter().map(|(name, value)| (*name, value.as_str()));
        // names in the settings need no escaping
        let fill = |text: String, (name, value): (&str, &str)| text.replace(name, value);
        let text = own_values.chain(values.iter().copied()).fold(STATEMENTS.to_owned(), fill);
        let statements: Map<String, Value> = serde_json::from_str(&text).unwrap_or_default();
        let with_sid = |sid: &&str| {
            let fields = statements.get(*sid).and_then(Value::as_object).into_iter().flatten();
            let fields = fields.map(|(key, value)| (key.clone(), value.clone()));
            Value::Object(std::iter::once(("Sid".to_owned(), Value::from(*sid))).chain(fields).collect())
        };
        json!({"Version": "2012-10-17", "Statement": sids.iter().map(with_sid).collect::<Vec<_>>()})
    }

    /// The mode of the payload's lock, as S3 spells it.
    fn lock_mode(&self) -> &'static str {
        let is_compliance = self.settings.lock.is_some_and(|lock| lock.mode == LockMode::Compliance);
        if is_compliance { "COMPLIANCE" } else { "GOVERNANCE" }
    }

    /// The writer's IAM policy: it allows only puts with a lock. `s3:if-none-match` forces conditional writes, so that
    /// nothing is overwritten. Only `s3:PutObject` knows that condition key; `s3:PutObjectRetention`, which a put with
    /// a lock also needs, never carries it. If payload and keys share a bucket, the payload's rule must not apply to
    /// keys, which stay erasable. The writer does not own legal hold notes and the chains of erasures, key copies and
    /// openings: a stolen credential must not be able to forge them.
    pub fn writer(&self) -> Value {
        if self.settings.lock.is_some() {
            let sids = ["KeysStayErasable", "Lock", "WriteOnce", "KeysLock", "Keys", "Never", "NotTheirs"];
            return self.policy(&sids, &[]);
        }
        let mut policy = self.policy(&["WriteOnce", "Keys", "Never", "NotTheirs"], &[]);
        let statements = policy.get_mut("Statement").and_then(Value::as_array_mut).into_iter().flatten();
        let conditions = statements.filter_map(|statement| statement.get_mut("Condition")?.as_object_mut());
        conditions.for_each(|condition| condition.retain(|operator, _| operator == "Null"));
        policy
    }

    /// An auditor's IAM policy: read and list only. With `restore`, it also allows temporary restores of archived
    /// objects, which cost money.
    pub fn auditor(&self, restore: bool) -> Value {
        self.policy(if restore { &["Read", "List", "Restore"] } else { &["Read", "List"] }, &[])
    }

    /// The erasers' IAM policy: read, destroy keys, and write a chain of erasures under the name `writer`. It allows no
    /// deletion of payload.
    pub fn eraser(&self, writer: &str) -> Value {
        self.policy(&["Read", "List", "DestroyKeys", "OwnChain"], &[("{writer}", writer)])
    }

    /// The IAM policy of auditors who open keys together: an auditor's, and a chain of openings under the name
    /// `writer`. `restore` as in [`Self::auditor`].
    pub fn opener(&self, writer: &str, restore: bool) -> Value {
        let sids: &[&str] =
            if restore { &["Read", "List", "Restore", "OwnChain"] } else { &["Read", "List", "OwnChain"] };
        self.policy(sids, &[("{writer}", writer)])
    }

    /// A bucket's own policy: no plain HTTP. On the bucket with the keys (`has_keys`), only erasers may bypass
    /// governance, and their own policy limits the bypass to keys; on another bucket, no one may.
    pub fn bucket(&self, has_keys: bool) -> Value {
        let S3Settings { bucket, key_bucket, .. } = self.settings;
        let has_keys = has_keys || bucket == key_bucket;
        let (own_bucket, bypass) = if has_keys { (key_bucket, "OnlyErasersBypass") } else { (bucket, "NoBypass") };
        self.policy(&["OnlyTls", bypass], &[("{own_bucket}", &format!("arn:aws:s3:::{own_bucket}"))])
    }

    /// Lifecycle rules of the payload bucket: payload of `accounts` moves to colder storage classes and expires a day
    /// after its retention, as does the index; chain and session lines stay. A rule applies to a prefix without
    /// exceptions, so each account has its own.
    pub fn lifecycle(&self, accounts: &[String]) -> Value {
        let payload = accounts.iter().flat_map(|account| self.rules(&["payload", "packed"], &account_segment(account)));
        let is_one_bucket = self.settings.bucket == self.settings.key_bucket;
        let others: &[&str] = if is_one_bucket { &["keys", "markers", "sessions"] } else { &["markers", "sessions"] };
        let rules = self.rules(&["index"], "").into_iter().chain(payload).chain(self.rules(others, ""));
        json!({ "Rules": rules.collect::<Vec<_>>() })
    }

    /// Lifecycle rules of the key bucket: a key expires after the content that it opens.
    pub fn key_lifecycle(&self) -> Value {
        json!({ "Rules": self.rules(&["keys", "markers"], "") })
    }

    /// These rules of `lifecycle.json`. Keys expire later than content: a fragment sealed on a key's last day must stay
    /// readable until its own last day.
    fn rules(&self, names: &[&str], account: &str) -> Vec<Value> {
        let days = self.settings.lock.map_or(365, |lock| whole_days(lock.retention)) + 1;
        let colder = [(30, "GLACIER_IR"), (180, "DEEP_ARCHIVE")].into_iter().filter(|(day, _)| *day + 90 <= days);
        let colder: Vec<Value> = colder.map(|(day, class)| json!({"Days": day, "StorageClass": class})).collect();
        let values = [
            ("{prefix}", self.prefix.clone()),
            ("{account}", account.to_owned()),
            ("\"{days}\"", days.to_string()),
            ("\"{key_days}\"", (days + EXTRA_KEY_RETENTION_DAYS).to_string()),
            ("\"{colder}\"", Value::from(colder).to_string()),
        ];
        let text = values.iter().fold(LIFECYCLE.to_owned(), |text, (name, value)| text.replace(name, value));
        let mut rules: Map<String, Value> = serde_json::from_str(&text).unwrap_or_default();
        let fields = rules.values_mut().filter_map(Value::as_object_mut);
        fields.for_each(|fields| fields.retain(|_, value| *value != json!([])));
        names.iter().filter_map(|name| rules.get(*name).cloned()).collect()
    }

    /// The whole configuration as Terraform for AWS; `accounts` as in [`Self::lifecycle`], `restore` as in
    /// [`Self::auditor`].
    pub fn terraform(&self, accounts: &[String], restore: bool) -> String {
        let S3Settings { bucket, key_bucket, lock, .. } = self.settings;
        let to_json = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
        let days = lock.map_or(90, |lock| whole_days(lock.retention)).to_string();
        let mut out = String::from(
            "# An operator applies this, never the gateway. Replace ACCOUNT_ID with your AWS account id.\n",
        );
        for (name, bucket, mode, has_keys) in
            [("vault", bucket, self.lock_mode(), false), ("vault_keys", key_bucket, "GOVERNANCE", true)]
        {
            if has_keys && bucket == &self.settings.bucket {
                break;
            }
            let policy = to_json(&self.bucket(has_keys));
            let values =
                [("{name}", name), ("{bucket}", bucket), ("{mode}", mode), ("{days}", &days), ("{policy}", &policy)];
            out += &values.iter().fold(BUCKET.to_owned(), |text, (name, value)| text.replace(name, value));
            let rules = if has_keys { self.key_lifecycle() } else { self.lifecycle(accounts) };
            out.push_str(&terraform::format_lifecycle(name, &rules));
        }
        let policies = [
            ("tollgate-writer", self.writer()),
            ("tollgate-auditor", self.auditor(restore)),
            ("tollgate-eraser", self.eraser("eraser")),
            ("tollgate-opener", self.opener("openings", restore)),
        ];
        for (name, policy) in policies {
            let id = name.replace('-', "_");
            out.push_str(&format!(
                "\nresource \"aws_iam_policy\" \"{id}\" {{\n  name   = \"{name}\"\n  policy = <<-JSON\n{}\n  JSON\n}}\n",
                to_json(&policy)
            ));
        }
        out
    }
}

#[cfg(test)]
mod tests;
