use super::*;

const SHOP: Service<'static> = Service { name: "shop", instance: "1" };
const OTHER: Service<'static> = Service { name: "shop", instance: "2" };

/// Must not regress: a service is an agent's for a day, in its account, also if the clock jumps back.
#[test]
fn a_day_long() {
    let services = Services::new(Declared::Learnt, 8);
    let now = UnixNanos(HELD * 10);
    let body = services.effect("a", &[SHOP], now).expect("news");
    services.apply(&body);
    assert!(services.effect("a", &[SHOP], now).is_none(), "told twice");
    assert!(services.holds("a", Some(&SHOP), now) && !services.holds("b", Some(&SHOP), now));
    assert!(!services.holds("a", Some(&OTHER), now) && !services.holds("a", None, now));
    assert!(services.holds("a", Some(&SHOP), UnixNanos(now.0 + HELD - 1)));
    assert!(services.holds("a", Some(&SHOP), UnixNanos(0)), "clock jumped back");
    assert!(!services.holds("a", Some(&SHOP), UnixNanos(now.0 + HELD)));
    assert!(services.effect("a", &[SHOP], UnixNanos(now.0 + AGAIN)).is_some(), "not told again");
    let restored = Services::new(Declared::Learnt, 8);
    restored.apply(&services.save());
    assert!(restored.holds("a", Some(&SHOP), now));
}

/// Must not regress: the memory is bounded, and the most recently seen services stay.
#[test]
fn bounded() {
    let services = Services::new(Declared::Learnt, 100);
    for number in 0..1000_u64 {
        let name = number.to_string();
        let service = Service { name: &name, instance: "" };
        let body = services.effect("a", &[service], UnixNanos(number + 1)).expect("news");
        services.apply(&body);
        assert!(services.len() <= 100 && services.holds("a", Some(&service), UnixNanos(number + 1)));
    }
}

/// Must not regress: declared services count from the start.
#[test]
fn declared() {
    let named = Services::new(Declared::Named(HashSet::from(["shop".to_owned()])), 8);
    let away = Service { name: "away", instance: "" };
    assert!(named.holds("a", Some(&SHOP), UnixNanos(0)) && !named.holds("a", Some(&away), UnixNanos(0)));
    let all = Services::new(Declared::All, 8);
    assert!(all.holds("a", None, UnixNanos(0)));
}
