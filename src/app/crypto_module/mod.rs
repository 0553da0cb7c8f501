//! Which library encrypts, hashes and signs. The feature `fips` builds against the validated module of AWS-LC; a binary
//! built so does not start without it. `tollgate version --verbose` prints what this file says.

/// Versions of the crates that contain the two builds of AWS-LC; a test compares them with `Cargo.lock`.
const AWS_LC: &str = "aws-lc-sys 0.47.0";
const AWS_LC_FIPS: &str = "aws-lc-fips-sys 0.14.4";

/// The cryptographic module of this binary.
pub(crate) struct CryptoModule {
    pub(crate) name: String,
    /// Whether it runs in its FIPS mode.
    pub(crate) is_fips: bool,
}

pub(crate) fn running_module() -> CryptoModule {
    let is_fips = aws_lc_rs::try_fips_mode().is_ok();
    let name =
        if cfg!(feature = "fips") { format!("AWS-LC FIPS ({AWS_LC_FIPS})") } else { format!("AWS-LC ({AWS_LC})") };
    CryptoModule { name, is_fips }
}

/// Checks that a build with the feature `fips` runs what it promises, TLS included.
///
/// # Errors
/// The module is not in FIPS mode.
pub(crate) fn check_fips_mode() -> Result<(), &'static str> {
    let is_promised = cfg!(feature = "fips");
    let is_kept = || running_module().is_fips && rustls::crypto::aws_lc_rs::default_provider().fips();
    match is_promised && !is_kept() {
        true => Err("this is a build with the feature `fips`, but its cryptographic module is not in FIPS mode"),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
