use super::*;

/// Every form that `find --sessions` prints is understood, and a plain id is unchanged.
#[test]
fn lines_of_find_are_sessions() {
    let told = |session: &str, account: Option<&str>| {
        let (session, account) = parse_session_argument(session, account);
        format!("{session} {}", account.unwrap_or_default())
    };
    assert_eq!(told("s-1", None), "s-1 ");
    assert_eq!(told("s-1", Some("team")), "s-1 team");
    assert_eq!(told("s-1\tdefault", None), "s-1 default");
    assert_eq!(told("s 1\tdefault\tUNSIGNED\n", None), "s 1 default");
    assert_eq!(told("s-1\tdefault", Some("team")), "s-1 team");
    assert_eq!(told("s-1\t", None), "s-1 ");
}
