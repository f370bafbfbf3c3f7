//! The guards of leaving enforcement, shared by `unenroll` and `uninstall`.

use failover_core::Role;
use failover_core::guards::{GuardId, Hold, Overrides};
use failover_core::object::ObjectRef;

use crate::error::Failure;

/// How many objects a message names.
const NAMED: usize = 5;

/// Parses overrides; only the guards of leaving make sense here.
pub fn overrides(texts: &[String]) -> Result<Overrides, Failure> {
    let overrides =
        Overrides::parse(texts).map_err(|error| Failure::usage(format!("--override: {error}")))?;
    for (guard, object) in overrides.iter() {
        if !matches!(guard, GuardId::SiteSecondary | GuardId::RecordsLeft) || object.is_some() {
            return Err(Failure::usage(format!(
                "--override {guard}: only site-secondary and records-left can be overridden here, without an object"
            )));
        }
    }
    Ok(overrides)
}

/// What holds, overrides taken into account. One that is not needed is refused: somebody is mistaken about the site.
pub fn check(
    what: &str,
    role: Option<Role>,
    records: &[ObjectRef],
    overrides: &Overrides,
) -> Result<(), Failure> {
    let standing = standing(role, records);
    for (guard, _) in overrides.iter() {
        if !standing.iter().any(|hold| hold.guard == guard) {
            return Err(Failure::usage(format!(
                "--override {guard} is not needed: the guard does not hold"
            ))
            .next("nothing was changed; leave it out, or see kubectl failover status first"));
        }
    }
    let holds: Vec<_> = standing
        .into_iter()
        .filter(|hold| !overrides.allows(hold.guard))
        .collect();
    if holds.is_empty() {
        Ok(())
    } else {
        Err(Failure::held(what, holds))
    }
}

fn standing(role: Option<Role>, records: &[ObjectRef]) -> Vec<Hold> {
    let mut holds = Vec::new();
    if role == Some(Role::Secondary) {
        holds.push(Hold {
            guard: GuardId::SiteSecondary,
            object: None,
            message: "the site is secondary: once enforcement ends, the next reconcile of Flux starts what Git describes, while the other site may be live"
                .to_owned(),
            hint: "promote the site first, or pass --override site-secondary --reason TEXT".to_owned(),
        });
    }
    if !records.is_empty() {
        let named: Vec<_> = records
            .iter()
            .take(NAMED)
            .map(ToString::to_string)
            .collect();
        let more = records.len().saturating_sub(NAMED);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        holds.push(Hold {
            guard: GuardId::RecordsLeft,
            object: None,
            message: format!(
                "{} objects carry a restore record that nothing would apply any more: {}{more}",
                records.len(),
                named.join(", ")
            ),
            hint: "promote the site first, which restores them, or pass --override records-left --reason TEXT; the records stay on the objects"
                .to_owned(),
        });
    }
    holds
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::exit_code::ExitCode;

    fn records(count: usize) -> Vec<ObjectRef> {
        (0..count)
            .map(|i| ObjectRef {
                namespace: "shop".into(),
                group: "apps".into(),
                resource: "deployments".into(),
                name: format!("web-{i}"),
            })
            .collect()
    }

    #[rstest]
    #[case::clean_primary(Some(Role::Primary), 0, &[], None)]
    #[case::never_taken_over(None, 0, &[], None)]
    #[case::secondary(Some(Role::Secondary), 0, &[], Some(ExitCode::Refused))]
    #[case::secondary_by_name(Some(Role::Secondary), 0, &["site-secondary"], None)]
    #[case::records(Some(Role::Primary), 2, &[], Some(ExitCode::Refused))]
    #[case::one_is_not_both(Some(Role::Secondary), 2, &["site-secondary"], Some(ExitCode::Refused))]
    #[case::both(Some(Role::Secondary), 2, &["site-secondary", "records-left"], None)]
    #[case::not_needed(Some(Role::Primary), 0, &["site-secondary"], Some(ExitCode::Usage))]
    fn leaving_is_held(
        #[case] role: Option<Role>,
        #[case] count: usize,
        #[case] given: &[&str],
        #[case] exit: Option<ExitCode>,
    ) {
        let overrides = Overrides::parse(given).unwrap();
        let failure = check("uninstall", role, &records(count), &overrides).err();
        assert_eq!(failure.map(|failure| failure.exit), exit);
    }

    #[test]
    fn records_are_named_and_the_rest_is_counted() {
        let holds = standing(Some(Role::Primary), &records(7));
        assert!(
            holds[0]
                .message
                .ends_with("shop/deployments/web-4 and 2 more"),
            "{}",
            holds[0].message
        );
    }

    #[test]
    fn guards_of_a_change_of_role_are_no_guards_of_leaving() {
        let failure = overrides(&["peer-unknown".to_owned()]).unwrap_err();
        assert_eq!(failure.exit, ExitCode::Usage);
    }
}
