//! Whether what was restored is up: what a promotion waits for before it lets traffic in.

use serde_json::Value;

/// Whether a workload has anything to be available: Jobs end, CronJobs wait for their time, and other kinds do not count what
/// they run in the same words.
pub fn counts(workload: &Value) -> bool {
    wanted(workload) > 0
}

fn wanted(workload: &Value) -> i64 {
    let kind = workload["kind"].as_str().unwrap_or_default();
    let replicas = workload.pointer("/spec/replicas").and_then(Value::as_i64);
    match kind {
        "Job" | "CronJob" => 0,
        _ => replicas.unwrap_or_default(),
    }
}

/// Why a workload is not available yet; `None`: it is, or it has nothing to be available.
pub fn lacking(workload: &Value) -> Option<String> {
    let number = |pointer: &str| workload.pointer(pointer).and_then(Value::as_i64);
    let wanted = wanted(workload);
    if wanted == 0 {
        return None;
    }
    let generation = number("/metadata/generation").unwrap_or_default();
    // Argo's Rollouts write it as text.
    let observed = workload
        .pointer("/status/observedGeneration")
        .and_then(|value| value.as_i64().or_else(|| value.as_str()?.parse().ok()));
    if observed.is_some_and(|observed| observed < generation) {
        return Some("its controller has not seen the change yet".to_owned());
    }
    let available = number("/status/availableReplicas").unwrap_or_default();
    (available < wanted).then(|| format!("{available} of {wanted} replicas are available"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::up(json!({"kind": "Deployment", "metadata": {"generation": 3}, "spec": {"replicas": 2}, "status": {"observedGeneration": 3, "availableReplicas": 2}}), None)]
    #[case::coming(json!({"kind": "Deployment", "metadata": {"generation": 3}, "spec": {"replicas": 2}, "status": {"observedGeneration": 3, "availableReplicas": 1}}), Some("1 of 2 replicas are available"))]
    #[case::none_yet(json!({"kind": "StatefulSet", "metadata": {"generation": 3}, "spec": {"replicas": 2}, "status": {"observedGeneration": 3}}), Some("0 of 2 replicas are available"))]
    #[case::of_the_old_spec(json!({"kind": "Deployment", "metadata": {"generation": 3}, "spec": {"replicas": 2}, "status": {"observedGeneration": 2, "availableReplicas": 2}}), Some("its controller has not seen the change yet"))]
    #[case::a_rollout_of_the_old_spec(json!({"kind": "Rollout", "metadata": {"generation": 3}, "spec": {"replicas": 2}, "status": {"observedGeneration": "2", "availableReplicas": 2}}), Some("its controller has not seen the change yet"))]
    #[case::none_wanted(json!({"kind": "Deployment", "metadata": {"generation": 3}, "spec": {"replicas": 0}}), None)]
    #[case::a_job(json!({"kind": "Job", "metadata": {"generation": 3}, "spec": {"parallelism": 1}}), None)]
    #[case::without_count(json!({"kind": "Widget", "metadata": {"generation": 3}, "spec": {}}), None)]
    fn a_workload_is_available_when_its_controller_says_so_of_the_present_spec(
        #[case] workload: Value,
        #[case] lacks: Option<&str>,
    ) {
        assert_eq!(lacking(&workload).as_deref(), lacks);
    }
}
