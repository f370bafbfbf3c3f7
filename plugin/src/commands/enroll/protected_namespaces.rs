//! Namespaces that others depend on: enrolled only on purpose.

/// What lives there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sensitive {
    pub what: &'static str,
    /// Even then only for what is named: Flux must go on reconciling on a standby.
    pub policy_only: bool,
}

/// By exact name, or by the beginning of the name where it ends in a hyphen.
#[rustfmt::skip] // a table reads as a table
const NAMESPACES: [(&str, &str); 33] = [
    ("flux-system", "Flux"),
    ("argocd", "Argo CD"),
    ("cert-manager", "cert-manager"),
    ("keda", "KEDA"),
    ("external-dns", "external-dns"),
    ("external-secrets", "External Secrets"),
    ("istio-", "Istio"),
    ("linkerd", "Linkerd"),
    ("linkerd-", "Linkerd"),
    ("gatekeeper-system", "Gatekeeper"),
    ("kyverno", "Kyverno"),
    ("kubewarden", "Kubewarden"),
    ("ingress-nginx", "the ingress controller"),
    ("metallb-system", "MetalLB"),
    ("cilium", "the network (Cilium)"),
    ("cilium-", "the network (Cilium)"),
    ("calico-", "the network (Calico)"),
    ("tigera-operator", "the network (Calico)"),
    ("antrea-", "the network (Antrea)"),
    ("multus", "the network (Multus)"),
    ("rook-ceph", "storage (Rook)"),
    ("longhorn-system", "storage (Longhorn)"),
    ("openebs", "storage (OpenEBS)"),
    ("portworx", "storage (Portworx)"),
    ("csi-", "storage (CSI)"),
    ("snapshot-controller", "storage (snapshots)"),
    ("volume-replication-system", "volume replication"),
    ("local-path-storage", "storage (local path)"),
    ("kubevirt", "KubeVirt"),
    ("cdi", "KubeVirt's data importer"),
    ("openshift-", "OpenShift"),
    ("monitoring", "monitoring"),
    ("velero", "backups (Velero)"),
];

pub fn sensitive(namespace: &str) -> Option<Sensitive> {
    NAMESPACES
        .iter()
        .find(|(name, _)| match name.strip_suffix('-') {
            Some(_) => namespace.starts_with(name),
            None => namespace == *name,
        })
        .map(|(_, what)| Sensitive {
            what,
            policy_only: *what == "Flux",
        })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("flux-system", Some("Flux"))]
    #[case("istio-system", Some("Istio"))]
    #[case("istio-ingress", Some("Istio"))]
    #[case("csi-addons-system", Some("storage (CSI)"))]
    #[case("linkerd", Some("Linkerd"))]
    #[case("linkerd-viz", Some("Linkerd"))]
    #[case("istio", None)]
    #[case("keda-demo", None)]
    #[case("shop", None)]
    fn namespaces_that_others_depend_on_are_known(
        #[case] namespace: &str,
        #[case] what: Option<&str>,
    ) {
        assert_eq!(sensitive(namespace).map(|s| s.what), what);
    }

    #[test]
    fn only_flux_is_limited_to_what_a_policy_names() {
        assert!(sensitive("flux-system").unwrap().policy_only);
        assert!(!sensitive("keda").unwrap().policy_only);
    }
}
