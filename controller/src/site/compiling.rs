//! What is to be in force of single objects, from what the caches hold.

use std::collections::{BTreeMap, BTreeSet};

use failover_core::api::FailoverPolicy;
use failover_core::birth::Settled;
use failover_core::compile::{Compiled, Inputs, ObjectKey, compile};
use failover_core::namespace::ObjectRoles;
use failover_core::origin::Origins;
use failover_core::transition::{EnrolledNamespace, is_paused};
use kube::Client;

use super::exempt_labels::ExemptLabels;
use super::observe::Seen;
use super::origins::OriginWatches;

/// Compiles. Asks the API server only where an exemption that is in force seems not to be asked for any more: an operator
/// labels the object first and then writes the Namespace, and the watch that tells of the Namespace may be the faster one; and
/// where what installed an object seems to be gone.
/// `unused` are volumes that nothing uses.
pub async fn compiled(
    client: &Client,
    seen: &Seen,
    labels: &ExemptLabels,
    origins: &OriginWatches,
    unused: &BTreeSet<ObjectKey>,
) -> Compiled {
    let mut exempt = labels.asked();
    let mut known = origins.known();
    let mut compiled = once(seen, &exempt, unused, &known);
    if !compiled.unasked.is_empty() || !compiled.missing.is_empty() {
        for key in compiled.unasked {
            if labels.confirm(client, &key).await {
                exempt.insert(key);
            }
        }
        // The watch of what was installed may be the faster one, too.
        for key in compiled.missing {
            if origins.confirm(client, &key).await {
                known.existing.insert(key);
            }
        }
        compiled = once(seen, &exempt, unused, &known);
    }
    // A policy that cannot be read may order anything of these: they keep what they have.
    let unreadable = seen.unreadable.iter();
    for namespace in unreadable.flat_map(|unreadable| &unreadable.namespaces) {
        compiled.objects.remove(namespace);
    }
    compiled
}

fn once(
    seen: &Seen,
    exempt: &BTreeSet<ObjectKey>,
    unused: &BTreeSet<ObjectKey>,
    origins: &Origins,
) -> Compiled {
    let policies: Vec<&FailoverPolicy> = seen.policies.iter().map(AsRef::as_ref).collect();
    compile(&Inputs {
        namespaces: &seen.enrolled,
        exempt,
        policies: &policies,
        rules: &seen.rules,
        settled: Settled::of(&seen.site).is_some() && !is_paused(&seen.site, seen.at),
        unused,
        origins,
    })
}

/// What is in force of single objects now, in all namespaces.
pub fn in_force(namespaces: &[EnrolledNamespace]) -> BTreeMap<String, ObjectRoles> {
    namespaces
        .iter()
        .map(|namespace| (namespace.name.clone(), namespace.state.objects.clone()))
        .collect()
}

#[cfg(test)]
#[path = "compiling_tests.rs"]
mod tests;
