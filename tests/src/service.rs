//! Plays the endpoint controller for the webhook's Service, whose pods are processes here.

use std::net::IpAddr;

use failover_core::names;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

/// The port of the webhook's pods.
pub const POD_PORT: u16 = 8443;

/// Makes these addresses, and no others, the ready endpoints of the webhook's Service.
pub async fn set_endpoints(client: &Client, ready: &[IpAddr]) -> kube::Result<()> {
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "namespace": names::SYSTEM_NAMESPACE, "name": "failover-webhook-testbed",
            // The real controller ignores slices that others manage.
            "labels": {
                "kubernetes.io/service-name": names::WEBHOOK_SERVICE,
                "endpointslice.kubernetes.io/managed-by": "testbed",
            },
        },
        "addressType": "IPv4",
        "ports": [{"name": "https", "port": POD_PORT, "protocol": "TCP"}],
        "endpoints": ready.iter().map(|address| json!({
            "addresses": [address], "conditions": {"ready": true, "serving": true, "terminating": false},
        })).collect::<Vec<_>>(),
    });
    let api: Api<EndpointSlice> = Api::namespaced(client.clone(), names::SYSTEM_NAMESPACE);
    let params = PatchParams::apply("testbed").force();
    api.patch("failover-webhook-testbed", &params, &Patch::Apply(slice))
        .await
        .map(drop)
}
