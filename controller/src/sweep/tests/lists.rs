//! What a sweep lists, and how it handles lists that fail.

use super::*;

#[tokio::test]
async fn a_cluster_that_conforms_is_only_read() {
    let (api, namespaces) = cluster(Role::Secondary);
    api.put(WEB, deployment(0));
    api.put(
        "/apis/batch/v1/namespaces/shop/cronjobs/tick",
        json!({ "metadata": {}, "spec": { "suspend": true } }),
    );
    api.put(
        "/apis/apps/v1/namespaces/other/deployments/web",
        deployment(3),
    );
    let swept = sweep(&api, &namespaces).await.unwrap();
    assert_eq!(
        swept,
        Swept {
            total: 2,
            forced: 2,
            ..Swept::default()
        }
    );
    assert_eq!(api.take_writes(), [""; 0]);
}

#[tokio::test]
async fn every_page_is_read_and_every_object_on_it_swept() {
    let (api, namespaces) = cluster(Role::Secondary);
    for i in 0..600 {
        api.put(&format!("{WEB}-{i:03}"), deployment(2));
    }
    let swept = sweep(&api, &namespaces).await.unwrap();
    assert_eq!(
        (swept.total, swept.readmitted, swept.left, swept.names.len()),
        (600, 600, 0, 10)
    );
    let pages = api
        .take_asked()
        .into_iter()
        .filter(|a| a.path.ends_with("/deployments") && a.query.contains("limit=250"));
    assert_eq!(pages.count(), 6, "three pages, before and after");
}

#[tokio::test]
async fn a_list_whose_token_expires_is_restarted_and_finally_read_without_pages() {
    let (api, namespaces) = cluster(Role::Secondary);
    for i in 0..300 {
        api.put(&format!("{WEB}-{i:03}"), deployment(0));
    }
    api.set_fault(|asked, _| {
        asked
            .query
            .contains("continue=")
            .then(|| status(410, "the token is too old"))
    });
    assert_eq!(sweep(&api, &namespaces).await.unwrap().total, 300);
    let lists = api
        .take_asked()
        .into_iter()
        .filter(|a| a.path.ends_with("/deployments"))
        .collect::<Vec<_>>();
    assert!(!lists.last().unwrap().query.contains("limit="), "{lists:?}");
}

#[tokio::test]
async fn a_kind_that_may_not_be_listed_does_not_count_as_conforming() {
    let (api, namespaces) = cluster(Role::Secondary);
    api.put(WEB, deployment(0));
    api.set_fault(|asked, _| {
        asked
            .path
            .ends_with("/cronjobs")
            .then(|| status(403, "cronjobs.batch is forbidden"))
    });
    let swept = sweep(&api, &namespaces).await.unwrap();
    assert_blocked(
        &swept,
        "shop/cronjobs/*",
        &["give the controller get, list and patch"],
    );
}

#[tokio::test]
async fn an_empty_discovery_does_not_count_as_conforming() {
    let (api, namespaces) = cluster(Role::Secondary);
    api.put(WEB, deployment(3));
    api.set_fault(|asked, _| {
        (asked.path == "/apis")
            .then(|| http::Response::new(kube::client::Body::from(br#"{"groups":[]}"#.to_vec())))
    });
    assert!(matches!(
        sweep(&api, &namespaces).await,
        Err(SweepError::Discovery(DiscoveryError::Incomplete(_)))
    ));
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_aggregated_api_blocks_only_its_own_kind() {
    let (api, namespaces) = cluster(Role::Secondary);
    api.put(WEB, deployment(3));
    api.set_fault(|asked, _| match asked.path.as_str() {
        "/apis" => Some(ok(&json!({ "items": [
            { "metadata": { "name": "apps" }, "versions": [{ "version": "v1", "resources": [
                { "resource": "deployments", "scope": "Namespaced" }] }] },
            { "metadata": { "name": "example.com" }, "versions": [{ "version": "v1", "freshness": "Stale" }] },
        ] }))),
        path if path.starts_with("/apis/example.com/") => Some(status(503, "service unavailable")),
        _ => None,
    });
    let widgets: failover_core::api::RoleRuleSpec = serde_json::from_value(json!({
        "group": "example.com", "version": "v1", "kind": "Widget", "resource": "widgets", "layer": "workloads",
        "fields": [{ "pointer": "/spec/on", "type": "boolean", "passive": false }]
    }))
    .unwrap();
    let rule = failover_core::api::RoleRule::new("widgets", widgets);
    let (rules, _) = RuleSet::with_role_rules([&rule]);
    let sweeper = Sweeper::new(api.client(), 4);
    let swept = sweeper
        .sweep(&namespaces, &rules, &Progress::default())
        .await
        .unwrap();
    assert_eq!(api.get(WEB)["spec"]["replicas"], 0, "the others are swept");
    assert_eq!(swept.left, 1);
    assert_eq!(swept.blocked[0].object.as_deref(), Some("shop/widgets/*"));
}
