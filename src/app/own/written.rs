//! Adapts the `service.telemetry.metrics` of a Collector's file: parts that tollgate does not use are removed with a
//! note, and others are renamed to its spelling. The types are in `config`.

use config::Problem;
use config::tree::{Key, Node, Val};

const PAGE: &str = "`/metrics` of the extension `admin` tells all";

/// Keeps readers that send OTLP at intervals; adds a note for each other part.
pub(crate) fn served(metrics: &mut Node, notes: &mut Vec<Problem>) {
    let path = "service.telemetry.metrics";
    let Val::Map(entries) = &mut metrics.value else { return };
    entries.retain(|(key, _)| {
        let ours = key.name == "readers";
        if !ours {
            notes.push(Problem::warning(Some(key.at), format!("{path}.{}", key.name), format!("is not used: {PAGE}")));
        }
        ours
    });
    let Some((_, Node { value: Val::Seq(readers), .. })) = entries.first_mut() else { return };
    let mut at = 0;
    readers.retain_mut(|reader| {
        let path = format!("{path}.readers[{at}]");
        at += 1;
        let keep = otlp(reader);
        if !keep {
            notes.push(Problem::warning(
                Some(reader.at),
                path,
                format!("is not used: only `periodic` with `otlp` is; {PAGE}"),
            ));
        }
        keep
    });
}

/// The entry of `key`.
fn entry<'n>(node: &'n mut Node, key: &str) -> Option<&'n mut (Key, Node)> {
    match &mut node.value {
        Val::Map(entries) => entries.iter_mut().find(|(known, _)| known.name == key),
        _ => None,
    }
}

/// Whether to keep a reader: it sends OTLP at intervals (then renamed to tollgate's spelling), or typing will report
/// it.
fn otlp(reader: &mut Node) -> bool {
    if reader.get("pull").is_some() {
        return false;
    }
    let Some((_, periodic)) = entry(reader, "periodic") else { return true };
    let Some((_, exporter)) = entry(periodic, "exporter") else { return true };
    if ["console", "prometheus", "otlp_file/development"].iter().any(|other| exporter.get(other).is_some()) {
        return false;
    }
    for (theirs, protocol) in [("otlp_http", "http/protobuf"), ("otlp_grpc", "grpc")] {
        if let Some((key, body)) = entry(exporter, theirs) {
            "otlp".clone_into(&mut key.name);
            let said = Node { value: Val::Str(protocol.to_owned()), ..Node::null(key.at) };
            if let Val::Map(entries) = &mut body.value {
                entries.push((Key { at: key.at, name: "protocol".to_owned() }, said));
            }
        }
    }
    if let Some((_, otlp)) = entry(exporter, "otlp")
        && let Some((_, headers)) = entry(otlp, "headers")
    {
        as_map(headers);
    }
    true
}

/// Converts a list of `{ name, value }` to a map.
fn as_map(headers: &mut Node) {
    let Val::Seq(items) = &headers.value else { return };
    let pair = |item: &Node| {
        let (_, name) = item.get("name")?;
        let Val::Str(text) = &name.value else { return None };
        Some((Key { at: name.at, name: text.clone() }, item.get("value")?.1.clone()))
    };
    if let Some(entries) = items.iter().map(pair).collect() {
        headers.value = Val::Map(entries);
    }
}
