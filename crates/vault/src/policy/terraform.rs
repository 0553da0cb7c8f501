//! Lifecycle rules in Terraform syntax. They are derived from the rules that `--format lifecycle` prints, so that both
//! agree. Neighbour: the parent module defines the rules.

use serde_json::Value;

/// The `aws_s3_bucket_lifecycle_configuration` of a bucket (by its Terraform name), from rules in the S3 API's form.
pub(super) fn format_lifecycle(name: &str, rules: &Value) -> String {
    let mut out = format!(
        "\nresource \"aws_s3_bucket_lifecycle_configuration\" \"{name}\" {{\n  bucket     = aws_s3_bucket.{name}.id\n  \
         depends_on = [aws_s3_bucket_versioning.{name}]\n"
    );
    for rule in rules.get("Rules").and_then(Value::as_array).into_iter().flatten() {
        out.push_str("  rule {\n");
        for (name, key) in [("id", "ID"), ("status", "Status")] {
            out.push_str(&format!("    {name:<6} = {}\n", rule.get(key).unwrap_or(&Value::Null)));
        }
        for key in BLOCKS {
            match rule.get(key) {
                Some(Value::Array(values)) => values.iter().for_each(|one| push_block(&mut out, 4, key, one)),
                value => value.into_iter().for_each(|one| push_block(&mut out, 4, key, one)),
            }
        }
        out.push_str("  }\n");
    }
    out + "}\n"
}

/// The blocks of a rule, in Terraform's usual order.
const BLOCKS: [&str; 5] =
    ["Filter", "Transitions", "Expiration", "NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload"];

/// Appends a JSON object as a block. Values have the same syntax in JSON and Terraform, because none contains anything
/// that Terraform would interpolate.
fn push_block(out: &mut String, indent: usize, key: &str, value: &Value) {
    out.push_str(&format!("{:indent$}{} {{\n", "", terraform_name(key.trim_end_matches('s'))));
    for (key, value) in value.as_object().into_iter().flatten() {
        match value {
            Value::Object(_) => push_block(out, indent + 2, key, value),
            value => out.push_str(&format!("{:indent$}  {} = {value}\n", "", terraform_name(key))),
        }
    }
    out.push_str(&format!("{:indent$}}}\n", ""));
}

/// `storage_class` for `StorageClass`.
fn terraform_name(key: &str) -> String {
    let is_inner = |at: usize, letter: char| at > 0 && letter.is_ascii_uppercase();
    let spell = |(at, letter): (usize, char)| {
        is_inner(at, letter).then_some('_').into_iter().chain([letter.to_ascii_lowercase()])
    };
    key.char_indices().flat_map(spell).collect()
}
