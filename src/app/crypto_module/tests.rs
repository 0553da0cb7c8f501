use super::*;

/// The versions that `version --verbose` prints are those that are built.
#[test]
fn versions_are_those_of_the_lock_file() {
    let lock = include_str!("../../../Cargo.lock");
    for crate_version in [AWS_LC, AWS_LC_FIPS] {
        let (name, version) = crate_version.split_once(' ').unwrap();
        assert!(lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n")), "{crate_version}");
    }
}

/// A build with `fips` runs the module in FIPS mode, for TLS too; one without never says so.
#[test]
fn the_mode_is_what_was_built() {
    assert_eq!(running_module().is_fips, cfg!(feature = "fips"));
    assert_eq!(rustls::crypto::aws_lc_rs::default_provider().fips(), cfg!(feature = "fips"));
    assert_eq!(check_fips_mode(), Ok(()));
}
