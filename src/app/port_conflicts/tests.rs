use super::*;

/// Endpoints that conflict on every machine are reported; endpoints that may not conflict (a name with another address,
/// ports chosen by the system) are not.
#[test]
fn what_can_not_be_had_at_once_clashes() {
    for (one, other, wanted) in [
        ("127.0.0.1:4317", "127.0.0.1:4317", true),
        ("localhost:4317", "127.0.0.1:4317", true),
        ("0.0.0.0:4317", "127.0.0.1:4317", true),
        (":4317", "10.0.0.1:4317", true),
        ("[::]:4317", "127.0.0.1:4317", true),
        ("[::]:4317", "[::1]:4317", true),
        ("[::]:4317", "pod:4317", true),
        ("pod:4317", "POD:4317", true),
        ("unix:/run/a", "unix:///run/a", true),
        ("0.0.0.0:4317", "[::1]:4317", false),
        ("127.0.0.1:4317", "127.0.0.2:4317", false),
        ("127.0.0.1:4317", "pod:4317", false),
        ("0.0.0.0:4317", "pod:4317", false),
        ("127.0.0.1:4317", "127.0.0.1:4318", false),
        ("127.0.0.1:0", "127.0.0.1:0", false),
        ("unix:/run/a", "unix:/run/b", false),
        ("unix:/run/a", "127.0.0.1:4317", false),
    ] {
        let [one, other] = [one, other].map(|text| Endpoint::parse(text).unwrap());
        assert_eq!((is_conflict(&one, &other), is_conflict(&other, &one)), (wanted, wanted), "{one} {other}");
    }
}
