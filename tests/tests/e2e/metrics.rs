//! The metrics of both processes while a site is demoted and promoted.

use failover_core::Layer;
use testbed::exposition::{Family, complaints, parse, value};
use testbed::site::{DEMOTE, Options, PROMOTE_VOLUMES, Site};
use testbed::{admin, eventually, fixtures};

async fn scrape(address: &str) -> Vec<Family> {
    let answer = admin::get(address, "/metrics").await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"),
        "{head}"
    );
    assert!(
        head.contains("application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    parse(body).unwrap_or_else(|error| panic!("{error}\n{body}"))
}

async fn of_controller(site: &Site) -> Vec<Family> {
    scrape(&site.controller_admin()).await
}

/// 0 if nothing was counted yet.
fn count(families: &[Family], name: &str, labels: &[(&str, &str)]) -> f64 {
    value(families, name, labels).unwrap_or_default()
}

#[track_caller]
fn assert_value(families: &[Family], name: &str, labels: &[(&str, &str)], wanted: f64) {
    let is = value(families, name, labels);
    assert_eq!(is, Some(wanted), "{name}{labels:?}");
}

/// Asserts the role that the metrics show for the site and every layer.
#[track_caller]
fn assert_shown_as(families: &[Family], role: &str, other: &str) {
    for (role, shown) in [(role, 1.0), (other, 0.0)] {
        let labels = [("role", role), ("site", "east")];
        assert_value(families, "failover_site_role", &labels, shown);
        for layer in Layer::ALL {
            let labels = [("layer", layer.as_str()), ("role", role)];
            assert_value(families, "failover_layer_role", &labels, shown);
        }
    }
    assert_value(families, "failover_site_phase", &[("phase", "Stable")], 1.0);
    assert_value(
        families,
        "failover_site_phase",
        &[("phase", "Stalled")],
        0.0,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_follow_a_transition_and_prometheus_naming_conventions() {
    let site = Site::start(Options::default()).await.unwrap();
    site.enrolled_namespace("shop").await;
    let manifests = fixtures::every_kind("shop");
    for manifest in &manifests {
        site.apply_as_flux(manifest).await.unwrap();
    }
    site.until_ready().await;
    let before = of_controller(&site).await;
    assert_shown_as(&before, "primary", "secondary");
    assert_value(&before, "failover_leader", &[], 1.0);
    assert_value(&before, "failover_held_objects", &[], 0.0);

    // Nothing replicates the volumes here, and no override is given.
    let stalling = ["demote", "--yes", "--reason=drill", "--timeout=15s"];
    site.failover(&stalling).await.expect(4);
    let stalled = of_controller(&site).await;
    assert_value(
        &stalled,
        "failover_site_phase",
        &[("phase", "Stalled")],
        1.0,
    );
    let refusal = [("guard", "replication-unconfirmed")];
    assert_value(&stalled, "failover_guard_refusals_total", &refusal, 1.0);

    site.failover(DEMOTE).await.expect(0);
    let demoted = eventually("a sweep over all forced objects", || async {
        let now = of_controller(&site).await;
        let forced = count(&now, "failover_held_objects", &[]);
        // Kustomizations are ruled only where a policy names them.
        let ruled = manifests
            .iter()
            .filter(|m| m["kind"] != "Kustomization")
            .count();
        if forced.to_string() == ruled.to_string() {
            Ok(now)
        } else {
            Err((forced, ruled))
        }
    })
    .await;
    assert_shown_as(&demoted, "secondary", "primary");
    assert_value(&demoted, "failover_nonconforming_objects", &[], 0.0);
    let transitions = |outcome| [("outcome", outcome), ("to", "secondary")];
    for outcome in ["succeeded", "superseded"] {
        let name = "failover_transition_duration_seconds_count";
        assert_value(&demoted, name, &transitions(outcome), 1.0);
    }
    for step in [
        "guards",
        "traffic",
        "gitops",
        "workloads",
        "podsGone",
        "volumes",
        "replication",
    ] {
        let labels = [("step", step), ("to", "secondary")];
        let took = count(&demoted, "failover_step_duration_seconds_count", &labels);
        assert!(took >= 1.0, "{step}");
    }
    let by_webhook = [("by", "webhook")];
    let rewritten = |families| count(families, "failover_objects_rewritten_total", &by_webhook);
    assert!(rewritten(&demoted) >= count(&demoted, "failover_held_objects", &[]));

    site.failover(PROMOTE_VOLUMES).await.expect(0);
    let promoted = eventually("a sweep that finds no forced object", || async {
        let now = of_controller(&site).await;
        match count(&now, "failover_held_objects", &[]) {
            0.0 => Ok(now),
            forced => Err(forced),
        }
    })
    .await;
    assert_shown_as(&promoted, "primary", "secondary");
    let epoch = count(&before, "failover_epoch", &[]);
    assert_value(&promoted, "failover_epoch", &[], epoch + 1.0);
    let sweeps = |families| count(families, "failover_sweep_duration_seconds_count", &[]);
    assert!(sweeps(&promoted) > sweeps(&demoted) && sweeps(&demoted) > sweeps(&before));

    let webhook = scrape(&site.webhook_admin()).await;
    let created = [
        ("operation", "CREATE"),
        ("outcome", "unchanged"),
        ("resource", "deployments"),
    ];
    assert!(count(&webhook, "failover_webhook_requests_total", &created) >= 1.0);
    let changed = [
        ("operation", "UPDATE"),
        ("outcome", "changed"),
        ("resource", "deployments"),
    ];
    assert!(count(&webhook, "failover_webhook_requests_total", &changed) >= 2.0);
    assert_expire_together(&promoted, &webhook);
    for (families, prefix) in [(&promoted, "failover_"), (&webhook, "failover_webhook_")] {
        let complaints: Vec<_> = families
            .iter()
            .flat_map(|f| complaints(f, prefix))
            .collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
    assert_documented(&promoted);
    assert_documented(&webhook);
}

/// Asserts that controller and webhook report the expiry of the same certificate.
#[track_caller]
fn assert_expire_together(controller: &[Family], webhook: &[Family]) {
    let leaf = [("certificate", "leaf")];
    let issued = value(
        controller,
        "failover_certificate_expiry_timestamp_seconds",
        &leaf,
    );
    let served = value(
        webhook,
        "failover_webhook_certificate_expiry_timestamp_seconds",
        &[],
    );
    assert_eq!(issued, served);
    let ca = value(
        controller,
        "failover_certificate_expiry_timestamp_seconds",
        &[("certificate", "ca")],
    );
    assert!(ca > issued, "{ca:?} {issued:?}");
}

/// Asserts that the page for operators names every metric.
#[track_caller]
fn assert_documented(families: &[Family]) {
    let page = std::fs::read_to_string(testbed::workspace().join("docs/metrics.md")).unwrap();
    for Family { name, kind, .. } in families {
        let name = match kind.as_str() {
            "counter" => format!("`{name}_total`"),
            "info" => format!("`{name}_info`"),
            _ => format!("`{name}`"),
        };
        assert!(page.contains(&name), "docs/metrics.md lacks {name}");
    }
}
