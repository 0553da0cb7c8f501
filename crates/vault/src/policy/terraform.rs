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
        out.push_str(&format_filter(rule.get("Filter").unwrap_or(&Value::Null)));
        for transition in rule.get("Transitions").and_then(Value::as_array).into_iter().flatten() {
            out.push_str(&format_block(
                "transition",
                transition,
                &[("days", "Days"), ("storage_class", "StorageClass")],
            ));
        }
        let blocks = [
            (
                "expiration",
                "Expiration",
                &[("days", "Days"), ("expired_object_delete_marker", "ExpiredObjectDeleteMarker")][..],
            ),
            (
                "noncurrent_version_expiration",
                "NoncurrentVersionExpiration",
                &[("noncurrent_days", "NoncurrentDays")][..],
            ),
            (
                "abort_incomplete_multipart_upload",
                "AbortIncompleteMultipartUpload",
                &[("days_after_initiation", "DaysAfterInitiation")][..],
            ),
        ];
        for (block_name, key, fields) in blocks {
            out.push_str(&rule.get(key).map_or(String::new(), |value| format_block(block_name, value, fields)));
        }
        out.push_str("  }\n");
    }
    out + "}\n"
}

/// A filter with a prefix alone, or with a prefix and a size.
fn format_filter(filter: &Value) -> String {
    const FIELDS: [(&str, &str); 2] = [("prefix", "Prefix"), ("object_size_greater_than", "ObjectSizeGreaterThan")];
    match filter.get("And") {
        None => format_block("filter", filter, &FIELDS),
        Some(and) => {
            let inner =
                format_fields(and, &FIELDS).into_iter().map(|field| format!("        {field}\n")).collect::<String>();
            format!("    filter {{\n      and {{\n{inner}      }}\n    }}\n")
        }
    }
}

fn format_block(name: &str, value: &Value, names: &[(&str, &str)]) -> String {
    let fields = format_fields(value, names).into_iter().map(|field| format!("      {field}\n")).collect::<String>();
    format!("    {name} {{\n{fields}    }}\n")
}

/// Formats fields of a JSON object; `names` are pairs of Terraform's name and the JSON key. Values have the same syntax
/// in JSON and Terraform, because none contains anything that Terraform would interpolate.
fn format_fields(value: &Value, names: &[(&str, &str)]) -> Vec<String> {
    names.iter().filter_map(|(name, key)| Some(format!("{name} = {}", value.get(*key)?))).collect()
}
