//! Whether the replication of a volume, or of a group of volumes, stands as ordered.
//!
//! The csi-addons controller tells by conditions, each with the generation it was set for. `Completed` alone says little: it
//! is also True of a secondary that is not in sync, of a volume that is being resynced (even one whose state is still
//! Primary), and of an order that nobody has checked yet. So state, reason and generation are asked for together, and what
//! contradicts them is a doubt.
//!
//! `Replicating` is not asked: after a failover there is nobody to replicate to. Nor is `Validated`: it goes to False together
//! with `Completed`, and stays there when a later try succeeds.

use serde_json::Value;

use crate::role::Role;

/// The group of the kinds that say how their replication stands.
pub const GROUP: &str = "replication.storage.openshift.io";

/// Why the volume is not known to stand under `role`; `None`: it is confirmed.
pub fn doubt(object: &Value, role: Role) -> Option<String> {
    let doubt = Status::of(object).confirmed(role).err()?;
    // What is on it counts for more than how long it takes: it is not left out as a workload is.
    Some(if object["metadata"]["deletionTimestamp"].is_string() {
        format!("it is being deleted, and its driver may not change its state any more: {doubt}")
    } else {
        doubt
    })
}

/// Why writing `primary` onto this volume, which makes its driver force a promotion, might lose data: it is told to be
/// degraded; `None`: nothing says so, or `primary` is written already.
pub fn degraded(object: &Value) -> Option<String> {
    let status = Status::of(object);
    let degraded = status.condition("Degraded")?;
    (status.ordered != "primary" && degraded.status == "True").then(|| degraded.told())
}

/// Why nobody can say that this volume is in sync, before `primary` is written onto it: a resync is under way, or nothing
/// is told of it as the secondary that it is ordered to be; `None`: it is in sync for all that is told (that it is degraded
/// is for [`degraded`] to say), or `primary` is written already.
///
/// A demotion without an answer is among them. Turned round now, the csi-addons controller loses the answer: it then calls
/// the volume promoted without having promoted it, while its driver has demoted it.
pub fn not_synced(object: &Value) -> Option<String> {
    let status = Status::of(object);
    if status.ordered == "primary" {
        return None;
    }
    let told = status
        .not_resyncing()
        .and_then(|()| status.completed("Secondary", "Demoted"))
        .and_then(|()| status.fresh("Degraded").map(drop));
    told.err()
}

struct Status<'a> {
    generation: i64,
    ordered: &'a str,
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
            ordered: object["spec"]["replicationState"]
                .as_str()
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
            None => Err(format!("condition {kind} is not reported yet")),
            Some(condition) if condition.generation != self.generation => Err(format!(
                "condition {kind} is stale: observed generation {}, current generation {}",
                condition.generation, self.generation
            )),
            Some(condition) => Ok(condition),
        }
    }

    fn confirmed(&self, role: Role) -> Result<(), String> {
        let ordered = self.ordered;
        match role {
            Role::Primary if ordered == "primary" => self.completed("Primary", "Promoted")?,
            Role::Secondary if ["secondary", "resync"].contains(&ordered) => {
                self.completed("Secondary", "Demoted")?;
            }
            Role::Primary | Role::Secondary => {
                return Err(format!("its replicationState is {ordered:?}, not {role}"));
            }
        }
        let degraded = self.fresh("Degraded")?;
        if degraded.status != "False" {
            return Err(degraded.told());
        }
        self.not_resyncing()
    }

    /// Whether the order is carried out, and this is the state since.
    fn completed(&self, state: &str, reason: &str) -> Result<(), String> {
        let completed = self.fresh("Completed")?;
        if completed.status != "True" || completed.reason != reason {
            return Err(completed.told());
        }
        if self.state != state {
            return Err(format!("its state is {:?}, not {state}", self.state));
        }
        Ok(())
    }

    /// Whatever generation it was told of: what was under way before may be so still. Absent where a driver does not do it.
    fn not_resyncing(&self) -> Result<(), String> {
        match self.condition("Resyncing") {
            Some(resyncing) if resyncing.status == "True" => Err(resyncing.told()),
            _ => Ok(()),
        }
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
    #[case::calls_blocked(P, volume("primary", 4, "Secondary", &["C=True/Demoted@3", "D=False/Healthy@3"]), Some("observed generation 3, current generation 4"))]
    #[case::nothing_told(P, volume("primary", 2, "", &[]), Some("not reported yet"))]
    #[case::promotion_failed(P, volume("primary", 2, "Unknown", &["C=False/FailedToPromote@2", "D=True/Error@2", "V=True/PrerequisiteMet@2"]), Some("FailedToPromote"))]
    #[case::demotion_failed(S, volume("secondary", 3, "Primary", &["C=False/FailedToDemote@3", "D=True/Error@3"]), Some("FailedToDemote"))]
    #[case::prerequisite_remains(P, volume("primary", 2, "Primary", &["C=True/Promoted@2", "D=False/Healthy@2", "V=False/PrerequisiteNotMet@2"]), None)]
    #[case::prerequisite_not_met(P, volume("primary", 2, "Unknown", &["C=False/FailedToPromote@2", "D=True/Error@2", "V=False/PrerequisiteNotMet@2"]), Some("FailedToPromote"))]
    #[case::resyncing(S, volume("secondary", 3, "Secondary", &["C=True/Demoted@3", "D=True/VolumeDegraded@3", "R=True/ResyncTriggered@3"]), Some("VolumeDegraded"))]
    #[case::resyncing_and_healthy(S, volume("secondary", 3, "Secondary", &["C=True/Demoted@3", "D=False/Healthy@3", "R=True/ResyncTriggered@3"]), Some("ResyncTriggered"))]
    #[case::resync_from_primary(S, volume("resync", 5, "Primary", &["C=True/Demoted@5", "D=True/VolumeDegraded@5", "R=True/ResyncTriggered@5"]), Some("state is \"Primary\""))]
    #[case::resync_is_no_promotion(P, volume("primary", 5, "Primary", &["C=True/Demoted@5", "D=False/Healthy@5"]), Some("Demoted"))]
    #[case::not_replicating_is_live(P, volume("primary", 4, "Primary", &["C=True/Promoted@4", "D=False/Healthy@4", "Rep=False/NotReplicating@4"]), None)]
    #[case::ordered_otherwise(P, volume("secondary", 4, "Primary", &["C=True/Promoted@4", "D=False/Healthy@4"]), Some("\"secondary\", not primary"))]
    #[case::degraded_told_of_before(S, volume("secondary", 3, "Secondary", &["C=True/Demoted@3", "D=False/Healthy@2"]), Some("Degraded is stale: observed generation 2"))]
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
    #[case::in_sync("secondary", "Secondary", &["C=True/Demoted@3", "D=False/Healthy@3", "R=False/NotResyncing@3"], None, None)]
    #[case::in_sync_by_order("resync", "Secondary", &["C=True/Demoted@3", "D=False/Healthy@3"], None, None)]
    #[case::degraded("secondary", "Secondary", &["C=True/Demoted@3", "D=True/VolumeDegraded@3"], Some("VolumeDegraded"), None)]
    #[case::degraded_told_of_before("secondary", "Secondary", &["C=True/Demoted@3", "D=True/VolumeDegraded@2"], Some("VolumeDegraded"), Some("generation 2"))]
    #[case::resyncing("secondary", "Secondary", &["C=True/Demoted@3", "D=True/VolumeDegraded@3", "R=True/ResyncTriggered@3"], Some("VolumeDegraded"), Some("ResyncTriggered"))]
    #[case::resyncing_since_before("secondary", "Secondary", &["C=True/Demoted@3", "D=False/Healthy@3", "R=True/ResyncTriggered@2"], None, Some("ResyncTriggered"))]
    #[case::resync_failed("secondary", "Secondary", &["C=False/FailedToResync@3", "D=True/Error@3", "R=False/FailedToResync@3"], Some("Error"), Some("FailedToResync"))]
    #[case::demotion_without_an_answer("secondary", "Primary", &["C=True/Promoted@2", "D=False/Healthy@2"], None, Some("generation 2"))]
    #[case::resynced_as_primary("resync", "Primary", &["C=True/Demoted@3", "D=False/Healthy@3"], None, Some("\"Primary\""))]
    #[case::nothing_told("secondary", "", &[], None, Some("not reported yet"))]
    #[case::primary_all_along("primary", "Primary", &["C=True/Promoted@3", "D=False/Healthy@3"], None, None)]
    #[case::primary_is_written_already("primary", "Secondary", &["C=True/Demoted@2", "D=True/VolumeDegraded@2", "R=True/ResyncTriggered@2"], None, None)]
    fn what_a_forced_promotion_might_lose_is_asked_before(
        #[case] spec: &str,
        #[case] state: &str,
        #[case] conditions: &[&str],
        #[case] is_degraded: Option<&str>,
        #[case] is_not_synced: Option<&str>,
    ) {
        let object = volume(spec, 3, state, conditions);
        for (found, says) in [
            (degraded(&object), is_degraded),
            (not_synced(&object), is_not_synced),
        ] {
            assert_eq!(found.is_some(), says.is_some(), "{found:?}");
            assert!(found.unwrap_or_default().contains(says.unwrap_or_default()));
        }
    }
}
