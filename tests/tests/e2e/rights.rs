//! The shipped roles are minimal: they allow every request of a day's work, and that work uses everything that they allow.
//!
//! The API server's audit log records each request with its user and the role that allowed it. Remove a rule from a role,
//! and `nothing_is_refused` fails with the request that needs it; add an unneeded one, and `every_permission_is_used`
//! fails with its name.

use std::collections::BTreeSet;
use std::time::Duration;

use failover_core::checks::uncovered::external_dns::SOURCES;
use failover_core::checks::uncovered::traffic::ParentKind;
use failover_core::{RuleSet, names};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use serde_json::Value;
use testbed::site::{DEMOTE, Options, PROMOTE_VOLUMES, Site};
use testbed::{crds, eventually, fixtures, identity};

const OPERATOR: &str = "alice";
const VIEWER: &str = "bob";
const PATIENCE: Duration = Duration::from_secs(30);

fn service_account(name: &str) -> String {
    format!("system:serviceaccount:{}:{name}", names::SYSTEM_NAMESPACE)
}

/// Lets each identity do all of its work on one site.
async fn a_days_work() -> Site {
    let mut site = Site::start(Options {
        audit: true,
        controller: vec!["--forget-after=16s".to_owned()],
        ..Options::default()
    })
    .await
    .unwrap();
    applications(&site).await;
    for (user, role) in [
        (OPERATOR, "failover-operator"),
        (OPERATOR, "failover-rules-viewer"),
        (VIEWER, "failover-viewer"),
        (VIEWER, "failover-rules-viewer"),
    ] {
        let (role, user_flag) = (format!("--clusterrole={role}"), format!("--user={user}"));
        let name = format!("{user}-{}", role.trim_start_matches("--clusterrole="));
        let bind = ["create", "clusterrolebinding", &name, &role, &user_flag];
        site.kubectl(&bind).await.expect(0);
    }
    operator_commands(&mut site).await;
    viewer_commands(&site).await;
    replicas_come_and_go(&mut site).await;
    site
}

async fn applications(site: &Site) {
    // A plan lists the objects of kinds whose shipped rule is not applied.
    crds::apply_of_shipped_rules(&site.plane).await.unwrap();
    for namespace in ["shop", "blog"] {
        let create = ["create", "namespace", namespace];
        site.kubectl(&create).await.expect(0);
        for manifest in fixtures::every_kind(namespace) {
            site.apply_as_flux(&manifest).await.unwrap();
        }
    }
    let ingress = serde_json::json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"namespace": "shop", "name": "shop"},
        "spec": {"defaultBackend": {"service": {"name": "shop", "port": {"number": 80}}}},
    });
    site.apply_as_flux(&ingress).await.unwrap();
    let rule = ["rule", "apply", "ingress-external-dns", "--yes"];
    site.failover(&rule).await.expect(0);
    let kustomization = fixtures::kustomization("shop", "apps");
    site.apply_as_flux(&kustomization).await.unwrap();
}

/// Everything an operator does, with and without the webhook: without it the sweeper writes.
async fn operator_commands(site: &mut Site) {
    let enroll = ["enroll", "shop", "blog", "--yes"];
    site.failover_as(OPERATOR, &enroll).await.expect(0);
    // A Kustomization is ruled only where a policy names it.
    let named = [("Kustomization", "apps")];
    let policy = fixtures::failover_policy("shop", "apps", None, &named);
    site.apply_as_person(&policy).await.unwrap();
    site.until_in_force("shop", "kustomizations/apps=site")
        .await;
    let plan = ["plan", "demote"];
    site.failover_as(OPERATOR, &plan).await.expect(0);
    an_ordered_set_that_is_stuck(site).await;
    site.failover_as(OPERATOR, DEMOTE).await.expect(0);
    site.failover_as(OPERATOR, &["status"]).await.expect(0);
    a_run_is_missed(site).await;
    site.webhook.terminate(PATIENCE).unwrap();
    site.failover_as(OPERATOR, PROMOTE_VOLUMES).await.expect(0);
    site.webhook.restart().unwrap();
    site.until_ready().await;
    let unenroll = ["unenroll", "blog", "--yes"];
    site.failover_as(OPERATOR, &unenroll).await.expect(0);
    a_name_is_forgotten(site).await;
}

async fn a_name_is_forgotten(site: &Site) {
    site.enrolled_namespace("retired").await;
    site.kubectl(&["delete", "namespace", "retired"])
        .await
        .expect(0);
    eventually("the name to be remembered", || async {
        let status = site.status().await;
        if status.deleted == ["retired"] {
            Ok(())
        } else {
            Err(status.deleted)
        }
    })
    .await;
    let unenroll = ["unenroll", "retired", "--yes"];
    site.failover_as(OPERATOR, &unenroll).await.expect(0);
    assert_eq!(site.status().await.deleted, [""; 0]);
}

/// One failed pod, and two that never become ready: the set's controller waits for the lower one before it deletes the
/// higher one.
async fn an_ordered_set_that_is_stuck(site: &Site) {
    for name in ["stuck-0", "stuck-1"] {
        let pod = serde_json::json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "shop", "name": name, "labels": {"app": "stuck"}},
            "spec": {"containers": [{"name": "main", "image": "example.org/stuck"}]},
        });
        site.apply_as_person(&pod).await.unwrap();
    }
    // A failed pod: only its node shows whether it may still run.
    let failed = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "shop", "name": "failed", "labels": {"failover.dev/enforce": "disabled"}},
        "spec": {"containers": [{"name": "main", "image": "example.org/failed"}]},
    });
    site.apply_as_person(&failed).await.unwrap();
    let phase = r#"{"status":{"phase":"Failed"}}"#;
    let patch = [
        "patch",
        "pod",
        "failed",
        "-n=shop",
        "--subresource=status",
        "--type=merge",
        "-p",
        phase,
    ];
    site.kubectl(&patch).await.expect(0);
    let set = fixtures::stateful_set("shop", "stuck", 2);
    site.apply_as_flux(&set).await.unwrap();
    eventually("the set to own both pods", || async {
        let owners = "-o=jsonpath={.items[*].metadata.ownerReferences[0].name}";
        let get = ["get", "pods", "-n=shop", "-l=app=stuck", owners];
        let owners = site.kubectl(&get).await.expect(0).stdout;
        if owners == "stuck stuck" {
            Ok(())
        } else {
            Err(owners)
        }
    })
    .await;
}

/// Backdates the last runs by years.
async fn a_run_is_missed(site: &Site) {
    let mark = r#"{"status":{"lastScheduleTime":"2020-01-01T00:00:00Z"}}"#;
    let all = ["get", "cronjobs", "-n=shop", "-o=name"];
    for cron_job in site.kubectl(&all).await.expect(0).stdout.lines() {
        let patch = [
            "patch",
            cron_job,
            "-n=shop",
            "--subresource=status",
            "--type=merge",
            "-p",
            mark,
        ];
        site.kubectl(&patch).await.expect(0);
    }
}

async fn viewer_commands(site: &Site) {
    site.failover_as(VIEWER, &["status"]).await.expect(0);
    let plan = ["plan", "demote"];
    site.failover_as(VIEWER, &plan).await.expect(0);
    for user in [OPERATOR, VIEWER] {
        let file = site.plane.user_kubeconfig(user);
        let kubeconfig = format!("--kubeconfig={}", file.display());
        for resource in ["sites", "site/cluster"] {
            let get = ["get", resource, &kubeconfig];
            site.kubectl(&get).await.expect(0);
        }
    }
}

/// A killed webhook leaves its Lease, which is deleted in time; a controller hands over.
async fn replicas_come_and_go(site: &mut Site) {
    site.webhook.kill();
    let leases: Api<Lease> = Api::namespaced(site.client(), names::ENFORCER_NAMESPACE);
    eventually("no stale Lease", || async {
        let left = leases
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .len();
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
    let second = site.second_controller().await.unwrap();
    site.controller.terminate(PATIENCE).unwrap();
    site.failover_as(OPERATOR, DEMOTE).await.expect(0);
    second.terminate(PATIENCE).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_roles_are_enough_and_no_more() {
    let site = a_days_work().await;
    let events = site.plane.audit();
    let identities = [
        service_account(names::WEBHOOK_SERVICE_ACCOUNT),
        service_account(names::CONTROLLER_SERVICE_ACCOUNT),
        OPERATOR.to_owned(),
        VIEWER.to_owned(),
    ];
    nothing_is_refused(&events, &identities);
    every_permission_is_used(&site, &events).await;
}

fn nothing_is_refused(events: &[Value], identities: &[String]) {
    let refused: BTreeSet<String> = events
        .iter()
        .filter(|event| {
            identities
                .iter()
                .any(|user| event["user"]["username"] == **user)
        })
        .filter(|event| event["annotations"]["authorization.k8s.io/decision"] == "forbid")
        .map(|event| {
            format!(
                "{} may not {} {}",
                event["user"]["username"], event["verb"], event["requestURI"]
            )
        })
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
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
fn after_a_conflict(grant: &Grant) -> bool {
    let ruled = RuleSet::built_in()
        .iter()
        .any(|rule| rule.group == grant.group && rule.resource == grant.resource);
    grant.verb == "get"
        && (grant.role == "failover-controller-rules"
            || (grant.role == "failover-controller" && ruled))
}

/// Permissions that people need beyond failing over; the manifests give the reasons.
fn by_hand(grant: &Grant) -> bool {
    let managed_by_hand = ["failoverpolicies", "rolerules"].contains(&grant.resource.as_str());
    (grant.role == "failover-operator" || grant.role == "failover-viewer") && managed_by_hand
}

/// Kinds that are listed where they are served and have no rule, to find the names that they publish. This cluster serves
/// few of them.
fn where_it_is_served(grant: &Grant) -> bool {
    let sources = SOURCES.map(|source| (source.group, source.resource));
    let parents = ParentKind::ALL.map(|kind| (ParentKind::GROUP, kind.resource()));
    let mut kinds = sources.into_iter().chain(parents);
    let granted = (grant.group.as_str(), grant.resource.as_str());
    let always = granted == ("", "services");
    grant.verb == "list" && !always && kinds.any(|kind| kind == granted)
}

async fn every_permission_is_used(site: &Site, events: &[Value]) {
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
                && !by_hand(grant)
                && !where_it_is_served(grant)
                && !after_a_conflict(grant)
        })
        .filter(|grant| !used.contains(grant))
        .collect();
    assert!(unused.is_empty(), "{unused:#?}");
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

#[tokio::test(flavor = "multi_thread")]
async fn the_webhook_can_write_nothing_but_its_lease() {
    let site = Site::shared(Options::default()).await.unwrap();
    let kubeconfig = identity::service_account(
        &site.plane,
        names::SYSTEM_NAMESPACE,
        names::WEBHOOK_SERVICE_ACCOUNT,
    )
    .await
    .unwrap();
    let client = testbed::control_plane::client(&kubeconfig).await.unwrap();
    let discovery = kube::Discovery::new(site.client()).run().await.unwrap();
    let mut allowed = BTreeSet::new();
    for group in discovery.groups() {
        for (resource, _) in group.recommended_resources() {
            for namespace in [
                "default",
                names::SYSTEM_NAMESPACE,
                names::ENFORCER_NAMESPACE,
                "kube-system",
            ] {
                for verb in ["create", "update", "patch", "delete", "deletecollection"] {
                    if may(&client, verb, &resource.group, &resource.plural, namespace).await {
                        allowed.insert(format!("{verb} {} in {namespace}", resource.plural));
                    }
                }
            }
        }
    }
    // Every authenticated user may create self-reviews, which store nothing.
    allowed.retain(|grant| !grant.starts_with("create self"));
    let leases: BTreeSet<String> = allowed
        .iter()
        .filter(|g| g.ends_with("leases in failover-enforcers"))
        .cloned()
        .collect();
    assert_eq!(allowed, leases, "nothing but leases where enforcers report");
    assert!(leases.contains("create leases in failover-enforcers"));

    // Real requests are refused, too.
    let error = Api::<ClusterRole>::all(client.clone())
        .delete("view", &kube::api::DeleteParams::default())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, kube::Error::Api(status) if status.code == 403),
        "{error:?}"
    );
    let lease: Api<Lease> = Api::namespaced(client, names::SYSTEM_NAMESPACE);
    let steal = kube::api::Patch::Merge(serde_json::json!({"spec": {"holderIdentity": "thief"}}));
    let error = lease
        .patch(
            names::LEADER_LEASE,
            &kube::api::PatchParams::default(),
            &steal,
        )
        .await
        .unwrap_err();
    assert!(
        matches!(&error, kube::Error::Api(status) if status.code == 403),
        "{error:?}"
    );
    eventually("the webhook's own lease", || async {
        let leases: Api<Lease> = Api::namespaced(site.client(), names::ENFORCER_NAMESPACE);
        leases.get("webhook-0").await.map(|_| ())
    })
    .await;
}

async fn may(client: &Client, verb: &str, group: &str, resource: &str, namespace: &str) -> bool {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                verb: Some(verb.to_owned()),
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                namespace: Some(namespace.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let answer = Api::all(client.clone())
        .create(&PostParams::default(), &review)
        .await
        .unwrap();
    answer.status.is_some_and(|status| status.allowed)
}
