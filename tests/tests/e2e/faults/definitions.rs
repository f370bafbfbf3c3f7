//! Our Site and CRDs are deleted, and CRDs of ruled kinds are missing or come later.

use failover_core::names::{self, RESTORE_ANNOTATION};
use failover_core::{Role, RuleSet};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use rstest::rstest;
use serde_json::{Value, json};
use testbed::site::{Options, PROMOTE, PROMOTE_VOLUMES, Site};
use testbed::{crds, eventually, fixtures};

use super::{Bed, NAMESPACE, QUICK, rule_of, swept_clean};
use crate::main_job::{DEMOTE, assert_passive, stored};

const OUR_CRDS: [&str; 3] = [
    "sites.failover.dev",
    "failoverpolicies.failover.dev",
    "rolerules.failover.dev",
];

#[rstest]
#[case::primary(Role::Primary)]
#[case::secondary(Role::Secondary)]
#[tokio::test(flavor = "multi_thread")]
async fn a_site_whose_definition_is_lost_keeps_its_role(#[case] role: Role) {
    let mut bed = Bed::start(role).await;
    let roles = effective_roles(&bed.site).await;

    let refused = bed.site.kubectl(&["delete", "site", names::SITE]).await;
    assert!(
        refused.stderr.contains("failover.dev/allow-deletion=true"),
        "{refused:?}"
    );
    let allow = [
        "annotate",
        "site",
        names::SITE,
        "failover.dev/allow-deletion=true",
    ];
    bed.site.kubectl(&allow).await.expect(0);
    bed.site
        .kubectl(&["delete", "site", names::SITE])
        .await
        .expect(0);
    bed.assert_unaffected("no-site").await;
    restart_both(&mut bed.site).await;
    bed.assert_unaffected("no-site-from-the-start").await;
    assert_eq!(effective_roles(&bed.site).await, roles);
    reinstall(&bed).await;
    bed.assert_recovers().await;

    let delete = [["delete", "crd"].as_slice(), &OUR_CRDS].concat();
    bed.site.kubectl(&delete).await.expect(0);
    bed.assert_unaffected("no-crds").await;
    restart_both(&mut bed.site).await;
    bed.assert_unaffected("no-crds-from-the-start").await;
    // An admission policy that cannot read its parameter must not block the cluster.
    bed.site
        .kubectl(&["create", "namespace", "another"])
        .await
        .expect(0);
    assert_eq!(effective_roles(&bed.site).await, roles);
    reinstall(&bed).await;
    bed.assert_recovers().await;

    if role == Role::Secondary {
        bed.site.failover(PROMOTE_VOLUMES).await.expect(0);
        let web = stored(&bed.site, &fixtures::deployment(NAMESPACE, "web", 3)).await;
        assert_eq!(web.data["spec"]["replicas"], json!(3));
        assert!(
            !web.metadata
                .annotations
                .unwrap_or_default()
                .contains_key(RESTORE_ANNOTATION)
        );
    }
}

/// The labels that enforcement depends on.
async fn effective_roles(site: &Site) -> Value {
    let namespaces: Api<Namespace> = Api::all(site.client());
    let namespace = namespaces.get_metadata(NAMESPACE).await.unwrap();
    json!(namespace.metadata.labels)
}

/// Restarts webhook and controller, as after a crash: they know only what the cluster stores.
async fn restart_both(site: &mut Site) {
    site.webhook.restart().unwrap();
    site.controller.kill();
    site.controller.restart().unwrap();
    eventually("a webhook that answers", || async {
        let answer = testbed::admin::get(site.webhook_admin(), "/readyz").await;
        match answer {
            Ok(answer) if answer.starts_with("HTTP/1.0 200") => Ok(()),
            other => Err(format!("{other:?}\n{}", site.webhook.log_tail())),
        }
    })
    .await;
}

async fn reinstall(bed: &Bed) {
    let url = format!(
        "https://{}{}",
        bed.site.webhook_serving(),
        names::WEBHOOK_PATH
    );
    let role = bed.role.to_string();
    let mut install = vec![
        "install",
        "--site-name",
        "east",
        "--yes",
        "--wait=false",
        "--webhook-url",
        &url,
    ];
    install.extend(["--role", &role]);
    bed.site.failover(&install).await.expect(0);
    if bed.role == Role::Secondary {
        // The transition of a new Site waits for volumes, which nobody replicates here.
        bed.site.failover(DEMOTE).await.expect(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_that_are_not_served_do_no_harm_and_are_enforced_once_they_are() {
    let site = Site::start(Options {
        foreign_kinds: false,
        controller: QUICK.map(str::to_owned).to_vec(),
        ..Options::default()
    })
    .await
    .unwrap();
    site.enrolled_namespace(NAMESPACE).await;
    let (own, foreign): (Vec<_>, Vec<_>) = fixtures::every_kind(NAMESPACE)
        .into_iter()
        .partition(|manifest| !is_foreign(manifest));
    for manifest in &own {
        site.apply_as_flux(manifest).await.unwrap();
    }
    site.failover(DEMOTE).await.expect(0);

    // Some are created while the webhook runs, and pass it.
    crds::apply(&site.plane).await.unwrap();
    for manifest in &foreign {
        assert_passive(&site.apply_as_flux(manifest).await.unwrap());
    }
    // Writes that bypass it are refused, as for any other kind.
    site.webhook.kill();
    let late = fixtures::volume_replication(NAMESPACE, "late");
    match site.apply_as_flux(&late).await {
        Err(kube::Error::Api(status)) if status.code == 403 => {}
        other => panic!("expected 403, got {other:?}"),
    }
    site.webhook.restart().unwrap();
    swept_clean(&site, 2).await;

    site.failover(PROMOTE_VOLUMES).await.expect(0);
    for manifest in own.iter().chain(&foreign) {
        let object = stored(&site, manifest).await;
        let annotations = object.metadata.annotations.clone().unwrap_or_default();
        assert!(!annotations.contains_key(RESTORE_ANNOTATION), "{object:?}");
    }

    println!("the CRDs are deleted with all their objects");
    let foreign_crds: Vec<String> = RuleSet::built_in()
        .iter()
        .filter(|rule| rule.group.contains('.'))
        .map(failover_core::Rule::group_resource)
        .collect();
    let mut delete = vec!["delete", "crd"];
    delete.extend(foreign_crds.iter().map(String::as_str));
    site.kubectl(&delete).await.expect(0);
    site.failover(DEMOTE).await.expect(0);
    for manifest in &own {
        assert_passive(&stored(&site, manifest).await);
    }
    site.until_ready().await;

    println!("the CRDs come back on a primary, where the objects stay as written");
    site.failover(PROMOTE).await.expect(0);
    crds::apply(&site.plane).await.unwrap();
    let mut written = Vec::new();
    for manifest in &foreign {
        written.push(site.apply_as_flux(manifest).await.unwrap());
    }
    swept_clean(&site, 2).await;
    for (manifest, written) in foreign.iter().zip(&written) {
        let object = stored(&site, manifest).await;
        assert_eq!(
            object.metadata.resource_version,
            written.metadata.resource_version
        );
        let value = serde_json::to_value(&object).unwrap();
        for field in &rule_of(manifest).fields {
            // A field that it does not set may have a default.
            if let Some(named) = field.pointer.lookup(manifest) {
                assert_eq!(field.pointer.lookup(&value), Some(named), "{value}");
            }
        }
    }
}

fn is_foreign(manifest: &Value) -> bool {
    let version = manifest["apiVersion"].as_str().unwrap();
    version
        .split_once('/')
        .is_some_and(|(group, _)| group.contains('.'))
}
