//! What the help says of exit codes: a macro, because only such text can be joined to a constant.

/// What an exit code means, for every command and every output format.
macro_rules! exit_codes {
    () => {
        "\
Exit codes:
    0  done, or there was nothing to do
    1  error; the message says whether anything was changed
    2  the command line is wrong, or nobody could be asked
    3  refused by a guard, nothing was changed
    4  not done in time: the request stays in force and continues, or is blocked; the message says by what
    5  partial: some objects do not match the role and will not by themselves
    6  the two sites contradict each other
  130  interrupted; what was requested is still carried out"
    };
}

#[cfg(test)]
pub const EXIT_CODES: &str = exit_codes!();

pub(super) use exit_codes;
