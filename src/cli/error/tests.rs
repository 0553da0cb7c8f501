use super::*;

/// The exit code follows from the kind of error, whatever its text says, since scripts and service managers rely on it.
#[test]
fn the_kind_gives_the_exit_code() {
    let text = || "configuration, usage: 78".to_owned();
    for (error, exit) in [
        (CommandError::Failed(text()), Exit::Failed),
        (CommandError::Usage(text()), Exit::Usage),
        (CommandError::Config(text()), Exit::Config),
        (CommandError::Problems(text()), Exit::Config),
        (ReadError::Invalid(text()).into(), Exit::Failed),
        (ReadError::NotFound(text()).into(), Exit::Failed),
        (KeygenError::Name.into(), Exit::Failed),
        (RatesError(text()).into(), Exit::Failed),
    ] {
        assert_eq!(error.exit(), exit, "{error}");
    }
}
