use super::*;

const SHOP: ServiceIdentity<'static> = ServiceIdentity { name: "shop", instance: "1" };
const OTHER: ServiceIdentity<'static> = ServiceIdentity { name: "shop", instance: "2" };

/// Must not regress: a service is an agent's for a day, in its account, also if the clock jumps back.
#[test]
fn a_day_long() {
    let services = KnownServices::new(DeclaredServices::Learned, 8);
    let now = UnixNanos(AGENT_SERVICE_TTL * 10);
    let body = services.effect("a", &[SHOP], now).expect("news");
    services.apply(&body);
    assert!(services.effect("a", &[SHOP], now).is_none(), "told twice");
    assert!(services.is_agent_service("a", Some(&SHOP), now) && !services.is_agent_service("b", Some(&SHOP), now));
    assert!(!services.is_agent_service("a", Some(&OTHER), now) && !services.is_agent_service("a", None, now));
    assert!(services.is_agent_service("a", Some(&SHOP), UnixNanos(now.0 + AGENT_SERVICE_TTL - 1)));
    assert!(services.is_agent_service("a", Some(&SHOP), UnixNanos(0)), "clock jumped back");
    assert!(!services.is_agent_service("a", Some(&SHOP), UnixNanos(now.0 + AGENT_SERVICE_TTL)));
    assert!(services.effect("a", &[SHOP], UnixNanos(now.0 + UPDATE_INTERVAL)).is_some(), "not told again");
    let restored = KnownServices::new(DeclaredServices::Learned, 8);
    restored.apply(&services.save());
    assert!(restored.is_agent_service("a", Some(&SHOP), now));
}

/// Must not regress: an account that floods, also before a restart, forgets no service of another one; a state that was
/// saved without accounts is read.
#[test]
fn a_flood_forgets_no_other_account() {
    let (services, now) = (KnownServices::new(DeclaredServices::Learned, 8), UnixNanos(AGENT_SERVICE_TTL));
    let tell = |services: &KnownServices, account: &str, name: &str| {
        services.apply(&services.effect(account, &[ServiceIdentity { name, instance: "" }], now).expect("news"));
    };
    services.apply(&[&[NO_ACCOUNTS_VERSION][..], &digest("a", &SHOP)[..], &now.0.to_le_bytes()].concat());
    assert!(services.is_agent_service("a", Some(&SHOP), now));
    tell(&services, "a", "small");
    (0..100).for_each(|n| tell(&services, "b", &n.to_string()));
    let restored = KnownServices::new(DeclaredServices::Learned, 8);
    restored.apply(&services.save());
    (100..200).for_each(|n| tell(&restored, "b", &n.to_string()));
    assert!(restored.is_agent_service("a", Some(&ServiceIdentity { name: "small", instance: "" }), now));
}

/// Must not regress: declared services count from the start.
#[test]
fn declared() {
    let named = KnownServices::new(DeclaredServices::Named(HashSet::from(["shop".to_owned()])), 8);
    let away = ServiceIdentity { name: "away", instance: "" };
    assert!(
        named.is_agent_service("a", Some(&SHOP), UnixNanos(0))
            && !named.is_agent_service("a", Some(&away), UnixNanos(0))
    );
    let all = KnownServices::new(DeclaredServices::All, 8);
    assert!(all.is_agent_service("a", None, UnixNanos(0)));
}
