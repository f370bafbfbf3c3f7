//! `docs/transitions.md`, which an operator reads in an incident, matches the code.

use std::path::Path;

use super::*;
use crate::api::{Mode, Transition};
use crate::guards::Applicability;
use crate::transition::steps;

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/transitions.md");
    std::fs::read_to_string(path).unwrap()
}

/// The steps of a transition as the page writes them.
fn step_line(to: Role) -> String {
    let transition = Transition {
        id: "r1".into(),
        from: Some(to.opposite()),
        to,
        epoch: crate::Epoch(1),
        mode: Mode::Safe,
        requested_by: String::new(),
        reason: String::new(),
        overrides: vec![],
        run_missed: false,
        run_held_jobs: true,
        held_jobs_to_run: vec![],
        namespaces: vec![],
        layers: Roles::default(),
        started_at: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH),
        planned: true,
        steps: vec![],
    };
    let steps = steps::steps(&transition);
    let names: Vec<_> = steps.iter().map(|step| step.name.as_str()).collect();
    format!("to {:<11} {}", to.as_str(), names.join(" ► "))
}

#[test]
fn the_page_has_the_steps_in_their_order() {
    let page = page();
    for to in [Role::Primary, Role::Secondary] {
        let step_line = step_line(to);
        assert!(
            page.contains(&step_line),
            "docs/transitions.md lacks: {step_line}"
        );
    }
}

#[test]
fn the_page_explains_every_step() {
    let page = page();
    let all = [
        StepName::Guards,
        StepName::Traffic,
        StepName::Gitops,
        StepName::Workloads,
        StepName::PodsGone,
        StepName::Volumes,
        StepName::Replication,
        StepName::CronJobs,
        StepName::Jobs,
        StepName::Available,
        StepName::Layers,
    ];
    for step in all {
        let row = format!("| `{}` |", step.as_str());
        assert!(
            page.contains(&row),
            "docs/transitions.md has no row of step {}",
            step.as_str()
        );
        // A new step must be listed above, too.
        match step {
            StepName::Guards | StepName::Traffic | StepName::Gitops | StepName::Workloads => {}
            StepName::PodsGone | StepName::Volumes | StepName::Replication => {}
            StepName::CronJobs | StepName::Jobs | StepName::Available | StepName::Layers => {}
            StepName::Unknown(_) => unreachable!("not one of ours"),
        }
    }
}

#[test]
fn the_page_explains_every_guard_and_how_it_is_overridden() {
    let page = page();
    for guard in GuardId::ALL {
        let asked: Vec<_> = [Role::Primary, Role::Secondary]
            .into_iter()
            .filter_map(|to| guard.asked(to))
            .collect();
        let Some(when) = asked.first() else {
            assert!(
                page.contains(&format!("| `{guard}` |")),
                "no row of {guard}"
            );
            continue;
        };
        let heading = format!("#### `{guard}`");
        let (before, section) = page.split_once(&heading).expect(&heading);
        let section = section.split("\n#").next().unwrap();
        let place = before
            .rsplit("\n### ")
            .next()
            .unwrap()
            .lines()
            .next()
            .unwrap();
        let expected = match when {
            Applicability::AtTheStart => "Asked before anything moves",
            Applicability::OnTheWay => "Asked on the way",
        };
        assert_eq!(place, expected, "{guard}");
        for row in ["| blocks |", "| protects from |", "| check |"] {
            assert!(section.contains(row), "{guard} lacks {row}");
        }
        let command = format!("--override {guard}");
        assert!(
            section.contains(&command) || section.contains("--abort"),
            "{guard} has no way on"
        );
        let of_object = section.contains(&format!("{command}="));
        assert!(
            !of_object || guard.names_objects(),
            "{guard} is overridden as a whole"
        );
    }
}

#[test]
fn the_page_has_the_default_deadlines() {
    let page = page();
    let Deadlines {
        pods_gone,
        replication,
        available,
    } = Deadlines::default();
    for (flag, deadline) in [
        ("--pods-gone-deadline", pods_gone),
        ("--replication-deadline", replication),
        ("--available-deadline", available),
    ] {
        let expected = format!("`{flag}`, {} min", deadline.as_mins());
        assert!(
            page.contains(&expected),
            "docs/transitions.md lacks: {expected}"
        );
    }
    for (what, length) in [
        ("for replicas", ENFORCER_DEADLINE),
        ("if sweeps fail", VERIFY_DEADLINE),
        (
            "an object that does not conform blocks at once and is swept again every",
            SWEEP_RETRY,
        ),
    ] {
        let seconds = length.as_secs();
        let expected = [format!("{seconds} s {what}"), format!("{what} {seconds} s")];
        assert!(
            expected.iter().any(|expected| page.contains(expected)),
            "docs/transitions.md lacks: {expected:?}"
        );
    }
}
