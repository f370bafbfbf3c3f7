//! The names of guards, as values of `--override`.

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::error::Error;
use clap::{Arg, Command};
use failover_core::Role;
use failover_core::guards::GuardId;

/// Takes any text, and offers the guards that a change to this role asks: `ID=OBJECT` is no value that could be listed, and
/// a misunderstanding is explained better where it is known what is changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct GuardNames(pub(super) Role);

impl TypedValueParser for GuardNames {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<String, Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let asked = GuardId::ALL
            .into_iter()
            .filter(|guard| guard.asked(self.0).is_some());
        Some(Box::new(asked.map(|guard| {
            PossibleValue::new(guard.as_str()).help(guard.meaning())
        })))
    }
}
