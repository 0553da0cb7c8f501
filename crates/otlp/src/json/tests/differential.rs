//! Differential tests against opentelemetry-proto where its JSON is right: random messages, its JSON, our bytes, read
//! by prost.

use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use proptest::prelude::*;
use prost::Message;

use super::super::decode;
use crate::Signal;
use crate::tests::strategies;

fn official<M: Message + Default + serde::Serialize>(signal: Signal, message: &M) -> M {
    let json = serde_json::to_vec(message).unwrap();
    let wire = decode(signal, &json).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&json)));
    assert_eq!(wire.len(), message.encoded_len(), "canonical: as long as prost's own bytes");
    M::decode(wire.as_slice()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// JSON written by the official types decodes to the same traces.
    #[test]
    fn official_json_of_traces(message in strategies::traces()) {
        prop_assert_eq!(official::<ExportTraceServiceRequest>(Signal::Traces, &message), message);
    }

    /// JSON written by the official types decodes to the same logs.
    #[test]
    fn official_json_of_logs(message in prop_oneof![4 => strategies::logs(), 1 => strategies::indexed()]) {
        prop_assert_eq!(official::<ExportLogsServiceRequest>(Signal::Logs, &message), message);
    }

    /// JSON written by the official types decodes to the same metrics.
    #[test]
    fn official_json_of_metrics(message in strategies::metrics()) {
        prop_assert_eq!(official::<ExportMetricsServiceRequest>(Signal::Metrics, &message), message);
    }
}
