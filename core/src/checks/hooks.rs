//! Jobs that an installer runs around what it applies, and waits for: hooks of Helm and Argo CD. While a site is
//! secondary they are suspended as every Job is, and the installer waits in vain.

use serde_json::Value;

use super::has_ended;

/// Whose hook a Job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    Helm,
    ArgoCd,
}

impl Hook {
    /// The tool whose hook this Job is, if it is one, has not ended and is suspended.
    pub fn held(job: &Value) -> Option<Self> {
        (job["spec"]["suspend"] == Value::Bool(true) && !has_ended(job))
            .then(|| Self::of(job))
            .flatten()
    }

    fn of(object: &Value) -> Option<Self> {
        let has = |key: &str| object["metadata"]["annotations"][key].is_string();
        // Argo CD runs the hooks of a chart as its own, under the annotation that the chart gives them.
        let by_argo_cd = has("argocd.argoproj.io/hook") || has("argocd.argoproj.io/tracking-id");
        match has("argocd.argoproj.io/hook") || has("helm.sh/hook") {
            false => None,
            true if by_argo_cd => Some(Self::ArgoCd),
            true => Some(Self::Helm),
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Helm => "Helm",
            Self::ArgoCd => "Argo CD",
        }
    }

    /// The consequence while it is suspended.
    pub fn consequence(self) -> &'static str {
        match self {
            Self::Helm => {
                "Helm waits for it until its timeout and fails; Flux's helm-controller treats it as done"
            }
            Self::ArgoCd => "the sync waits for it",
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::helm(json!({"helm.sh/hook": "pre-upgrade"}), true, json!([]), Some(Hook::Helm))]
    #[case::argo_cd(json!({"argocd.argoproj.io/hook": "PreSync"}), true, json!([]), Some(Hook::ArgoCd))]
    #[case::both(json!({"argocd.argoproj.io/hook": "PreSync", "helm.sh/hook": "pre-upgrade"}), true, json!([]), Some(Hook::ArgoCd))]
    #[case::of_a_chart_by_argo_cd(json!({"argocd.argoproj.io/tracking-id": "shop:batch/Job:shop/schema", "helm.sh/hook": "pre-upgrade"}), true, json!([]), Some(Hook::ArgoCd))]
    #[case::tracked_by_argo_cd(json!({"argocd.argoproj.io/tracking-id": "shop:batch/Job:shop/import"}), true, json!([]), None)]
    #[case::no_hook(json!({"team": "a"}), true, json!([]), None)]
    #[case::runs(json!({"helm.sh/hook": "pre-upgrade"}), false, json!([]), None)]
    #[case::was_done(json!({"helm.sh/hook": "pre-upgrade"}), true, json!([{"type": "Complete", "status": "True"}]), None)]
    #[case::failed(json!({"helm.sh/hook": "pre-upgrade"}), true, json!([{"type": "Failed", "status": "True"}]), None)]
    #[case::suspended(json!({"helm.sh/hook": "pre-upgrade"}), true, json!([{"type": "Suspended", "status": "True"}]), Some(Hook::Helm))]
    fn a_hook_job_that_is_held_is_recognised(
        #[case] annotations: Value,
        #[case] suspend: bool,
        #[case] conditions: Value,
        #[case] expected: Option<Hook>,
    ) {
        let job = json!({
            "metadata": {"annotations": annotations},
            "spec": {"suspend": suspend},
            "status": {"conditions": conditions},
        });
        assert_eq!(Hook::held(&job), expected);
    }
}
