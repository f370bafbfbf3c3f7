//! A step that moves layers of a policy's objects: the journal's orders come into force, enforcers observe them, a
//! sweep verifies that the objects conform. The site performs the acts.

use super::{PolicySubject, is_of};
use crate::api::{Blocked, ManagedKind, ManagedResourceReason, SiteStatus, Step, StepActivity};
use crate::guards::{GuardId, Overrides};
use crate::object_roles::ResourceResult;
use crate::role::{Layer, Role};
use crate::transition::layer_step::enforcers;
use crate::transition::step::{StepOutcome, begun, count, later};
use crate::transition::unverified::{Unverified, unverified};
use crate::transition::{Act, BLOCKED_LIMIT, ENFORCER_DEADLINE, SWEEP_RETRY};

impl PolicySubject<'_> {
    /// The work that is left once layers are ordered: the roles of their objects come into force, enforcers observe
    /// them, a sweep verifies that the objects conform.
    pub(super) fn go_on(
        &self,
        layers: &[Layer],
        site: &SiteStatus,
        step: &Step,
        overrides: &Overrides,
    ) -> StepOutcome {
        let named = self.result.resources.iter();
        let named = named.filter(|found| found.refused.is_none() && is_of(found, layers));
        let objects: Vec<String> = named.filter_map(reference).collect();
        let total = count(&objects);
        if let Some(missing) = self.missing_volumes(layers, overrides) {
            return missing;
        }
        let ahead: Vec<&ResourceResult> = self
            .lagging()
            .filter(|found| is_of(found, layers))
            .collect();
        if let Some(waiting) = self.coming_into_force(&ahead, total, step, overrides) {
            return waiting;
        }
        if let Some(waiting) = enforcers(self.observation, site, overrides) {
            return waiting;
        }
        self.swept(&objects, total, site, step, overrides)
    }

    /// Waits until a sweep has found that these objects conform.
    fn swept(
        &self,
        objects: &[String],
        total: i64,
        site: &SiteStatus,
        step: &Step,
        overrides: &Overrides,
    ) -> StepOutcome {
        let report = self
            .observation
            .sweep
            .filter(|report| report.covers(&Layer::ALL, site));
        let Some(report) = report else {
            let failing = self.observation.failing_sweep;
            let failing = failing.filter(|f| f.of == site.revision);
            let covers = [GuardId::NotConforming];
            let act = Some(Act::Wait {
                until: later(self.observation),
            });
            return match unverified(self.observation, failing, &covers, step, overrides) {
                Some(Unverified::Waived) => StepOutcome {
                    total,
                    ..StepOutcome::default()
                },
                Some(Unverified::Blocked(outcome)) => StepOutcome { act, ..*outcome },
                None => StepOutcome {
                    total,
                    activity: Some(StepActivity::Sweeping),
                    act,
                    ..StepOutcome::default()
                },
            };
        };
        // `namespace/resource/*`: the kind could not even be listed there.
        let own = |blocked: &&Blocked| {
            let object = blocked.object.as_ref();
            object.is_some_and(|object| match object.strip_suffix('*') {
                Some(kind) => objects.iter().any(|own| own.starts_with(kind)),
                None => objects.contains(object),
            })
        };
        // Objects that are not named may be ours.
        let all_are_named = report.left == count(&report.blocked);
        let blocked: Vec<Blocked> = if all_are_named {
            report.blocked.iter().filter(own).cloned().collect()
        } else {
            report.blocked.clone()
        };
        let left = if all_are_named {
            count(&blocked)
        } else {
            report.left
        };
        let again_in_vain = report.finished_at >= begun(self.observation, step) + SWEEP_RETRY
            && overrides.waive(GuardId::NotConforming, &blocked, left);
        if left == 0 || again_in_vain {
            return StepOutcome {
                total,
                done: (total - left).max(0),
                ..StepOutcome::default()
            };
        }
        StepOutcome {
            total,
            done: (total - left).max(0),
            activity: Some(StepActivity::Sweeping),
            blocked,
            stalled: true,
            act: Some(Act::Wait {
                until: report.finished_at + SWEEP_RETRY,
            }),
            ..StepOutcome::default()
        }
    }

    /// Volumes that the policy names and may not move block a promotion: workloads would start on volumes that are not
    /// primary.
    fn missing_volumes(&self, layers: &[Layer], overrides: &Overrides) -> Option<StepOutcome> {
        let promotes = self.policy.spec.desired_state == Some(Role::Primary);
        if !promotes || !layers.contains(&Layer::Volumes) {
            return None;
        }
        let resources = self.result.resources.iter();
        let blocked: Vec<Blocked> = resources
            .filter(|found| found.resource.kind == ManagedKind::VolumeReplication)
            .filter_map(|found| {
                let (reason, why) = found.refused.as_ref()?;
                (*reason != ManagedResourceReason::Exempt).then(|| Blocked {
                    guard: GuardId::NotConforming.to_string(),
                    object: reference(found),
                    message: format!("it is not promoted with the rest: {why}"),
                })
            })
            .filter(|blocked| !overrides.waives(blocked))
            .collect();
        (!blocked.is_empty()).then(|| StepOutcome {
            total: count(&blocked),
            activity: Some(StepActivity::WaitingForVolumes),
            blocked: blocked.into_iter().take(BLOCKED_LIMIT).collect(),
            stalled: true,
            act: Some(Act::Wait {
                until: later(self.observation),
            }),
            ..StepOutcome::default()
        })
    }

    /// Waits until the ordered roles are in the objects' Namespaces; `None`: they are.
    fn coming_into_force(
        &self,
        ahead: &[&ResourceResult],
        total: i64,
        step: &Step,
        overrides: &Overrides,
    ) -> Option<StepOutcome> {
        let deadline = begun(self.observation, step) + ENFORCER_DEADLINE;
        let overdue = self.observation.now >= deadline;
        let why = |found: &&ResourceResult| {
            let namespace = &found.object.as_ref()?.namespace;
            let refused = self.observation.refused.get(namespace);
            Some(Blocked {
                guard: GuardId::NotConforming.to_string(),
                object: reference(found),
                message: refused.map_or_else(
                    || "its role is not in force yet: waiting for another FailoverPolicy that manages it; see kubectl get failoverpolicies -A".to_owned(),
                    |refusal| {
                        let why = &refusal.why;
                        format!("its role cannot be written to namespace {namespace}: {why}")
                    },
                ),
            })
        };
        let mut blocked: Vec<Blocked> = ahead.iter().filter_map(why).collect();
        if overdue {
            blocked.retain(|blocked| !overrides.waives(blocked));
        }
        (!blocked.is_empty()).then(|| StepOutcome {
            total,
            done: total - count(ahead),
            activity: Some(StepActivity::ApplyingRoles),
            blocked: if overdue {
                blocked.into_iter().take(BLOCKED_LIMIT).collect()
            } else {
                vec![]
            },
            stalled: overdue,
            act: Some(Act::Wait {
                until: if overdue {
                    later(self.observation)
                } else {
                    deadline
                },
            }),
            ..StepOutcome::default()
        })
    }
}

fn reference(found: &ResourceResult) -> Option<String> {
    found.object.as_ref().map(ToString::to_string)
}
