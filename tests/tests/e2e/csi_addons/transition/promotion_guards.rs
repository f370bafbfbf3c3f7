//! The guards before `primary` is written to a volume, since its driver then forces a promotion.

use testbed::csi_addons::{Answer, Code, Rpc};
use testbed::site::guards;

use super::{Bed, VOLUME, Wait};

const DEGRADED: &str = "volume-degraded=shop/volumereplications/data";
const NOT_SYNCED: &str = "volume-not-synced=shop/volumereplications/data";

#[tokio::test(flavor = "multi_thread")]
async fn a_degraded_and_resyncing_volume_is_promoted_only_if_overridden_by_name() {
    let bed = Bed::start("secondary", Wait::Long).await;
    let volume = bed.volume().await;
    volume.answers(Rpc::Resync, &[Answer::NotReady]);
    bed.apply_as_flux(&volume).await;
    bed.deploy().await;
    volume.until_asked(Rpc::Resync, 1).await;
    volume.until_reported("Resyncing", "True").await;

    for (overrides, holding) in [
        (
            [].as_slice(),
            ["volume-degraded", "volume-not-synced"].as_slice(),
        ),
        (&[DEGRADED], &["volume-not-synced"]),
        (&[NOT_SYNCED], &["volume-degraded"]),
    ] {
        let mut order = vec!["promote"];
        order.extend(overrides.iter().flat_map(|name| ["--override", name]));
        let refused = bed.refusal(&order, 3).await;
        let expected: Vec<_> = holding.iter().map(|guard| (*guard, VOLUME)).collect();
        assert_eq!(guards(&refused), expected, "{refused:#}");
        assert_eq!(
            volume.stored().await["spec"]["replicationState"],
            "secondary"
        );
    }

    let force = [Answer::Fails(Code::FailedPrecondition), Answer::Done];
    volume.answers(Rpc::Promote, &force);
    bed.order(&["promote", "--override", DEGRADED, "--override", NOT_SYNCED])
        .await
        .expect(0);
    assert_eq!(
        volume.call_names()[3..],
        ["Enable", "Promote", "Promote by force"]
    );
    bed.assert_active().await;
}
