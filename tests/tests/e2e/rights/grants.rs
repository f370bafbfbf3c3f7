//! The permissions of the shipped roles, and those that requests have used.

use std::collections::BTreeSet;

use failover_core::RuleSet;
use failover_core::checks::uncovered::external_dns::SOURCES;
use failover_core::checks::uncovered::traffic::ParentKind;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::Value;
use testbed::site::Site;

pub(super) async fn every_permission_is_used(site: &Site, events: &[Value]) {
    let mut used: BTreeSet<Grant> = events.iter().filter_map(used_grant).collect();
    // A server-side apply that creates an object needs both rights, and is recorded as one patch.
    let created = events
        .iter()
        .filter(|event| event["responseStatus"]["code"] == 201);
    let created: Vec<Grant> = created
        .filter_map(used_grant)
        .filter(|grant| grant.verb == "patch")
        .collect();
    used.extend(created.into_iter().map(|grant| Grant {
        verb: "create".to_owned(),
        ..grant
    }));
    let unused: Vec<Grant> = granted(site.client())
        .await
        .into_iter()
        .filter(|grant| {
            !ASKED_BY_POLICIES.contains(&grant.verb.as_str())
                && !is_for_people(grant)
                && !depends_on_served_kinds(grant)
                && !needs_a_conflict(grant)
        })
        .filter(|grant| !used.contains(grant))
        .collect();
    assert!(unused.is_empty(), "{unused:#?}");
}

/// One permission of a role.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Grant {
    role: String,
    verb: String,
    group: String,
    resource: String,
}

/// Verbs that no request uses: admission policies check whether a user has them.
const ASKED_BY_POLICIES: [&str; 1] = ["enforce"];

/// Permissions that are needed only after a conflict, which a run cannot produce reliably.
fn needs_a_conflict(grant: &Grant) -> bool {
    let ruled = RuleSet::built_in()
        .iter()
        .any(|rule| rule.group == grant.group && rule.resource == grant.resource);
    grant.verb == "get"
        && (grant.role == "failover-controller-rules"
            || (grant.role == "failover-controller" && ruled))
}

/// Permissions that people need beyond failing over; the manifests give the reasons.
fn is_for_people(grant: &Grant) -> bool {
    let managed_by_hand = ["failoverpolicies", "rolerules"].contains(&grant.resource.as_str());
    (grant.role == "failover-operator" || grant.role == "failover-viewer") && managed_by_hand
}

/// Kinds that are listed where they are served and have no rule, to find the names that they publish. This cluster serves
/// few of them.
fn depends_on_served_kinds(grant: &Grant) -> bool {
    let sources = SOURCES.map(|source| (source.group, source.resource));
    let parents = ParentKind::ALL.map(|kind| (ParentKind::GROUP, kind.resource()));
    let mut kinds = sources.into_iter().chain(parents);
    let granted = (grant.group.as_str(), grant.resource.as_str());
    let always = granted == ("", "services");
    grant.verb == "list" && !always && kinds.any(|kind| kind == granted)
}

/// The permission that a request used, from the reason of RBAC: `RBAC: allowed by ClusterRoleBinding "x" of ClusterRole "y"
/// to ...`.
fn used_grant(event: &Value) -> Option<Grant> {
    let reason = event["annotations"]["authorization.k8s.io/reason"].as_str()?;
    let role = reason.split(" of ").nth(1)?.split('"').nth(1)?.to_owned();
    let object = &event["objectRef"];
    let resource = object["resource"].as_str()?.to_owned();
    let resource = match object["subresource"].as_str() {
        Some(subresource) => format!("{resource}/{subresource}"),
        None => resource,
    };
    Some(Grant {
        role,
        verb: event["verb"].as_str()?.to_owned(),
        group: object["apiGroup"].as_str().unwrap_or_default().to_owned(),
        resource,
    })
}

/// All permissions of our roles.
async fn granted(client: Client) -> BTreeSet<Grant> {
    let mut grants = BTreeSet::new();
    let mut add = |role: &str, rules: Vec<PolicyRule>| {
        for rule in rules {
            for verb in &rule.verbs {
                for group in rule.api_groups.iter().flatten() {
                    for resource in rule.resources.iter().flatten() {
                        grants.insert(Grant {
                            role: role.to_owned(),
                            verb: verb.clone(),
                            group: group.clone(),
                            resource: resource.clone(),
                        });
                    }
                }
            }
        }
    };
    for name in [
        "failover-webhook",
        "failover-controller",
        "failover-controller-rules",
        "failover-operator",
        "failover-rules-viewer",
        "failover-viewer",
    ] {
        let role = Api::<ClusterRole>::all(client.clone())
            .get(name)
            .await
            .unwrap();
        add(name, role.rules.unwrap_or_default());
    }
    for role in Api::<Role>::all(client)
        .list(&ListParams::default())
        .await
        .unwrap()
    {
        let name = role.metadata.name.clone().unwrap();
        if name.starts_with("failover-") {
            add(&name, role.rules.unwrap_or_default());
        }
    }
    grants
}
