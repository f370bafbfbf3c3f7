//! RoleRules, from a file to the enforced objects.

mod shipped;
mod widget;

use failover_core::api::RoleRule;
use failover_core::names;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use testbed::eventually;
use testbed::site::shared::Lease;
use testbed::site::{DEMOTE, Options, Output, PROMOTE, Site, assert_names, guards};

use widget::{
    apply_file, count, file, mode, refused_file, serve_widgets, size, widget, widget_rule,
};

/// A primary site with the namespace `shop`.
async fn primary() -> Site {
    let site = Site::start(Options::default()).await.unwrap();
    site.enrolled_namespace("shop").await;
    site
}

/// The same as a shared site, with the kind Widget.
async fn primary_with_widgets() -> Lease {
    let site = Site::shared(Options::default()).await.unwrap();
    site.enrolled_namespace("shop").await;
    serve_widgets(&site).await;
    site
}

/// Restores the site.
async fn release(site: Lease) {
    site.clear(&["shop"]).await;
    if rule(&site, "widgets").await.is_some() {
        let delete = ["rule", "delete", "widgets", "--yes"];
        site.failover(&delete).await.expect(0);
    }
    let delete = ["delete", "crd", "widgets.example.com"];
    site.kubectl(&delete).await.expect(0);
}

fn metadata(name: &str) -> Value {
    json!({"namespace": "shop", "name": name})
}

async fn apply_rules(site: &Site, arguments: &[&str]) -> Output {
    site.failover(&[&["rule", "apply", "--yes"], arguments].concat())
        .await
}

async fn stored(site: &Site, object: &Value) -> DynamicObject {
    let name = object["metadata"]["name"].as_str().unwrap();
    site.api_of(object).await.unwrap().get(name).await.unwrap()
}

fn at(object: &DynamicObject, pointer: &str) -> Value {
    let value = serde_json::to_value(object).unwrap();
    value.pointer(pointer).cloned().unwrap_or(Value::Null)
}

/// A merge patch that sets the field at a pointer, or removes it.
fn merge_patch(pointer: &str, value: Value) -> Value {
    pointer
        .rsplit('/')
        .filter(|segment| !segment.is_empty())
        .fold(
            value,
            |below, segment| json!({segment.replace("~1", "/"): below}),
        )
}

/// What a person wrote: everything but what the API server maintains.
fn essence(object: &DynamicObject) -> Value {
    let mut value = serde_json::to_value(object).unwrap();
    value.as_object_mut().unwrap().remove("status");
    let metadata = value["metadata"].as_object_mut().unwrap();
    for counted in ["resourceVersion", "generation", "managedFields"] {
        metadata.remove(counted);
    }
    value
}

fn version(object: &DynamicObject) -> String {
    object.metadata.resource_version.clone().unwrap()
}

async fn rule(site: &Site, name: &str) -> Option<RoleRule> {
    Api::all(site.client()).get_opt(name).await.unwrap()
}

/// Waits until a rule's condition Ready has this reason.
async fn until(site: &Site, name: &str, reason: &str) -> RoleRule {
    eventually(&format!("a rule with the reason {reason}"), || async {
        let rule = rule(site, name).await.ok_or("gone")?;
        let conditions = rule.status.clone().unwrap_or_default().conditions;
        let ready = conditions.iter().find(|c| c.type_ == "Ready");
        match ready {
            Some(ready) if ready.reason == reason => Ok(rule),
            other => Err(Box::leak(format!("{other:?}").into_boxed_str()) as &str),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_applied_on_a_standby_is_shown_first_and_takes_effect_at_once() {
    let site = primary_with_widgets().await;
    site.failover(DEMOTE).await.expect(0);
    site.apply_as_flux(&widget(3)).await.unwrap();

    let path = file(&widget_rule("widgets", &[count()]));
    let path = path.path().to_str().unwrap();
    let check = ["rule", "apply", "-f", path, "--dry-run=server"];
    let checked = site.document(&check).await;
    assert_eq!(checked["dryRun"], true, "{checked:#}");
    assert_eq!(
        checked["rules"][0]["changes"],
        json!([{"object": "shop/widgets/w", "changes": ["size 3 -> 0"]}]),
        "{checked:#}"
    );
    assert!(
        rule(&site, "widgets").await.is_none(),
        "a dry run stores nothing"
    );

    apply_rules(&site, &["-f", path]).await.expect(0);
    eventually("a passive widget", || async {
        let size = size(&stored(&site, &widget(3)).await);
        if size == json!(0) { Ok(()) } else { Err(size) }
    })
    .await;
    let listed = site.document(&["rule", "list"]).await;
    assert_eq!(
        listed["rules"][0]["kind"], "widgets.example.com",
        "{listed:#}"
    );

    site.webhook.kill();
    let scale = [
        "scale",
        "widgets.example.com/w",
        "-n",
        "shop",
        "--replicas=4",
    ];
    // API servers load a new policy within a moment.
    eventually("a refused scale", || async {
        let tried = site
            .kubectl(&[&scale[..], &["--dry-run=server"]].concat())
            .await;
        let refused = tried.stderr.contains("may not become more active");
        if refused { Ok(()) } else { Err(tried) }
    })
    .await;
    site.kubectl(&scale).await.expect(1);
    site.webhook.restart().unwrap();
    site.until_ready().await;
    site.failover(PROMOTE).await.expect(0);
    assert_eq!(size(&stored(&site, &widget(3)).await), json!(3));
    release(site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_standby_a_rule_is_tightened_at_once_and_loosened_or_deleted_with_the_promotion() {
    let site = primary_with_widgets().await;
    site.apply_as_flux(&widget(3)).await.unwrap();
    apply_file(&site, &widget_rule("widgets", &[count()]))
        .await
        .expect(0);
    site.failover(DEMOTE).await.expect(0);
    let rules: Api<DynamicObject> = site.api_of(&widget_rule("widgets", &[])).await.unwrap();
    let commit = async |fields: &[Value]| {
        let patch = Patch::Merge(json!({"spec": {"fields": fields, "scale": false}}));
        rules
            .patch("widgets", &PatchParams::default(), &patch)
            .await
            .unwrap();
    };

    // A commit replaces one field by another: both are enforced.
    commit(&[mode()]).await;
    eventually("both fields in force", || async {
        let object = stored(&site, &widget(3)).await;
        let now = (size(&object), at(&object, "/spec/mode"));
        if now == (json!(0), json!("idle")) {
            Ok(())
        } else {
            Err(now)
        }
    })
    .await;
    let after = site.apply_as_flux(&widget(3)).await.unwrap();
    assert_eq!(
        (size(&after), at(&after, "/spec/mode")),
        (json!(0), json!("idle"))
    );

    // Another commit deletes the rule: it is still enforced.
    let delete = ["rule", "delete", "widgets", "--yes"];
    let refused = site.failure(&delete, 3).await;
    assert_eq!(guards(&refused), [("site-secondary", "")], "{refused:#}");
    assert_names(&refused["guards"][0]["hint"], &["--when-primary"]);
    rules
        .delete("widgets", &DeleteParams::default())
        .await
        .unwrap();
    eventually("a rule with the reason Leaving", || async {
        let rule = rule(&site, "widgets")
            .await
            .ok_or_else(|| "gone".to_owned())?;
        let conditions = rule.status.unwrap_or_default().conditions;
        if conditions.iter().any(|c| c.reason == "Leaving") {
            Ok(())
        } else {
            Err(format!("{conditions:?}"))
        }
    })
    .await;
    let after = site.apply_as_flux(&widget(3)).await.unwrap();
    assert_eq!(
        (size(&after), at(&after, "/spec/mode")),
        (json!(0), json!("idle"))
    );
    its_finalizer_is_protected(&site).await;

    site.failover(PROMOTE).await.expect(0);
    eventually("the rule to be gone", || async {
        match rule(&site, "widgets").await {
            None => Ok(()),
            Some(rule) => Err(format!("{:?}", rule.status)),
        }
    })
    .await;
    let object = stored(&site, &widget(3)).await;
    assert_eq!(essence(&object)["spec"], widget(3)["spec"]);
    assert_eq!(object.metadata.annotations, None, "the record is consumed");
    let left = site.document(&["rule", "list"]).await;
    assert_eq!(left["leftBehind"], json!(["widgets"]), "{left:#}");
    site.failover(&delete).await.expect(0);
    let made = [
        "get",
        "clusterroles,validatingadmissionpolicies,validatingadmissionpolicybindings",
        "-l",
        names::ROLE_RULE_LABEL,
        "-o",
        "name",
    ];
    assert_eq!(site.kubectl(&made).await.expect(0).stdout, "");
    assert!(
        !webhook(&site)
            .await
            .contains(names::ROLE_RULES_WEBHOOK_NAME)
    );
    let delete = [
        "delete",
        "clusterrole/rule-editor",
        "clusterrolebinding/alice-edits",
    ];
    site.kubectl(&delete).await.expect(0);
    release(site).await;
}

/// Only a user with the verb `enforce` may remove the finalizer.
async fn its_finalizer_is_protected(site: &Site) {
    let strip = json!({"metadata": {"finalizers": null}});
    let bind = [
        "create",
        "clusterrolebinding",
        "alice-edits",
        "--clusterrole=rule-editor",
        "--user=alice",
    ];
    let editor = [
        "create",
        "clusterrole",
        "rule-editor",
        "--verb=patch,get",
        "--resource=rolerules.failover.dev",
    ];
    site.kubectl(&editor).await.expect(0);
    site.kubectl(&bind).await.expect(0);
    let alice = testbed::control_plane::client(&site.plane.user_kubeconfig("alice"))
        .await
        .unwrap();
    let hers: Api<RoleRule> = Api::all(alice);
    eventually("alice's right to patch", || async {
        hers.patch("widgets", &PatchParams::default(), &Patch::Merge(json!({})))
            .await
            .map(|_| ())
    })
    .await;
    let refused = hers
        .patch("widgets", &PatchParams::default(), &Patch::Merge(strip))
        .await;
    assert!(
        matches!(&refused, Err(kube::Error::Api(status)) if status.code == 403),
        "{refused:?}"
    );
}

async fn webhook(site: &Site) -> String {
    let get = [
        "get",
        "mutatingwebhookconfiguration",
        names::WEBHOOK_CONFIGURATION,
        "-o",
        "json",
    ];
    site.kubectl(&get).await.expect(0).stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_reports_what_is_missing_and_apply_present_creates_it() {
    let site = primary_with_widgets().await;
    // It comes from Git, so its policy and rights are missing.
    site.apply_as_flux(&widget_rule("widgets", &[count()]))
        .await
        .unwrap();
    let rule = until(&site, "widgets", "RightsMissing").await;
    let message = serde_json::to_string(&rule.status.unwrap().conditions).unwrap();
    for missing in [
        "may not get, list, watch, patch",
        "webhook configuration",
        "policy widgets.example.com.failover.dev",
    ] {
        assert!(message.contains(missing), "{message}");
    }
    apply_rules(&site, &["--present"]).await.expect(0);
    until(&site, "widgets", "Accepted").await;

    let policy = [
        "delete",
        "validatingadmissionpolicy",
        "widgets.example.com.failover.dev",
    ];
    site.kubectl(&policy).await.expect(0);
    until(&site, "widgets", "BackstopMissing").await;
    apply_rules(&site, &["--present"]).await.expect(0);

    // Invalid rules are reported, too, and block nothing.
    let mut invalid = widget_rule(
        "invalid",
        &[json!({"pointer": "/status/size", "type": "integer", "passive": 0})],
    );
    invalid["spec"]["resource"] = json!("gadgets");
    site.apply_as_flux(&invalid).await.unwrap();
    until(&site, "invalid", "Invalid").await;
    site.apply_as_flux(&widget_rule("another", &[mode()]))
        .await
        .unwrap();
    until(&site, "another", "Taken").await;
    let refused = refused_file(&site, &widget_rule("third", &[mode()]), 3).await;
    assert_names(&refused["message"], &["third", "widgets.example.com"]);
    assert_names(&refused["next"], &["kubectl failover rule list"]);
    let refused = refused_file(&site, &invalid, 2).await;
    assert_names(&refused["message"], &["/status/size"]);
    site.failover(&["rule", "delete", "invalid", "another", "--yes"])
        .await
        .expect(0);
    until(&site, "widgets", "Accepted").await;
    release(site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_outlive_an_upgrade_and_an_uninstall() {
    let site = primary().await;
    serve_widgets(&site).await;
    apply_file(&site, &widget_rule("widgets", &[count()]))
        .await
        .expect(0);
    let configuration: Value = serde_json::from_str(&webhook(&site).await).unwrap();
    let url = configuration["webhooks"][0]["clientConfig"]["url"]
        .as_str()
        .unwrap()
        .to_owned();
    let install = [
        "install",
        "--site-name",
        "east",
        "--role",
        "primary",
        "--yes",
        "--webhook-url",
        &url,
    ];
    let trusted = |configuration: &str| {
        let configuration: Value = serde_json::from_str(configuration).unwrap();
        let webhooks = configuration["webhooks"].as_array().unwrap().clone();
        let bundles: Vec<_> = webhooks
            .iter()
            .map(|w| w["clientConfig"]["caBundle"].clone())
            .collect();
        bundles.len() == 3 && bundles[0].is_string() && bundles.iter().all(|b| *b == bundles[0])
    };
    eventually("every entry trusted", || async {
        let now = webhook(&site).await;
        if trusted(&now) { Ok(()) } else { Err(now) }
    })
    .await;

    site.failover(&install).await.expect(0);
    assert!(
        trusted(&webhook(&site).await),
        "an upgrade takes nothing away"
    );
    until(&site, "widgets", "Accepted").await;

    site.failover(&["uninstall", "--yes"]).await.expect(0);
    let rule_left = rule(&site, "widgets")
        .await
        .expect("RoleRules are a user's");
    assert_eq!(
        rule_left.metadata.finalizers, None,
        "no controller is left to remove it"
    );
    let made = [
        "get",
        "clusterroles,validatingadmissionpolicies",
        "-l",
        names::ROLE_RULE_LABEL,
        "-o",
        "name",
    ];
    assert_eq!(site.kubectl(&made).await.expect(0).stdout, "");

    site.failover(&[&install[..], &["--wait=false"]].concat())
        .await
        .expect(0);
    assert!(
        webhook(&site)
            .await
            .contains(names::ROLE_RULES_WEBHOOK_NAME)
    );
    assert_ne!(site.kubectl(&made).await.expect(0).stdout, "");
}
