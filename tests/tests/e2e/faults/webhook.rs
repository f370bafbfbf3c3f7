//! The webhook: dead, hanging, with invalid answers, or with an untrusted certificate.

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
async fn a_webhook_that_does_not_answer_blocks_no_work_and_activates_no_standby(
    #[case] role: Role,
) {
    let bed = Bed::start(role).await;
    bed.site.webhook.kill();
    bed.assert_unaffected("dead").await;
    bed.site.webhook.restart().unwrap();
    bed.assert_recovers().await;

    // Connections are accepted but never answered.
    bed.site.webhook.signal(Signal::SIGSTOP);
    bed.assert_unaffected("hanging").await;

    // The controller stops as well: cluster components and our own Deployments must start without either.
    bed.site
        .controller
        .terminate(Duration::from_secs(10))
        .unwrap();
    bed.site
        .kubectl(&["create", "namespace", "flux-system"])
        .await
        .expect(0);
    // Even if somebody labels it.
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
    // With the webhook at a URL there is no Deployment of it.
    let webhook = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../manifests/webhook-deployment.yaml"
    );
    bed.site.kubectl(&["apply", "-f", webhook]).await.expect(0);
    for own in ["failover-webhook", "failover-controller"] {
        work::restarts(&bed.site.client(), names::SYSTEM_NAMESPACE, own).await;
    }
    bed.assert_unaffected("all-dead").await;
    bed.site.webhook.signal(Signal::SIGCONT);
    bed.site.controller.restart().unwrap();
    bed.assert_recovers().await;
}

#[rstest]
#[case::primary(Role::Primary)]
#[case::secondary(Role::Secondary)]
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_answers_nonsense_blocks_no_work_and_activates_no_standby(
    #[case] role: Role,
) {
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
        bed.assert_unaffected(fault).await;
        assert!(impostor.answered() > 0, "{fault}: nobody asked it");
        impostor.stop().await;
    }
    bed.site.webhook.restart().unwrap();
    bed.assert_recovers().await;

    // The controller would repair a wrong authority at once, so it is stopped.
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
    bed.assert_unaffected("wrong-authority").await;
    bed.site.controller.restart().unwrap();
    bed.assert_recovers().await;
}
