//! Compares replies with the official types.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use prost::Message;

use crate::Signal;
use crate::status::{
    CODES, GrpcCode, PartialSuccess, RetryRule, RpcStatus, http_retry_rule, read_response, read_retry_info,
    response_to_json, response_to_protobuf,
};

/// A partial success has the bytes and the JSON of the official types, and decodes again.
#[test]
fn partial_success() {
    let partial = PartialSuccess { rejected: 3, message: "too \"old\"".into() };
    let bytes = response_to_protobuf(Some(&partial));
    let official = ExportLogsServiceResponse {
        partial_success: Some(ExportLogsPartialSuccess {
            rejected_log_records: 3,
            error_message: "too \"old\"".into(),
        }),
    };
    assert_eq!(bytes, official.encode_to_vec());
    assert!(read_response(&bytes) == Ok(Some(partial.clone())));
    assert_eq!(
        response_to_json(Signal::Logs, Some(&partial)),
        r#"{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"too \"old\""}}"#
    );
}

/// Full success leaves partial_success unset, in both encodings, and an empty partial success is read as full success.
#[test]
fn full_success() {
    assert!(response_to_protobuf(None).is_empty());
    assert_eq!(response_to_json(Signal::Traces, None), "{}");
    assert!(read_response(&[]) == Ok(None));
    assert!(read_response(&[0x0a, 0]) == Ok(None));
    assert!(read_response(&[0x0a, 9]).is_err());
}

/// The Status has the bytes of the official types, and the JSON of the protobuf mapping; RetryInfo is found among other
/// details.
#[test]
fn rpc_status() {
    use tonic_types::{ErrorDetails, StatusExt};
    let delay = Duration::new(7, 5);
    let mut details = ErrorDetails::new();
    details.set_retry_info(Some(delay)).add_bad_request_violation("body", "cut short");
    let official = tonic::Status::with_error_details(tonic::Code::InvalidArgument, "bad", details);
    let mut status = RpcStatus {
        code: GrpcCode::InvalidArgument,
        message: "bad".into(),
        retry_after: Some(delay),
        violation: Some("cut short".into()),
    };
    assert_eq!(status.to_protobuf(), official.details());
    assert_eq!(read_retry_info(official.details()), Ok(Some(delay)));
    let json: serde_json::Value = serde_json::from_str(&status.to_json()).unwrap();
    assert_eq!(json["details"][0]["retryDelay"], "7.000000005s");
    assert_eq!(json["details"][1]["fieldViolations"][0]["description"], "cut short");
    status.retry_after = None;
    assert_eq!(read_retry_info(&status.to_protobuf()), Ok(None));
    let json: serde_json::Value = serde_json::from_str(&status.to_json()).unwrap();
    assert_eq!(json["details"][0]["fieldViolations"][0]["field"], "body");
    status.violation = None;
    status.retry_after = Some(Duration::from_millis(1500));
    assert_eq!(
        status.to_json(),
        r#"{"code":3,"message":"bad","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"1.500s"}]}"#
    );
    status.retry_after = None;
    assert_eq!(status.to_json(), r#"{"code":3,"message":"bad"}"#);
    assert!(read_retry_info(b"\xff").is_err());
}

/// The table is complete, and only the codes that OTLP lists are retried.
#[test]
fn retryable() {
    for (number, (code, name, _)) in CODES.iter().enumerate() {
        assert_eq!(*code as usize, number);
        assert_eq!(GrpcCode::from_number(number as i32), *code);
        assert_eq!(code.name(), *name);
        assert_eq!(tonic::Code::from_i32(number as i32) as usize, number);
    }
    let yes: Vec<u8> = CODES.iter().filter(|entry| entry.2 == RetryRule::Yes).map(|entry| entry.0 as u8).collect();
    assert_eq!(yes, [1, 4, 10, 11, 14, 15]);
    assert_eq!(GrpcCode::ResourceExhausted.retry(), RetryRule::WithRetryInfo);
    assert_eq!(GrpcCode::from_number(99), GrpcCode::Unknown);
    let again: Vec<u16> = (100..600).filter(|status| http_retry_rule(*status) == RetryRule::Yes).collect();
    assert_eq!(again, [429, 502, 503, 504]);
}
