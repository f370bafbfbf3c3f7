//! The rules that come with us: the files of `manifests/rules/`, embedded as they are.

#[rustfmt::skip] // one file, one line
pub(crate) const RULES: [(&str, &str); 18] = [
    ("argo-rollout", include_str!("../../manifests/rules/argo-rollout.yaml")),
    ("contour-httpproxy-external-dns", include_str!("../../manifests/rules/contour-httpproxy-external-dns.yaml")),
    ("flagger-canary", include_str!("../../manifests/rules/flagger-canary.yaml")),
    ("grpcroute-external-dns", include_str!("../../manifests/rules/grpcroute-external-dns.yaml")),
    ("httproute-external-dns", include_str!("../../manifests/rules/httproute-external-dns.yaml")),
    ("ingress-external-dns", include_str!("../../manifests/rules/ingress-external-dns.yaml")),
    ("istio-gateway-external-dns", include_str!("../../manifests/rules/istio-gateway-external-dns.yaml")),
    ("keda-scaledjob", include_str!("../../manifests/rules/keda-scaledjob.yaml")),
    ("keda-scaledobject", include_str!("../../manifests/rules/keda-scaledobject.yaml")),
    ("kubevirt-virtualmachine", include_str!("../../manifests/rules/kubevirt-virtualmachine.yaml")),
    ("openshift-route-external-dns", include_str!("../../manifests/rules/openshift-route-external-dns.yaml")),
    ("service-external-dns", include_str!("../../manifests/rules/service-external-dns.yaml")),
    ("skipper-routegroup-external-dns", include_str!("../../manifests/rules/skipper-routegroup-external-dns.yaml")),
    ("tcproute-external-dns", include_str!("../../manifests/rules/tcproute-external-dns.yaml")),
    ("tlsroute-external-dns", include_str!("../../manifests/rules/tlsroute-external-dns.yaml")),
    ("udproute-external-dns", include_str!("../../manifests/rules/udproute-external-dns.yaml")),
    ("volsync-replicationdestination", include_str!("../../manifests/rules/volsync-replicationdestination.yaml")),
    ("volsync-replicationsource", include_str!("../../manifests/rules/volsync-replicationsource.yaml")),
];
