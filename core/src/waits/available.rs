//! Whether what was restored is up: what a promotion waits for before it lets traffic in.

use serde_json::Value;

/// Why a workload is not available yet; `None`: it is, or it has nothing to be available.
pub fn lacking(workload: &Value) -> Option<String> {
    let number = |pointer: &str| workload.pointer(pointer).and_then(Value::as_i64);
    let kind = workload["kind"].as_str().unwrap_or_default();
    // Jobs end, and CronJobs wait for their time.
    if matches!(kind, "Job" | "CronJob") {
        return None;
    }
    let wanted = number("/spec/replicas")?;
    if wanted == 0 {
        return None;
    }
    let generation = number("/metadata/generation").unwrap_or_default();
    let observed = number("/status/observedGeneration").unwrap_or_default();
    if observed < generation {
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
