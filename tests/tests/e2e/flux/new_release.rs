//! An application that is added while the site is on standby, and was never installed here.

use serde_json::json;
use testbed::fixtures;
use testbed::site::Deadlines;

use super::{Fed, NAMESPACE, release};
use crate::main_job::{DEMOTE, stored};

#[tokio::test(flavor = "multi_thread")]
async fn traffic_waits_for_what_a_release_installs_and_not_for_what_cannot_become_available() {
    let fed = Fed::start_with(Deadlines {
        available: "2m",
        ..Deadlines::default()
    })
    .await;
    let (site, flux) = (&fed.site, &fed.flux);
    site.failover(DEMOTE).await.expect(0);
    fed.write_chart();
    fed.write(&release(NAMESPACE, "new", 2));
    flux.follow("apps", "./apps", &json!({})).await.unwrap();
    flux.push("a new application").await.unwrap();
    let mut paused = fixtures::deployment(NAMESPACE, "paused", 1);
    paused["spec"]["paused"] = json!(true);
    let mut leaving = fixtures::deployment(NAMESPACE, "leaving", 1);
    leaving["metadata"]["finalizers"] = json!(["example.org/held"]);
    for manifest in [&paused, &leaving] {
        site.apply_as_person(manifest).await.unwrap();
    }
    let delete = [
        "delete",
        "-n",
        NAMESPACE,
        "deployment/leaving",
        "--wait=false",
    ];
    site.kubectl(&delete).await.expect(0);

    let promote = [
        "promote",
        "--yes",
        "--override=peer-unknown",
        "--reason=drill",
    ];
    site.failover(&promote).await.expect(0);
    // The promotion ends with live traffic, so the release is available.
    let installed = stored(site, &fixtures::deployment(NAMESPACE, "new", 2)).await;
    assert_eq!(installed.data["status"]["availableReplicas"], json!(2));

    let free = json!({"metadata": {"finalizers": null}}).to_string();
    let patch = [
        "patch",
        "-n",
        NAMESPACE,
        "deployment/leaving",
        "--type=merge",
        "-p",
        &free,
    ];
    site.kubectl(&patch).await.expect(0);
}
