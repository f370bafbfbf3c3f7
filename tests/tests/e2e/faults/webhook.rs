//! The webhook: dead, hanging, talking nonsense, or not to be trusted.

use std::time::Duration;

use failover_certs::issue_authority;
use failover_core::{Role, names};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::json;

use super::impostor::{Impostor, Says};
use super::{Bed, work};

#[rstest]
#[case::primary(Role::Primary)]
#[case::secondary(Role::Secondary)]
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_does_not_answer_stops_no_work_and_opens_no_standby(#[case] role: Role) {
    let bed = Bed::start(role).await;
    bed.site.webhook.kill();
    bed.holds("dead").await;
    bed.site.webhook.restart().unwrap();
    bed.recovers().await;

    // Connections are accepted, for it is there, and never answered.
    bed.site.webhook.signal(Signal::SIGSTOP);
    bed.holds("hanging").await;

    // And the controller as well: what the cluster needs to come up, and we ourselves, must come up without us.
    bed.site
        .controller
        .terminate(Duration::from_secs(10))
        .unwrap();
    bed.site
        .kubectl(&["create", "namespace", "flux-system"])
        .await
        .expect(0);
    // Whatever somebody may have labelled.
    let label = [
        "label",
        "namespace",
        "kube-system",
        "failover.dev/enforce=enabled",
    ];
    bed.site.kubectl(&label).await.expect(0);
    for namespace in ["kube-system", "flux-system"] {
        work::starts(&bed.site.client(), namespace, "needed").await;
    }
    // It has no Deployment where it is called by URL.
    let webhook = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../manifests/webhook-deployment.yaml"
    );
    bed.site.kubectl(&["apply", "-f", webhook]).await.expect(0);
    for own in ["failover-webhook", "failover-controller"] {
        work::restarts(&bed.site.client(), names::SYSTEM_NAMESPACE, own).await;
    }
    bed.holds("all-dead").await;
    bed.site.webhook.signal(Signal::SIGCONT);
    bed.site.controller.restart().unwrap();
    bed.recovers().await;
}

#[rstest]
#[case::primary(Role::Primary)]
#[case::secondary(Role::Secondary)]
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_answers_nonsense_stops_no_work_and_opens_no_standby(#[case] role: Role) {
    let bed = Bed::start(role).await;
    bed.site.webhook.kill();
    for (says, fault) in [
        (Says::Noise, "noise"),
        (Says::ServerError, "error"),
        (Says::ForAnother, "for-another"),
        (Says::Yes, "yes"),
    ] {
        let tls = bed.site.tls();
        let impostor = Impostor::start(bed.site.webhook_serving(), &tls, says).await;
        bed.holds(fault).await;
        assert!(impostor.answered() > 0, "{fault}: nobody asked it");
        impostor.stop().await;
    }
    bed.site.webhook.restart().unwrap();
    bed.recovers().await;

    // The controller puts a wrong authority right at once, so it is away.
    bed.site
        .controller
        .terminate(Duration::from_secs(10))
        .unwrap();
    let stranger = issue_authority(Timestamp::now()).unwrap().certificate;
    let bundle = json!([{
        "op": "replace", "path": "/webhooks/0/clientConfig/caBundle",
        "value": ByteString(stranger.into_bytes()),
    }]);
    let configuration = ["mutatingwebhookconfiguration", names::WEBHOOK_CONFIGURATION];
    let patch = ["--type=json", "-p", &bundle.to_string()];
    let arguments = [["patch"].as_slice(), &configuration, &patch].concat();
    bed.site.kubectl(&arguments).await.expect(0);
    bed.holds("wrong-authority").await;
    bed.site.controller.restart().unwrap();
    bed.recovers().await;
}
