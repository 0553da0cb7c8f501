//! Adapts the `service.telemetry.metrics` of a Collector's file: parts that tollgate does not use are removed with a
//! note, and others are renamed to its spelling. The types are in `config`.

use config::Problem;
use config::tree::{MapKey, NodeValue, TreeNode};

const METRICS_PAGE_NOTE: &str = "`/metrics` of the extension `admin` serves all metrics";

/// Keeps readers that send OTLP at intervals; adds a note for each other part.
pub(crate) fn adapt_metrics(metrics: &mut TreeNode, notes: &mut Vec<Problem>) {
    let path = "service.telemetry.metrics";
    let NodeValue::Map(entries) = &mut metrics.value else { return };
    entries.retain(|(key, _)| {
        let is_kept = key.name == "readers";
        if !is_kept {
            notes.push(Problem::warning(
                Some(key.at),
                format!("{path}.{}", key.name),
                format!("is not used: {METRICS_PAGE_NOTE}"),
            ));
        }
        is_kept
    });
    let Some((_, TreeNode { value: NodeValue::Seq(readers), .. })) = entries.first_mut() else { return };
    let mut index = 0;
    readers.retain_mut(|reader| {
        let path = format!("{path}.readers[{index}]");
        index += 1;
        let is_kept = adapt_otlp_reader(reader);
        if !is_kept {
            notes.push(Problem::warning(
                Some(reader.at),
                path,
                format!("is not used: only `periodic` readers with `otlp` are supported; {METRICS_PAGE_NOTE}"),
            ));
        }
        is_kept
    });
}

/// Whether to keep a reader: one that sends OTLP at intervals, which is converted to tollgate's spelling, or an invalid
/// one, which is reported when the file is typed.
fn adapt_otlp_reader(reader: &mut TreeNode) -> bool {
    if reader.get("pull").is_some() {
        return false;
    }
    let Some((_, periodic)) = reader.get_mut("periodic") else { return true };
    let Some((_, exporter)) = periodic.get_mut("exporter") else { return true };
    if ["console", "prometheus", "otlp_file/development"].iter().any(|name| exporter.get(name).is_some()) {
        return false;
    }
    for (collector_name, protocol) in [("otlp_http", "http/protobuf"), ("otlp_grpc", "grpc")] {
        if let Some((key, body)) = exporter.get_mut(collector_name) {
            "otlp".clone_into(&mut key.name);
            let protocol_node = TreeNode { value: NodeValue::Str(protocol.to_owned()), ..TreeNode::null(key.at) };
            if let NodeValue::Map(entries) = &mut body.value {
                entries.push((MapKey { at: key.at, name: "protocol".to_owned() }, protocol_node));
            }
        }
    }
    if let Some((_, otlp)) = exporter.get_mut("otlp")
        && let Some((_, headers)) = otlp.get_mut("headers")
    {
        convert_to_map(headers);
    }
    true
}

/// Converts a list of `{ name, value }` to a map.
fn convert_to_map(headers: &mut TreeNode) {
    let NodeValue::Seq(items) = &headers.value else { return };
    let pair = |item: &TreeNode| {
        let (_, name) = item.get("name")?;
        let NodeValue::Str(text) = &name.value else { return None };
        Some((MapKey { at: name.at, name: text.clone() }, item.get("value")?.1.clone()))
    };
    if let Some(entries) = items.iter().map(pair).collect() {
        headers.value = NodeValue::Map(entries);
    }
}
