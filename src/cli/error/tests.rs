use super::*;

/// The exit code follows from the kind of error, whatever its text says, since scripts and service managers rely on it.
#[test]
fn the_kind_gives_the_exit_code() {
    let text = || "configuration, usage: 78".to_owned();
    for (error, exit) in [
        (CommandError::Failed(text()), ExitStatus::Failed),
        (CommandError::Usage(text()), ExitStatus::Usage),
        (CommandError::Config(text()), ExitStatus::Config),
        (CommandError::Problems(text()), ExitStatus::Config),
        (ReadError::Invalid(text()).into(), ExitStatus::Failed),
        (ReadError::NotFound(text()).into(), ExitStatus::Failed),
        (KeygenError::InvalidName.into(), ExitStatus::Failed),
        (RatesError(text()).into(), ExitStatus::Failed),
    ] {
        assert_eq!(error.exit_status(), exit, "{error}");
    }
}
