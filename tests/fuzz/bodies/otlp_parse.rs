//! Any bytes as a request are refused, or are read the same by our parser and by prost. The first byte selects the
//! signal.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

use super::oracle;
use otlp::Signal;

pub fn body(data: &[u8]) {
    let Some((pick, bytes)) = data.split_first() else { return };
    match pick % 3 {
        0 => oracle::against_prost::<ExportTraceServiceRequest>(Signal::Traces, bytes),
        1 => oracle::against_prost::<ExportMetricsServiceRequest>(Signal::Metrics, bytes),
        _ => oracle::against_prost::<ExportLogsServiceRequest>(Signal::Logs, bytes),
    }
}
