//! Whether the backstop is complete: the admission policies and bindings of every built-in kind exist unchanged.

use failover_core::backstop;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt as _};

/// The versions of all our admission policies and bindings.
type Versions = Vec<(String, Option<String>, Option<String>)>;

/// The result of the last comparison of the admission policies and bindings with their desired content. They are
/// compared again only when one of them has changed: each is as large as all other inputs of a decision together.
#[derive(Debug, Default)]
pub struct Backstop {
    found: Option<(Versions, bool)>,
}

impl Backstop {
    pub fn is_configured(
        &mut self,
        policies: &Store<ValidatingAdmissionPolicy>,
        bindings: &Store<ValidatingAdmissionPolicyBinding>,
    ) -> bool {
        let mut versions = versions(policies);
        versions.extend(self::versions(bindings));
        if let Some((of, configured)) = &self.found
            && *of == versions
        {
            return *configured;
        }
        let policy = |name: &str| policies.get(&ObjectRef::new(name));
        let binding = |name: &str| bindings.get(&ObjectRef::new(name));
        let missing = backstop::missing(
            |name| serde_json::to_value(&*policy(name)?).ok(),
            |name| serde_json::to_value(&*binding(name)?).ok(),
        );
        self.found = Some((versions, missing.is_empty()));
        missing.is_empty()
    }
}

fn versions<K>(store: &Store<K>) -> Versions
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let version = |object: &K| (object.name_any(), object.uid(), object.resource_version());
    let mut versions: Versions = store.state().iter().map(|o| version(o)).collect();
    versions.sort();
    versions
}

#[cfg(test)]
mod tests {
    use failover_core::RuleSet;
    use kube::runtime::reflector::store::Writer;
    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};

    use super::*;

    struct Policies {
        policies: Writer<ValidatingAdmissionPolicy>,
        bindings: Writer<ValidatingAdmissionPolicyBinding>,
    }

    impl Policies {
        /// Stores all expected objects, with the test's change to each policy.
        fn store(&mut self, version: &str, change: impl Fn(&mut Value)) {
            for [mut policy, mut binding] in
                RuleSet::built_in().iter().flat_map(backstop::all_about)
            {
                policy["metadata"]["resourceVersion"] = json!(version);
                binding["metadata"]["resourceVersion"] = json!(version);
                change(&mut policy);
                let policy = serde_json::from_value(policy).unwrap();
                self.policies.apply_watcher_event(&Event::Apply(policy));
                let binding = serde_json::from_value(binding).unwrap();
                self.bindings.apply_watcher_event(&Event::Apply(binding));
            }
        }

        fn is_configured(&self, backstop: &mut Backstop) -> bool {
            backstop.is_configured(&self.policies.as_reader(), &self.bindings.as_reader())
        }
    }

    fn weakened(policy: &mut Value) {
        policy["spec"]["failurePolicy"] = json!("Ignore");
    }

    #[test]
    fn policies_are_compared_again_only_once_one_has_changed() {
        let mut stored = Policies {
            policies: Writer::default(),
            bindings: Writer::default(),
        };
        let mut backstop = Backstop::default();
        assert!(!stored.is_configured(&mut backstop), "there are none");
        stored.store("1", |_| ());
        assert!(stored.is_configured(&mut backstop));
        stored.store("1", weakened);
        assert!(
            stored.is_configured(&mut backstop),
            "the same versions say the same"
        );
        stored.store("2", weakened);
        assert!(!stored.is_configured(&mut backstop));
        stored.store("3", |_| ());
        assert!(stored.is_configured(&mut backstop));
    }
}
