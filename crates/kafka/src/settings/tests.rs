use super::*;

fn problems_of(brokers: &[&str], tls: Option<&KafkaTlsConfig>, auth: &AuthConfig) -> (Vec<String>, Vec<String>) {
    let brokers: Vec<String> = brokers.iter().map(|&broker| broker.to_owned()).collect();
    let (mut problems, mut notes) = (Vec::new(), Vec::new());
    broker_settings((&brokers, "tollgate"), tls, auth, &mut problems, &mut notes);
    let paths = |found: Vec<FieldProblem>| found.into_iter().map(|problem| problem.path).collect();
    (paths(problems), paths(notes))
}

fn sasl(mechanism: SaslMechanism) -> AuthConfig {
    let (username, password) = (Some("edge".to_owned()), Some(Secret::new("pw".to_owned())));
    AuthConfig { sasl: Some(SaslConfig { mechanism, username, password, token: None }) }
}

/// A password or token is never sent in clear to another machine.
#[test]
fn secrets_need_tls() {
    let tls = KafkaTlsConfig::default();
    let remote = ["kafka-0.example.com:9093"];
    assert_eq!(problems_of(&remote, None, &sasl(SaslMechanism::Plain)).0, ["auth.sasl"]);
    assert_eq!(problems_of(&remote, Some(&tls), &sasl(SaslMechanism::Plain)), (vec![], vec![]));
    // A proof tells no password, so plain text is only worth a note; on this machine it is not even that.
    assert_eq!(problems_of(&remote, None, &sasl(SaslMechanism::ScramSha512)), (vec![], vec!["tls".to_owned()]));
    assert_eq!(problems_of(&["127.0.0.1:9092"], None, &sasl(SaslMechanism::Plain)), (vec![], vec![]));
}

/// Each wrong key is named.
#[test]
fn wrong_connections_are_refused() {
    for brokers in [&[][..], &["kafka"], &["kafka:0"], &[":9092"], &["http://kafka:9092"], &["a:1,b:2"]] {
        assert_eq!(problems_of(brokers, None, &AuthConfig::default()).0, ["brokers"], "{brokers:?}");
    }
    let half = KafkaTlsConfig { cert_file: Some("client.pem".into()), ..KafkaTlsConfig::default() };
    assert_eq!(problems_of(&["localhost:9092"], Some(&half), &AuthConfig::default()).0, ["tls"]);
    // A token is for one mechanism, a password for the others.
    assert_eq!(problems_of(&["localhost:9092"], None, &sasl(SaslMechanism::OauthBearer)).0, ["auth.sasl"]);
    let mut without = sasl(SaslMechanism::Plain);
    if let Some(sasl) = &mut without.sasl {
        sasl.password = None;
    }
    assert_eq!(problems_of(&["localhost:9092"], None, &without).0, ["auth.sasl"]);
}
