//! What to do about a site that is to have a role: pure, from what was seen.

use failover_core::api::Site;
use failover_core::guard::{self, GuardId, Hold, Overrides};
use failover_core::transition::is_paused;
use failover_core::{Epoch, Role};
use jiff::Timestamp;

use super::words;
use crate::commands::look::View;
use crate::failure::Failure;

/// Where to go from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// Nothing to do.
    Settled,
    /// Ordered already, and still being carried out.
    Join {
        id: String,
    },
    Order(Ordered),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ordered {
    pub(super) epoch: Epoch,
}

/// Parses overrides and refuses those that can have no effect on this command: a misunderstanding that is better cleared
/// up now.
pub(super) fn check_overrides(role: Role, texts: &[String]) -> Result<Overrides, Failure> {
    let overrides =
        Overrides::parse(texts).map_err(|error| Failure::usage(format!("--override: {error}")))?;
    match guard::out_of_place(role, &overrides) {
        Some(unneeded) => Err(Failure::usage(format!("--override {unneeded}"))
            .next("nothing was changed; leave it out")),
        None => Ok(overrides),
    }
}

/// Decides. An error is a refusal: nothing has been changed.
pub(super) fn course(view: &View, role: Role, overrides: &Overrides) -> Result<Course, Failure> {
    course_at(view, role, overrides, Timestamp::now())
}

fn course_at(
    view: &View,
    role: Role,
    overrides: &Overrides,
    now: Timestamp,
) -> Result<Course, Failure> {
    let (spec, noun) = (&view.site.spec, words(role).noun);
    let running = is_moving(&view.site);
    if spec.role == role && !running {
        return Ok(Course::Settled);
    }
    if is_paused(&view.site, now) {
        let pause = spec.paused.clone().unwrap_or_default();
        return Err(Failure::refused(format!(
            "{noun} of site {} is refused, and nothing was changed: the site is paused{}{}, so nothing would move",
            spec.site_name,
            said(" by ", &pause.by),
            said(": ", &pause.reason),
        ))
        .next("take spec.paused off the Site first: kubectl patch site cluster --type=merge -p '{\"spec\":{\"paused\":null}}'"));
    }
    let mut standing = guard::standing(view.role_in_effect(), role, &view.facts);
    if spec.role == role {
        // The order stands. Written anew it can only bring overrides that it lacks.
        let request = spec.request.clone().unwrap_or_default();
        let known = Overrides::parse_known(&request.overrides);
        let brings = overrides.iter().any(|(guard, object)| match object {
            Some(object) => !known.allows_object(guard, object),
            None => !known.allows(guard),
        });
        if !brings {
            let id = if request.id.is_empty() {
                format!("birth-{}", spec.site_name)
            } else {
                request.id
            };
            return Ok(Course::Join { id });
        }
    } else if running {
        standing.push(other_way(&view.site));
    }
    check_needed(role, &standing, overrides)?;
    let holds: Vec<Hold> = standing
        .into_iter()
        .filter(|hold| !overrides.allows(hold.guard))
        .collect();
    if !holds.is_empty() {
        return Err(Failure::held(
            format!("{noun} of site {}", spec.site_name),
            holds,
        ));
    }
    Ok(Course::Order(Ordered {
        epoch: epoch(&view.site, role),
    }))
}

/// Whether the controller has not yet carried out what is ordered.
fn is_moving(site: &Site) -> bool {
    let status = site.status.as_ref();
    status.is_none_or(|status| {
        status.transition.is_some() || status.layers.uniform() != Some(site.spec.role)
    })
}

/// An order to go the other way is still being carried out. To turn round is possible, but only on purpose.
fn other_way(site: &Site) -> Hold {
    let request = site.spec.request.clone().unwrap_or_default();
    Hold {
        guard: GuardId::TransitionRunning,
        object: None,
        message: format!(
            "the {} ordered{}{} is not finished",
            words(site.spec.role).noun,
            said(" by ", &request.requested_by),
            said(": ", &request.reason),
        ),
        hint: "wait for it (kubectl failover status), or turn it round with --override transition-running --reason TEXT"
            .to_owned(),
    }
}

/// An override of a guard that does not hold is a sign that the site is not what its operator believes.
fn check_needed(role: Role, standing: &[Hold], overrides: &Overrides) -> Result<(), Failure> {
    match guard::unneeded(role, standing, overrides) {
        Some(unneeded) => Err(Failure::usage(format!("--override {unneeded}"))
            .next("nothing was changed; leave it out, or see kubectl failover status first")),
        None => Ok(()),
    }
}

/// A claim to be primary takes an epoch above every one that is known; standing back takes none.
fn epoch(site: &Site, role: Role) -> Epoch {
    let spec = &site.spec;
    if role == Role::Secondary || spec.role == Role::Primary {
        return spec.epoch;
    }
    let peer = site.status.as_ref().and_then(|status| status.peer.as_ref());
    peer.map_or(spec.epoch, |peer| {
        spec.epoch.max(peer.epoch).max(peer.highest_epoch_seen)
    })
    .next()
}

fn said(before: &str, text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!("{before}{text}")
    }
}

#[cfg(test)]
mod tests {
    use failover_core::guard::Facts;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::exit::ExitCode;

    const SOUND: Facts = Facts {
        peer_configured: true,
        webhook_configured: true,
        policy_configured: false,
    };

    fn view(spec: &Value, status: &Value, facts: Facts) -> View {
        let site = json!({
            "apiVersion": "failover.dev/v1alpha1", "kind": "Site",
            "metadata": {"name": "cluster", "resourceVersion": "9"}, "spec": spec, "status": status
        });
        View {
            site: serde_json::from_value(site).unwrap(),
            enrolled: vec![],
            facts,
        }
    }

    fn layers(role: &str) -> Value {
        json!({"volumes": role, "workloads": role, "gitops": role, "traffic": role})
    }

    fn settled(role: &str, facts: Facts) -> View {
        view(
            &json!({"siteName": "east", "role": role, "epoch": 4, "request": {"id": "r0", "requestedBy": "bob"}}),
            &json!({"phase": "Stable", "layers": layers(role)}),
            facts,
        )
    }

    fn moving(to: &str, from: &str) -> View {
        view(
            &json!({"siteName": "east", "role": to, "epoch": 4, "request": {
                "id": "r0", "requestedBy": "bob", "reason": "drill", "overrides": ["peer-unknown"]}}),
            &json!({"phase": "Promoting", "layers": layers(from)}),
            SOUND,
        )
    }

    fn decide(view: &View, role: Role, overrides: &[&str]) -> Result<Course, Failure> {
        let texts: Vec<String> = overrides.iter().map(ToString::to_string).collect();
        course_at(
            view,
            role,
            &Overrides::parse(&texts).unwrap(),
            Timestamp::UNIX_EPOCH,
        )
    }

    fn ordered(epoch: i64) -> Course {
        Course::Order(Ordered {
            epoch: Epoch(epoch),
        })
    }

    #[test]
    fn a_site_in_that_role_is_left_alone_whatever_is_overridden() {
        let view = settled("primary", SOUND);
        assert_eq!(decide(&view, Role::Primary, &[]).unwrap(), Course::Settled);
        assert_eq!(
            decide(&view, Role::Primary, &["no-enforcement"]).unwrap(),
            Course::Settled
        );
    }

    #[test]
    fn a_promotion_raises_the_epoch_and_a_demotion_does_not() {
        assert_eq!(
            decide(&settled("secondary", SOUND), Role::Primary, &[]).unwrap(),
            ordered(5)
        );
        assert_eq!(
            decide(&settled("primary", SOUND), Role::Secondary, &[]).unwrap(),
            ordered(4)
        );
    }

    #[test]
    fn a_promotion_claims_more_than_the_peer_was_ever_seen_to_claim() {
        let mut view = settled("secondary", SOUND);
        view.site.status.as_mut().unwrap().peer =
            serde_json::from_value(json!({"epoch": 6, "highestEpochSeen": 8})).unwrap();
        assert_eq!(decide(&view, Role::Primary, &[]).unwrap(), ordered(9));
    }

    #[test]
    fn without_a_peer_a_promotion_is_held_until_it_is_overridden_by_name() {
        let alone = Facts {
            peer_configured: false,
            ..SOUND
        };
        let view = settled("secondary", alone);
        let failure = decide(&view, Role::Primary, &[]).unwrap_err();
        assert_eq!(failure.exit, ExitCode::Refused);
        assert_eq!(failure.holds[0].guard, GuardId::PeerUnknown);
        assert_eq!(
            decide(&view, Role::Primary, &["peer-unknown"]).unwrap(),
            ordered(5)
        );
    }

    #[test]
    fn an_order_that_stands_is_joined_unless_an_override_is_brought_that_it_lacks() {
        let view = moving("primary", "secondary");
        let join = Course::Join { id: "r0".into() };
        assert_eq!(decide(&view, Role::Primary, &[]).unwrap(), join);
        assert_eq!(
            decide(&view, Role::Primary, &["peer-unknown"]).unwrap(),
            join
        );
        assert_eq!(
            decide(&view, Role::Primary, &["enforcer-silent"]).unwrap(),
            ordered(4)
        );
    }

    #[test]
    fn a_new_site_that_is_being_taken_over_is_joined_by_the_id_of_its_birth() {
        let mut view = moving("primary", "secondary");
        view.site.spec.request = None;
        view.site.status = None;
        let join = Course::Join {
            id: "birth-east".into(),
        };
        assert_eq!(decide(&view, Role::Primary, &[]).unwrap(), join);
    }

    #[test]
    fn turning_a_running_transition_round_takes_an_override() {
        let view = moving("primary", "secondary");
        let failure = decide(&view, Role::Secondary, &[]).unwrap_err();
        assert_eq!(failure.exit, ExitCode::Refused);
        assert_eq!(
            failure.holds[0].message,
            "the promotion ordered by bob: drill is not finished"
        );
        assert_eq!(
            decide(&view, Role::Secondary, &["transition-running"]).unwrap(),
            ordered(4)
        );
    }

    #[test]
    fn a_paused_site_is_not_ordered_about() {
        let mut view = settled("primary", SOUND);
        view.site.spec.paused =
            serde_json::from_value(json!({"by": "bob", "reason": "upgrade"})).unwrap();
        let failure = decide(&view, Role::Secondary, &[]).unwrap_err();
        assert_eq!(failure.exit, ExitCode::Refused);
        assert!(
            failure.message.contains("paused by bob: upgrade"),
            "{failure}"
        );
    }

    #[rstest]
    #[case::not_standing(
        "no-enforcement",
        "--override no-enforcement: this guard does not hold now"
    )]
    #[case::peer_known(
        "peer-unknown",
        "--override peer-unknown: this guard does not hold now"
    )]
    fn an_override_that_is_not_needed_is_refused(#[case] given: &str, #[case] message: &str) {
        let failure = decide(&settled("secondary", SOUND), Role::Primary, &[given]).unwrap_err();
        assert_eq!(failure.exit, ExitCode::Usage);
        assert!(failure.message.contains(message), "{failure}");
    }

    #[rstest]
    #[case::unknown(
        Role::Primary,
        "peer-unknwon",
        "is not a guard: the guards are peer-unknown"
    )]
    #[case::of_another_command(Role::Primary, "records-left", "never holds a change to primary")]
    #[case::of_the_other_direction(
        Role::Secondary,
        "peer-unknown",
        "never holds a change to secondary"
    )]
    #[case::not_about_objects(Role::Primary, "peer-unknown=a/b/c", "is not about single objects")]
    fn an_override_that_can_have_no_effect_is_refused(
        #[case] role: Role,
        #[case] given: &str,
        #[case] message: &str,
    ) {
        let failure = check_overrides(role, &[given.to_owned()]).unwrap_err();
        assert_eq!(failure.exit, ExitCode::Usage);
        assert!(failure.message.contains(message), "{failure}");
    }
}
