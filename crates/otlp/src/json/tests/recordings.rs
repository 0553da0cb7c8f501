//! Every request recorded from real clients.

use std::path::PathBuf;

use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use prost::Message;

use super::super::{decode, encode};
use crate::Signal;

fn requests(extension: &str) -> Vec<(Signal, PathBuf)> {
    let mut folders = vec![fixtures::at("tests/recordings")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let signal = Signal::ALL.into_iter().find(|signal| stem.ends_with(&format!("-{}", signal.as_str())));
            match signal {
                _ if path.is_dir() => folders.push(path),
                Some(signal) if path.extension().is_some_and(|ext| ext == extension) => found.push((signal, path)),
                _ => {}
            }
        }
    }
    found
}

/// Compares the bytes that the official types write, so that a NaN (some clients send NaN token counts) equals itself.
fn same<M: Message + Default>(left: &[u8], right: &[u8]) -> bool {
    M::decode(left).unwrap().encode_to_vec() == M::decode(right).unwrap().encode_to_vec()
}

fn equal(signal: Signal, left: &[u8], right: &[u8]) -> bool {
    match signal {
        Signal::Traces => same::<ExportTraceServiceRequest>(left, right),
        Signal::Metrics => same::<ExportMetricsServiceRequest>(left, right),
        Signal::Logs => same::<ExportLogsServiceRequest>(left, right),
    }
}

/// Protobuf of real clients survives the round trip through JSON.
#[test]
fn protobuf_recordings_survive() {
    let requests = requests("pb");
    assert!(requests.len() > 50, "{}", requests.len());
    for (signal, path) in requests {
        let wire = std::fs::read(&path).unwrap();
        let mut json = String::new();
        encode(signal, &wire, &mut json).unwrap();
        assert!(equal(signal, &wire, &decode(signal, json.as_bytes()).unwrap()), "{}", path.display());
    }
}

/// The same JSON except for the last bit of doubles: serde_json parses them quickly, not exactly.
fn near(signal: Signal, left: &[u8], right: &[u8]) -> bool {
    let text = |wire: &[u8]| {
        let mut out = String::new();
        encode(signal, wire, &mut out).unwrap();
        out
    };
    let (left, right) = (text(left), text(right));
    let tokens = |text: &str| text.split([',', ':', '}']).map(str::to_owned).collect::<Vec<_>>();
    let (left, right) = (tokens(&left), tokens(&right));
    left.len() == right.len()
        && left.iter().zip(&right).all(|(left, right)| match (left.parse::<f64>(), right.parse::<f64>()) {
            (Ok(left), Ok(right)) => (left - right).abs() <= left.abs() * 4e-16,
            _ => left == right,
        })
}

/// JSON of real clients decodes to the same request as with the official types.
#[test]
fn json_recordings_are_read() {
    let requests = requests("json");
    assert!(requests.len() >= 8, "{}", requests.len());
    for (signal, path) in requests {
        let json = std::fs::read(&path).unwrap();
        let official = match signal {
            Signal::Traces => serde_json::from_slice::<ExportTraceServiceRequest>(&json).map(|m| m.encode_to_vec()),
            Signal::Metrics => serde_json::from_slice::<ExportMetricsServiceRequest>(&json).map(|m| m.encode_to_vec()),
            Signal::Logs => serde_json::from_slice::<ExportLogsServiceRequest>(&json).map(|m| m.encode_to_vec()),
        };
        let wire = decode(signal, &json).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(wire.len() > json.len() / 10, "{}", path.display());
        assert!(near(signal, &wire, &official.unwrap()), "{}", path.display());
    }
}
