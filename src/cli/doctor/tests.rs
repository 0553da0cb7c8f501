//! Which accounts the rules by account cover.

use super::*;
use crate::cli::ConfigSource;

fn vaults_of(folder: &std::path::Path) -> KnownAccounts {
    let config = format!(
        "
receivers:
  otlp:
    protocols: {{ http: {{ endpoint: '127.0.0.1:4318' }} }}
    auth: {{ tokens: {{ acme: [acme-token-0123456789] }}, tokens_file: '{0}/tokens' }}
processors:
  vault:
    recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]
    store:
      s3:
        bucket: audit-logs
        key_bucket: audit-keys
        region: eu-west-1
        object_lock: {{ mode: compliance, retention: 400d }}
exporters: {{ debug: {{ trust: internal }} }}
spool: {{ directory: '{0}/spool' }}
service: {{ pipelines: {{ logs: {{ receivers: [otlp], processors: [vault], exporters: [debug] }} }} }}
",
        folder.display()
    );
    let file = folder.join("tollgate.yaml");
    std::fs::write(&file, config).expect("written");
    let common = CommonArgs { config: Some(ConfigSource::File(file)), ..CommonArgs::default() };
    KnownAccounts::from_settings(&load_vaults(&common, None).unwrap_or_else(|_| panic!("a configuration")))
}

/// Accounts of a tokens file have rules like those of the configuration; an unreadable tokens file is reported.
#[test]
fn accounts_of_a_tokens_file_are_covered() {
    let folder = tempfile::tempdir().expect("scratch");
    let missing = vaults_of(folder.path());
    assert_eq!(missing.names.iter().collect::<Vec<_>>(), ["acme"]);
    let [told] = &missing.uncovered_warnings()[..] else { panic!("{:?}", missing.uncovered_warnings()) };
    assert!(told.contains("can't read") && told.contains(": accounts named only in this file get no lifecycle rule, so their payload is never archived and never expires"), "{told}");
    std::fs::write(folder.path().join("tokens"), "# ours\nnewacc 0123456789abcdef-new\n").expect("written");
    let known = vaults_of(folder.path());
    assert_eq!(known.names.iter().collect::<Vec<_>>(), ["acme", "newacc"]);
    assert!(known.uncovered_warnings().is_empty() && known.tokens_files.len() == 1);
}
