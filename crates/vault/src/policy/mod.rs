//! Generates the AWS configuration that an operator applies to the vault's buckets: IAM policies of the writer and the
//! auditors, bucket policies, lifecycle rules, and all of it as Terraform.
//!
//! The writer may only put locked objects below its prefix. Payload, index and chain are never deleted before their
//! retention ends. Only roles that may bypass governance can erase keys, and those can delete nothing else. Neighbour:
//! `store/probe` checks whether the configuration is in force.

mod terraform;

use std::time::Duration;

use serde_json::{Value, json};

use super::key_ring::EXTRA_KEY_RETENTION_DAYS;
use super::object_names::account_segment;
use super::store::settings::{LockMode, S3Settings};

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

    fn object_arn(&self, bucket: &str) -> String {
        format!("arn:aws:s3:::{bucket}/{}*", self.prefix)
    }

    fn key_arn(&self, bucket: &str) -> String {
        format!("arn:aws:s3:::{bucket}/{}keys/*", self.prefix)
    }

    /// The writer's IAM policy: it allows only puts with a lock. `s3:if-none-match` forces conditional writes, so that
    /// nothing is overwritten. Only `s3:PutObject` knows that condition key; `s3:PutObjectRetention`, which a put with
    /// a lock also needs, never carries it.
    pub fn writer(&self) -> Value {
        let S3Settings { bucket, key_bucket, lock, .. } = self.settings;
        let (mut condition, mut key_condition) = (serde_json::Map::new(), serde_json::Map::new());
        let mut statements = Vec::new();
        let write_actions = ["s3:PutObject", "s3:PutObjectRetention"];
        if let Some(lock) = lock {
            let mode = if lock.mode == LockMode::Compliance { "COMPLIANCE" } else { "GOVERNANCE" };
            // a put takes time, so the remaining retention at arrival is slightly less than requested
            let min_days = whole_days(lock.retention).saturating_sub(1).to_string();
            // a stolen credential must not be able to fill the bucket for a century
            let max_days = (whole_days(lock.retention) + 1).to_string();
            for (condition, mode) in [(&mut condition, mode), (&mut key_condition, "GOVERNANCE")] {
                condition.insert("StringEquals".to_owned(), json!({"s3:object-lock-mode": mode}));
                for (operator, days) in [("NumericGreaterThanEquals", &min_days), ("NumericLessThanEquals", &max_days)]
                {
                    condition.insert(operator.to_owned(), json!({"s3:object-lock-remaining-retention-days": days}));
                }
            }
            // if payload and keys share a bucket, the payload's rule must not apply to keys: keys must stay erasable
            statements.push(json!({"Sid": "KeysStayErasable", "Effect": "Deny", "Action": write_actions,
                "Resource": self.key_arn(key_bucket), "Condition": {"StringEquals": {"s3:object-lock-mode": "COMPLIANCE"}}}));
        }
        let grants = [
            ("WriteOnce", "Lock", self.object_arn(bucket), condition),
            ("Keys", "KeysLock", self.key_arn(key_bucket), key_condition),
        ];
        for (put_sid, lock_sid, resource, mut condition) in grants {
            if !condition.is_empty() {
                statements.push(
                    json!({"Sid": lock_sid, "Effect": "Allow", "Action": "s3:PutObjectRetention", "Resource": resource,
                    "Condition": condition}),
                );
            }
            condition.insert("Null".to_owned(), json!({"s3:if-none-match": "false"}));
            statements.push(json!({"Sid": put_sid, "Effect": "Allow", "Action": "s3:PutObject", "Resource": resource,
                "Condition": condition}));
        }
        statements.extend([
            json!({"Sid": "Never", "Effect": "Deny", "Resource": "*", "Action": [
                "s3:GetObject*", "s3:ListBucket*", "s3:DeleteObject*", "s3:BypassGovernanceRetention", "s3:PutObjectLegalHold",
                "s3:RestoreObject", "s3:PutBucket*", "s3:PutLifecycleConfiguration", "s3:DeleteBucket*"]}),
            // the writer does not own legal hold notes and the chains of erasures, key copies and openings: a stolen
            // credential must not be able to forge them
            json!({"Sid": "NotTheirs", "Effect": "Deny", "Action": write_actions, "Resource": [
                format!("arn:aws:s3:::{key_bucket}/{}holds/*", self.prefix), format!("arn:aws:s3:::{bucket}/{}holds/*", self.prefix),
                format!("arn:aws:s3:::{bucket}/{}chain/*/eraser/*", self.prefix),
                format!("arn:aws:s3:::{bucket}/{}index/v1/*/eraser-*", self.prefix),
                format!("arn:aws:s3:::{bucket}/{}chain/*/rewrap/*", self.prefix),
                format!("arn:aws:s3:::{bucket}/{}index/v1/*/rewrap-*", self.prefix),
                format!("arn:aws:s3:::{bucket}/{}chain/*/openings*/*", self.prefix),
                format!("arn:aws:s3:::{bucket}/{}index/v1/*/openings*-*", self.prefix)]}),
        ]);
        json!({"Version": "2012-10-17", "Statement": statements})
    }

    /// An auditor's IAM policy: read and list only. With `restore`, it also allows temporary restores of archived
    /// objects, which cost money.
    pub fn auditor(&self, restore: bool) -> Value {
        let S3Settings { bucket, key_bucket, .. } = self.settings;
        let buckets = [bucket, key_bucket].map(|bucket| format!("arn:aws:s3:::{bucket}"));
        let objects = [bucket, key_bucket].map(|bucket| self.object_arn(bucket));
        let mut statements = vec![
            json!({"Sid": "Read", "Effect": "Allow", "Resource": objects, "Action": [
                "s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectRetention", "s3:GetObjectLegalHold"]}),
            json!({"Sid": "List", "Effect": "Allow", "Resource": buckets, "Action": [
                "s3:ListBucket", "s3:ListBucketVersions", "s3:GetBucketVersioning", "s3:GetBucketObjectLockConfiguration"]}),
        ];
        if restore {
            statements.push(
                json!({"Sid": "Restore", "Effect": "Allow", "Resource": objects, "Action": ["s3:RestoreObject"]}),
            );
        }
        json!({"Version": "2012-10-17", "Statement": statements})
    }

    /// The erasers' IAM policy: read, destroy keys, and write a chain of erasures under the name `writer`. It allows no
    /// deletion of payload.
    pub fn eraser(&self, writer: &str) -> Value {
        let key_bucket = &self.settings.key_bucket;
        let Value::Object(mut policy) = self.auditor(false) else { return Value::Null };
        if let Some(statements) = policy.get_mut("Statement").and_then(Value::as_array_mut) {
            statements.push(json!({"Sid": "DestroyKeys", "Effect": "Allow",
                "Resource": self.key_arn(key_bucket), "Action": [
                    "s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"]}));
            statements.push(self.own_chain(writer));
        }
        Value::Object(policy)
    }

    /// The IAM policy of auditors who open keys together: an auditor's, and a chain of openings under the name
    /// `writer`. `restore` as in [`Self::auditor`].
    pub fn opener(&self, writer: &str, restore: bool) -> Value {
        let Value::Object(mut policy) = self.auditor(restore) else { return Value::Null };
        if let Some(statements) = policy.get_mut("Statement").and_then(Value::as_array_mut) {
            statements.push(self.own_chain(writer));
        }
        Value::Object(policy)
    }

    fn own_chain(&self, writer: &str) -> Value {
        let below_prefix = format!("arn:aws:s3:::{}/{}", self.settings.bucket, self.prefix);
        json!({"Sid": "OwnChain", "Effect": "Allow", "Action": ["s3:PutObject", "s3:PutObjectRetention"],
            "Resource": [format!("{below_prefix}index/v1/*/{writer}-*"), format!("{below_prefix}chain/*/{writer}/*")]})
    }

    /// A bucket's own policy: no plain HTTP. On the bucket with the keys (`has_keys`), only erasers may bypass
    /// governance, and their own policy limits the bypass to keys; on another bucket, no one may.
    pub fn bucket(&self, has_keys: bool) -> Value {
        let has_keys = has_keys || self.settings.bucket == self.settings.key_bucket;
        let name = if has_keys { &self.settings.key_bucket } else { &self.settings.bucket };
        let resources = [format!("arn:aws:s3:::{name}"), format!("arn:aws:s3:::{name}/*")];
        let mut statements =
            vec![json!({"Sid": "OnlyTls", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": resources,
            "Condition": {"Bool": {"aws:SecureTransport": "false"}}})];
        let bypass = "s3:BypassGovernanceRetention";
        statements.push(match has_keys {
            false => json!({"Sid": "NoBypass", "Effect": "Deny", "Principal": "*", "Action": bypass, "Resource": resources}),
            true => json!({"Sid": "OnlyErasersBypass", "Effect": "Deny", "Principal": "*", "Action": bypass, "Resource": resources,
                "Condition": {"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::ACCOUNT_ID:role/tollgate-eraser"}}}),
        });
        json!({"Version": "2012-10-17", "Statement": statements})
    }

    /// Lifecycle rules of the payload bucket: payload of `accounts` moves to colder storage classes and expires a day
    /// after its retention, as does the index; chain and session lines stay. A rule applies to a prefix without
    /// exceptions, so each account has its own.
    pub fn lifecycle(&self, accounts: &[String]) -> Value {
        let days = self.settings.lock.map_or(365, |lock| whole_days(lock.retention)) + 1;
        let rule = |id: &str, filter: &str, transitions: Value| {
            let mut rule = json!({"ID": id, "Status": "Enabled", "Filter": {"Prefix": filter},
                "Expiration": {"Days": days}, "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}});
            if let Some(fields) = rule.as_object_mut().filter(|_| !transitions.is_null()) {
                fields.insert("Transitions".to_owned(), transitions);
            }
            rule
        };
        let colder: Vec<Value> = [(30, "GLACIER_IR"), (180, "DEEP_ARCHIVE")]
            .into_iter()
            .filter(|(day, _)| *day + 90 <= days)
            .map(|(day, class)| json!({"Days": day, "StorageClass": class}))
            .collect();
        let colder = if colder.is_empty() { Value::Null } else { Value::Array(colder) };
        let prefix = &self.prefix;
        let payload = accounts.iter().flat_map(|account| {
            let segment = account_segment(account);
            let packed = format!("{prefix}packed/{segment}/");
            [
                rule(&format!("payload-{segment}"), &format!("{prefix}{segment}/"), colder.clone()),
                rule(&format!("packed-{segment}"), &packed, colder.clone()),
            ]
        });
        // cold classes bill at least 128 KiB per object, and session lines never expire, because they outlive all
        // content
        let sessions = json!({"ID": "sessions", "Status": "Enabled",
            "Filter": {"And": {"Prefix": format!("{prefix}sessions/"), "ObjectSizeGreaterThan": 131_072}},
            "Transitions": [{"Days": 30, "StorageClass": "GLACIER_IR"}]});
        let is_one_bucket = self.settings.bucket == self.settings.key_bucket;
        let rules: Vec<Value> = std::iter::once(rule("index", &format!("{prefix}index/"), Value::Null))
            .chain(payload)
            .chain(is_one_bucket.then(|| self.key_rule()))
            .chain([self.marker_rule(), sessions])
            .collect();
        json!({ "Rules": rules })
    }

    /// Lifecycle rules of the key bucket: a key expires after the content that it opens.
    pub fn key_lifecycle(&self) -> Value {
        json!({"Rules": [self.key_rule(), self.marker_rule()]})
    }

    /// Keys expire later than content: a fragment sealed on a key's last day must stay readable until its own last day.
    fn key_rule(&self) -> Value {
        let days = self.settings.lock.map_or(365, |lock| whole_days(lock.retention)) + 1 + EXTRA_KEY_RETENTION_DAYS;
        json!({"ID": "keys", "Status": "Enabled", "Filter": {"Prefix": format!("{}keys/", self.prefix)},
            "Expiration": {"Days": days}, "NoncurrentVersionExpiration": {"NoncurrentDays": 1}})
    }

    /// In a versioned bucket, expiry leaves a delete marker, which is useless once the version below it is gone.
    fn marker_rule(&self) -> Value {
        json!({"ID": "markers", "Status": "Enabled", "Filter": {"Prefix": self.prefix},
            "Expiration": {"ExpiredObjectDeleteMarker": true}})
    }

    /// The whole configuration as Terraform for AWS; `accounts` as in [`Self::lifecycle`], `restore` as in
    /// [`Self::auditor`].
    pub fn terraform(&self, accounts: &[String], restore: bool) -> String {
        let S3Settings { bucket, key_bucket, lock, .. } = self.settings;
        let to_json = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
        let mode = lock
            .map_or("GOVERNANCE", |lock| if lock.mode == LockMode::Compliance { "COMPLIANCE" } else { "GOVERNANCE" });
        let days = lock.map_or(90, |lock| whole_days(lock.retention));
        let mut out = String::from(
            "# An operator applies this, never the gateway. Replace ACCOUNT_ID with your AWS account id.\n",
        );
        for (name, bucket, mode, has_keys) in
            [("vault", bucket, mode, false), ("vault_keys", key_bucket, "GOVERNANCE", true)]
        {
            if has_keys && bucket == &self.settings.bucket {
                break;
            }
            out.push_str(&format!(
                r#"
resource "aws_s3_bucket" "{name}" {{
  bucket              = "{bucket}"
  object_lock_enabled = true
}}

resource "aws_s3_bucket_versioning" "{name}" {{
  bucket = aws_s3_bucket.{name}.id
  versioning_configuration {{ status = "Enabled" }}
}}

resource "aws_s3_bucket_object_lock_configuration" "{name}" {{
  bucket = aws_s3_bucket.{name}.id
  rule {{
    default_retention {{
      mode = "{mode}"
      days = {days}
    }}
  }}
}}

resource "aws_s3_bucket_ownership_controls" "{name}" {{
  bucket = aws_s3_bucket.{name}.id
  rule {{ object_ownership = "BucketOwnerEnforced" }}
}}

resource "aws_s3_bucket_public_access_block" "{name}" {{
  bucket                  = aws_s3_bucket.{name}.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}}

resource "aws_s3_bucket_policy" "{name}" {{
  bucket = aws_s3_bucket.{name}.id
  policy = <<-JSON
{}
  JSON
}}
"#,
                to_json(&self.bucket(has_keys))
            ));
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
