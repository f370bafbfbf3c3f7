//! Whether the replication of a volume, or of a group of volumes, has the ordered state.
//!
//! The csi-addons controller reports by conditions, each with its `observedGeneration`. `Completed` alone proves
//! little: it is also True of a secondary that is not in sync, of a volume that is being resynced (even one whose state
//! is still Primary), and of an order that nobody has checked yet. So state, reason and generation are read together,
//! and a contradiction among them is a doubt.
//!
//! `Replicating` is not read: after a failover there is no peer to replicate to. Nor is `Validated`: it goes to False
//! together with `Completed`, and stays False when a later attempt succeeds.

use serde_json::Value;

use crate::role::Role;

/// The group of the kinds that report the state of their replication.
pub const GROUP: &str = "replication.storage.openshift.io";

/// Why the volume is not confirmed under `role`; `None`: it is confirmed.
pub fn doubt(object: &Value, role: Role) -> Option<String> {
    let doubt = Status::of(object).confirmed(role).err()?;
    // The data on it matters more than the delay: it is not left out as a workload is.
    Some(if object["metadata"]["deletionTimestamp"].is_string() {
        format!("it is being deleted, and its driver may not change its state any more: {doubt}")
    } else {
        doubt
    })
}

/// Why writing `primary` onto this volume, which makes its driver force a promotion, might lose data: it is reported
/// degraded. `None`: no condition says so, or `primary` is written already.
pub fn degraded(object: &Value) -> Option<String> {
    let status = Status::of(object);
    let degraded = status.condition("Degraded")?;
    (status.ordered != "primary" && degraded.status == "True").then(|| degraded.describe())
}

/// Why the volume is not known to be in sync, before `primary` is written onto it: a resync is under way, or it does
/// not report the secondary state that was ordered. `None`: all that it reports says in sync ([`degraded`] reports
/// whether it is degraded), or `primary` is written already.
///
/// This includes a demotion that its driver has not confirmed. If the demotion is reversed now, the csi-addons
/// controller loses the answer: it then reports the volume as promoted without having promoted it, while its driver has
/// demoted it.
pub fn not_synced(object: &Value) -> Option<String> {
    let status = Status::of(object);
    if status.ordered == "primary" {
        return None;
    }
    let secondary = status
        .not_resyncing()
        .and_then(|()| status.completed("Secondary", "Demoted"))
        .and_then(|()| status.fresh("Degraded").map(drop));
    secondary.err()
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

    /// The condition, if it is about the current generation.
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
            return Err(degraded.describe());
        }
        self.not_resyncing()
    }

    /// Whether the order is carried out and the volume has this state.
    fn completed(&self, state: &str, reason: &str) -> Result<(), String> {
        let completed = self.fresh("Completed")?;
        if completed.status != "True" || completed.reason != reason {
            return Err(completed.describe());
        }
        if self.state != state {
            return Err(format!("its state is {:?}, not {state}", self.state));
        }
        Ok(())
    }

    /// For any generation: an earlier resync may still be running. Absent if a driver does not report it.
    fn not_resyncing(&self) -> Result<(), String> {
        match self.condition("Resyncing") {
            Some(resyncing) if resyncing.status == "True" => Err(resyncing.describe()),
            _ => Ok(()),
        }
    }
}

impl Condition<'_> {
    fn describe(&self) -> String {
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

    /// Conditions as recorded from the real controller, such as `C=True/Promoted@2`.
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
    #[case::nothing_reported(P, volume("primary", 2, "", &[]), Some("not reported yet"))]
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
    #[case::degraded_of_an_older_generation(S, volume("secondary", 3, "Secondary", &["C=True/Demoted@3", "D=False/Healthy@2"]), Some("Degraded is stale: observed generation 2"))]
    fn a_volume_is_confirmed_only_if_all_its_conditions_agree(
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
    #[case::degraded_of_an_older_generation("secondary", "Secondary", &["C=True/Demoted@3", "D=True/VolumeDegraded@2"], Some("VolumeDegraded"), Some("generation 2"))]
    #[case::resyncing("secondary", "Secondary", &["C=True/Demoted@3", "D=True/VolumeDegraded@3", "R=True/ResyncTriggered@3"], Some("VolumeDegraded"), Some("ResyncTriggered"))]
    #[case::resyncing_since_before("secondary", "Secondary", &["C=True/Demoted@3", "D=False/Healthy@3", "R=True/ResyncTriggered@2"], None, Some("ResyncTriggered"))]
    #[case::resync_failed("secondary", "Secondary", &["C=False/FailedToResync@3", "D=True/Error@3", "R=False/FailedToResync@3"], Some("Error"), Some("FailedToResync"))]
    #[case::demotion_without_an_answer("secondary", "Primary", &["C=True/Promoted@2", "D=False/Healthy@2"], None, Some("generation 2"))]
    #[case::resynced_as_primary("resync", "Primary", &["C=True/Demoted@3", "D=False/Healthy@3"], None, Some("\"Primary\""))]
    #[case::nothing_reported("secondary", "", &[], None, Some("not reported yet"))]
    #[case::primary_all_along("primary", "Primary", &["C=True/Promoted@3", "D=False/Healthy@3"], None, None)]
    #[case::primary_is_written_already("primary", "Secondary", &["C=True/Demoted@2", "D=True/VolumeDegraded@2", "R=True/ResyncTriggered@2"], None, None)]
    fn a_forced_promotion_that_might_lose_data_is_detected(
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
