//! Whether the replication of a volume, or of a group of volumes, stands as ordered.
//!
//! The csi-addons controller tells by conditions, each with the generation it was set for. `Completed` alone says little: it
//! is also True of a secondary that is not in sync, of a volume that is being resynced (even one whose state is still
//! Primary), and of an order that nobody has looked at yet. So state, reason and generation are asked for together, and what
//! contradicts them is a doubt. `Replicating` is not asked: after a failover there is nobody to replicate to.

use serde_json::Value;

use crate::role::Role;

/// Why the volume is not known to stand under `role`; `None`: it is confirmed.
pub fn doubt(object: &Value, role: Role) -> Option<String> {
    let status = Status::of(object);
    let (wanted, state, reason) = match role {
        Role::Primary => ("primary", "Primary", "Promoted"),
        Role::Secondary => ("secondary", "Secondary", "Demoted"),
    };
    let ordered = object["spec"]["replicationState"]
        .as_str()
        .unwrap_or_default();
    let is_ordered = ordered == wanted || (role == Role::Secondary && ordered == "resync");
    if !is_ordered {
        return Some(format!("it is ordered to be {ordered:?}, not {wanted}"));
    }
    if let Some(failed) = status.failure() {
        return Some(failed);
    }
    match status.fresh("Completed") {
        Err(why) => return Some(why),
        Ok(completed) if completed.status != "True" || completed.reason != reason => {
            return Some(completed.told());
        }
        Ok(_) => {}
    }
    if status.state != state {
        return Some(format!("its state is {:?}, not {state}", status.state));
    }
    match status.fresh("Degraded") {
        Err(why) => return Some(why),
        Ok(degraded) if degraded.status != "False" => return Some(degraded.told()),
        Ok(_) => {}
    }
    // Absent where a driver does not do it, and left as it was where it did not have to.
    let against = match role {
        Role::Primary => [("Resyncing", "True"), ("Validated", "False")].as_slice(),
        Role::Secondary => &[("Resyncing", "True")],
    };
    against.iter().find_map(|(kind, status_against)| {
        let condition = status.condition(kind)?;
        (condition.status == *status_against).then(|| condition.told())
    })
}

/// Why writing `primary` onto this volume, which makes its driver force a promotion, might lose data: it is degraded, or a
/// resync is under way; `None`: nothing says so.
pub fn degraded(object: &Value) -> Option<String> {
    let status = Status::of(object);
    ["Degraded", "Resyncing"].iter().find_map(|kind| {
        let condition = status.condition(kind)?;
        (condition.status == "True").then(|| condition.told())
    })
}

struct Status<'a> {
    generation: i64,
    state: &'a str,
    conditions: &'a [Value],
}

struct Condition<'a> {
    kind: &'a str,
    status: &'a str,
    reason: &'a str,
    message: &'a str,
    generation: i64,
}

impl<'a> Status<'a> {
    fn of(object: &'a Value) -> Self {
        let status = &object["status"];
        Self {
            generation: object["metadata"]["generation"]
                .as_i64()
                .unwrap_or_default(),
            state: status["state"].as_str().unwrap_or_default(),
            conditions: status["conditions"].as_array().map_or(&[], Vec::as_slice),
        }
    }

    fn condition(&self, kind: &'a str) -> Option<Condition<'a>> {
        let found = self.conditions.iter().find(|c| c["type"] == kind)?;
        let text = |key: &str| found[key].as_str().unwrap_or_default();
        Some(Condition {
            kind,
            status: text("status"),
            reason: text("reason"),
            message: text("message"),
            generation: found["observedGeneration"].as_i64().unwrap_or_default(),
        })
    }

    /// The condition, if it is about the object as it is now.
    fn fresh(&self, kind: &'a str) -> Result<Condition<'a>, String> {
        match self.condition(kind) {
            None => Err(format!("{kind} is not told yet")),
            Some(condition) if condition.generation != self.generation => Err(format!(
                "{kind} is told of generation {}, the object is at {}",
                condition.generation, self.generation
            )),
            Some(condition) => Ok(condition),
        }
    }

    /// What its driver has refused, whatever else is told.
    fn failure(&self) -> Option<String> {
        let completed = self.condition("Completed")?;
        (completed.status == "False" && completed.generation == self.generation)
            .then(|| completed.told())
    }
}

impl Condition<'_> {
    fn told(&self) -> String {
        let Self {
            kind,
            status,
            reason,
            message,
            ..
        } = self;
        let message = if message.is_empty() {
            String::new()
        } else {
            format!(": {message}")
        };
        format!("{kind} is {status} ({reason}){message}")
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    const P: Role = Role::Primary;
    const S: Role = Role::Secondary;

    /// `C=True/Promoted@2` and so on, as recorded from the real controller.
    fn volume(spec: &str, generation: i64, state: &str, conditions: &[&str]) -> Value {
        let conditions: Vec<Value> = conditions
            .iter()
            .map(|text| {
                let (kind, rest) = text.split_once('=').unwrap();
                let (status, rest) = rest.split_once('/').unwrap();
                let (reason, at) = rest.split_once('@').unwrap();
                let kind = match kind {
                    "C" => "Completed",
                    "D" => "Degraded",
                    "R" => "Resyncing",
                    "V" => "Validated",
                    _ => "Replicating",
                };
                json!({"type": kind, "status": status, "reason": reason, "observedGeneration": at.parse::<i64>().unwrap()})
            })
            .collect();
        json!({
            "metadata": {"generation": generation},
            "spec": {"replicationState": spec},
            "status": {"state": state, "conditions": conditions},
        })
    }

    #[rstest]
    #[case::fresh_primary(P, volume("primary", 2, "Primary", &["C=True/Promoted@2", "D=False/Healthy@2", "R=False/NotResyncing@2", "Rep=True/Replicating@2"]), None)]
    #[case::demotion_begun(S, volume("secondary", 3, "Primary", &["C=True/Promoted@2", "D=False/Healthy@2"]), Some("generation 2"))]
    #[case::demoted_not_in_sync(S, volume("secondary", 3, "Secondary", &["C=True/Demoted@3", "D=True/VolumeDegraded@3", "R=False/NotResyncing@3"]), Some("VolumeDegraded"))]
    #[case::demoted_in_sync(S, volume("secondary", 3, "Secondary", &["C=True/Demoted@3", "D=False/Healthy@3", "R=False/NotResyncing@3"]), None)]
    #[case::resync_counts_as_secondary(S, volume("resync", 3, "Secondary", &["C=True/Demoted@3", "D=False/Healthy@3", "R=False/NotResyncing@3"]), None)]
    #[case::promoted_again(P, volume("primary", 4, "Primary", &["C=True/Promoted@4", "D=False/Healthy@4", "R=False/NotResyncing@4"]), None)]
    #[case::calls_blocked(P, volume("primary", 4, "Secondary", &["C=True/Demoted@3", "D=False/Healthy@3"]), Some("generation 3, the object is at 4"))]
    #[case::nothing_told(P, volume("primary", 2, "", &[]), Some("not told yet"))]
    #[case::promotion_failed(P, volume("primary", 2, "Unknown", &["C=False/FailedToPromote@2", "D=True/Error@2", "V=True/PrerequisiteMet@2"]), Some("FailedToPromote"))]
    #[case::demotion_failed(S, volume("secondary", 3, "Primary", &["C=False/FailedToDemote@3", "D=True/Error@3"]), Some("FailedToDemote"))]
    #[case::prerequisite_remains(P, volume("primary", 2, "Primary", &["C=True/Promoted@2", "D=False/Healthy@2", "V=False/PrerequisiteNotMet@2"]), Some("PrerequisiteNotMet"))]
    #[case::resyncing(S, volume("secondary", 3, "Secondary", &["C=True/Demoted@3", "D=True/VolumeDegraded@3", "R=True/ResyncTriggered@3"]), Some("VolumeDegraded"))]
    #[case::resyncing_and_healthy(S, volume("secondary", 3, "Secondary", &["C=True/Demoted@3", "D=False/Healthy@3", "R=True/ResyncTriggered@3"]), Some("ResyncTriggered"))]
    #[case::resync_from_primary(S, volume("resync", 5, "Primary", &["C=True/Demoted@5", "D=True/VolumeDegraded@5", "R=True/ResyncTriggered@5"]), Some("state is \"Primary\""))]
    #[case::resync_is_no_promotion(P, volume("primary", 5, "Primary", &["C=True/Demoted@5", "D=False/Healthy@5"]), Some("Demoted"))]
    #[case::not_replicating_is_live(P, volume("primary", 4, "Primary", &["C=True/Promoted@4", "D=False/Healthy@4", "Rep=False/NotReplicating@4"]), None)]
    #[case::ordered_otherwise(P, volume("secondary", 4, "Primary", &["C=True/Promoted@4", "D=False/Healthy@4"]), Some("\"secondary\", not primary"))]
    #[case::degraded_told_of_before(S, volume("secondary", 3, "Secondary", &["C=True/Demoted@3", "D=False/Healthy@2"]), Some("Degraded is told of generation 2"))]
    fn a_volume_is_confirmed_only_by_all_that_is_told_of_it(
        #[case] role: Role,
        #[case] object: Value,
        #[case] says: Option<&str>,
    ) {
        match (doubt(&object, role), says) {
            (None, None) => {}
            (Some(doubt), Some(says)) if doubt.contains(says) => {}
            other => panic!("{other:?}"),
        }
    }

    #[rstest]
    #[case::healthy(&["C=True/Demoted@3", "D=False/Healthy@3", "R=False/NotResyncing@3"], None)]
    #[case::degraded(&["C=True/Demoted@3", "D=True/VolumeDegraded@3"], Some("VolumeDegraded"))]
    #[case::resyncing(&["C=True/Demoted@3", "D=False/Healthy@3", "R=True/ResyncTriggered@3"], Some("ResyncTriggered"))]
    #[case::nothing_told(&[], None)]
    fn what_a_forced_promotion_might_lose_is_asked_before(
        #[case] conditions: &[&str],
        #[case] says: Option<&str>,
    ) {
        let found = degraded(&volume("secondary", 3, "Secondary", conditions));
        assert_eq!(found.is_some(), says.is_some());
        assert!(found.unwrap_or_default().contains(says.unwrap_or_default()));
    }
}
