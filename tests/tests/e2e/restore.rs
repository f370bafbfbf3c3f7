//! What a promotion restores: fields without us as their owner; and what restoring a backup of a standby does.

use failover_core::names::{CONTROLLER_MANAGER, RESTORE_ANNOTATION};
use kube::ResourceExt as _;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde_json::json;
use testbed::site::{DEMOTE, Options, PROMOTE, Site};
use testbed::{eventually, fixtures};

const NAMESPACE: &str = "shop";

/// Applies without force, so that a conflict of field managers fails.
async fn apply(site: &Site, replicas: i64) -> kube::Result<DynamicObject> {
    let manifest = fixtures::deployment(NAMESPACE, "web", replicas);
    let api = site.api_of(&manifest).await?;
    let unforced = PatchParams::apply("editor");
    api.patch("web", &unforced, &Patch::Apply(&manifest)).await
}

/// The webhook is dead at the demotion, and at the promotion once alive and once dead.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_promotion_the_controller_owns_no_field() {
    let site = Site::shared(Options::default()).await.unwrap();
    site.enrolled_namespace(NAMESPACE).await;
    apply(&site, 2).await.unwrap();
    for (comes_back, replicas) in [(true, 3), (false, 4)] {
        site.webhook.kill();
        site.failover(DEMOTE).await.expect(0);
        if comes_back {
            site.webhook.restart().unwrap();
            site.until_ready().await;
        }
        site.failover(PROMOTE).await.expect(0);
        let changed = apply(&site, replicas).await.unwrap();
        assert_eq!(changed.data["spec"]["replicas"], json!(replicas));
        let owners: Vec<_> = changed
            .managed_fields()
            .iter()
            .filter_map(|entry| entry.manager.as_deref())
            .collect();
        assert!(!owners.contains(&CONTROLLER_MANAGER), "{owners:?}");
        if !comes_back {
            site.webhook.restart().unwrap();
            site.until_ready().await;
        }
    }
    site.clear(&[NAMESPACE]).await;
}

fn of_standby(name: &str, record: Option<&str>) -> DynamicObject {
    let mut object = fixtures::deployment(NAMESPACE, name, 0);
    if let Some(record) = record {
        object["metadata"]["annotations"] = json!({RESTORE_ANNOTATION: record});
    }
    serde_json::from_value(object).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_standby_is_restored_on_a_primary_and_objects_without_a_record_are_reported()
{
    let site = Site::start(Options {
        controller: vec!["--sweep-every=500ms".to_owned()],
        ..Options::default()
    })
    .await
    .unwrap();
    site.enrolled_namespace(NAMESPACE).await;
    let api = site
        .api_of(&fixtures::deployment(NAMESPACE, "web", 0))
        .await
        .unwrap();
    let create = async |name: &str, record| {
        let object = of_standby(name, record);
        api.create(&PostParams::default(), &object).await.unwrap()
    };
    let record = Some(r#"{"/spec/replicas":3}"#);
    let restored = create("web", record).await;
    assert_eq!(restored.data["spec"]["replicas"], json!(3));
    assert!(!restored.annotations().contains_key(RESTORE_ANNOTATION));
    create("lost", None).await;

    let status = site.document(&["status"]).await;
    let passive = &status["namespaces"][0]["staysPassive"];
    let named: Vec<_> = passive
        .as_array()
        .unwrap()
        .iter()
        .map(|object| &object["object"])
        .collect();
    assert_eq!(named, ["shop/deployments/lost"]);

    site.webhook.kill();
    create("api", record).await;
    eventually("the sweeper to restore it", || async {
        let object = api.get("api").await.unwrap();
        if object.data["spec"]["replicas"] == 3
            && !object.annotations().contains_key(RESTORE_ANNOTATION)
        {
            Ok(())
        } else {
            Err(object)
        }
    })
    .await;
}
