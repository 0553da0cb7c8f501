use super::*;

/// Only ports on loopback without `auth` are guarded: in containers, clients use the name of a service.
#[test]
fn only_open_loopback_is_guarded() {
    for (address, guarded) in [
        ("127.0.0.1:4318", true),
        ("127.0.0.6:4318", true),
        ("[::1]:4318", true),
        ("[::ffff:127.0.0.1]:4318", true),
        ("0.0.0.0:4318", false),
        ("[::]:4318", false),
        ("10.0.0.7:4318", false),
    ] {
        let address = Some(address.parse().expect("an address"));
        assert_eq!(needs_guard(false, address), guarded, "{address:?}");
        assert!(!needs_guard(true, address), "{address:?}");
    }
    assert!(!needs_guard(false, None), "a unix socket");
}
