use rstest::rstest;
use serde_json::json;

use super::*;

fn source(resource: &str) -> &'static Source {
    let found = SOURCES.iter().find(|source| source.resource == resource);
    found.unwrap()
}

/// The names that external-dns publishes, before 0.22 and from 0.22 on.
fn published(resource: &str, object: &Value) -> [Vec<String>; 2] {
    PREFIXES.map(|prefix| {
        let names = source(resource).names(object, prefix, &["listened.example.com"]);
        names.into_iter().map(str::to_owned).collect()
    })
}

fn both(names: &[&str]) -> [Vec<String>; 2] {
    [owned(names), owned(names)]
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn annotated(annotations: &Value) -> Value {
    json!({"metadata": {"annotations": annotations}})
}

#[rstest]
#[case::rules_and_tls_of_an_ingress(
    "ingresses",
    json!({"spec": {"rules": [{"host": "a.example.com"}, {"http": {}}, {"host": ""}], "tls": [{"hosts": ["b.example.com", "a.example.com"]}]}}),
    both(&["a.example.com", "b.example.com"])
)]
#[case::an_ingress_for_every_host("ingresses", json!({"spec": {"rules": [{"http": {}}], "defaultBackend": {}}}), both(&[]))]
#[case::a_route("httproutes", json!({"spec": {"hostnames": ["*.example.com"]}}), both(&["*.example.com"]))]
#[case::a_route_without_hosts("tlsroutes", json!({"spec": {}}), both(&["listened.example.com"]))]
#[case::hosts_of_an_istio_gateway(
    "gateways",
    json!({"spec": {"servers": [{"hosts": ["shop/a.example.com", "*", "./*"]}, {"hosts": ["b.example.com"]}]}}),
    both(&["a.example.com", "b.example.com"])
)]
#[case::an_openshift_route("routes", json!({"spec": {"host": "a.example.com"}}), both(&["a.example.com"]))]
#[case::a_contour_root("httpproxies", json!({"spec": {"virtualhost": {"fqdn": "a.example.com"}}}), both(&["a.example.com"]))]
#[case::an_included_proxy("httpproxies", json!({"spec": {"routes": []}}), both(&[]))]
#[case::a_route_group("routegroups", json!({"spec": {"hosts": ["a.example.com"]}}), both(&["a.example.com"]))]
#[case::an_endpoint("dnsendpoints", json!({"spec": {"endpoints": [{"dnsName": "a.example.com."}, {"dnsName": "b.example.com"}]}}), both(&["a.example.com", "b.example.com"]))]
#[case::a_service("services", json!({"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}), both(&[]))]
#[case::a_cluster_ip("services", json!({"spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1"}}), both(&[]))]
fn names_in_the_spec(
    #[case] resource: &str,
    #[case] object: Value,
    #[case] expected: [Vec<String>; 2],
) {
    assert_eq!(published(resource, &object), expected);
}

#[rstest]
#[case::of_newer_releases("external-dns.kubernetes.io/hostname", [&[][..], &["a.example.com", "b.example.com"]])]
#[case::of_older_releases("external-dns.alpha.kubernetes.io/hostname", [&["a.example.com", "b.example.com"][..], &[]])]
#[case::internal("external-dns.alpha.kubernetes.io/internal-hostname", [&["a.example.com", "b.example.com"][..], &[]])]
#[case::of_another_prefix("example.com/hostname", [&[][..], &[]])]
fn a_service_names_hosts_in_annotations(#[case] key: &str, #[case] expected: [&[&str]; 2]) {
    let service = annotated(&json!({key: "a.example.com., b.example.com,"}));
    assert_eq!(published("services", &service), expected.map(owned));
}

#[rstest]
#[case::left_alone_by_both(json!({"external-dns.alpha.kubernetes.io/controller": "ignore", "external-dns.kubernetes.io/controller": "none"}), [false, false])]
#[case::left_alone_by_older_ones(json!({"external-dns.alpha.kubernetes.io/controller": "ignore"}), [false, true])]
#[case::left_alone_by_newer_ones(json!({"external-dns.kubernetes.io/controller": ""}), [true, false])]
#[case::its_own(json!({"external-dns.alpha.kubernetes.io/controller": "dns-controller", "external-dns.kubernetes.io/controller": "dns-controller"}), [true, true])]
fn only_the_controller_annotation_of_its_prefix_counts(
    #[case] annotations: Value,
    #[case] expected: [bool; 2],
) {
    let mut ingress = annotated(&annotations);
    ingress["spec"] = json!({"rules": [{"host": "a.example.com"}]});
    let found = published("ingresses", &ingress).map(|names| !names.is_empty());
    assert_eq!(found, expected);
}

#[test]
fn not_every_source_honours_the_controller_annotation() {
    let ignored = json!({
        "external-dns.alpha.kubernetes.io/controller": "ignore", "external-dns.kubernetes.io/controller": "ignore",
        "external-dns.alpha.kubernetes.io/target": "lb.example.com", "external-dns.kubernetes.io/target": "lb.example.com",
    });
    let mut endpoint = annotated(&ignored);
    endpoint["spec"] = json!({"endpoints": [{"dnsName": "a.example.com"}]});
    assert_eq!(
        published("dnsendpoints", &endpoint),
        both(&["a.example.com"])
    );
    let mut route = annotated(&ignored);
    route["spec"] = json!({"routes": [{"match": "Host(`a.example.com`)"}]});
    let before_022 = [owned(&["a.example.com"]), vec![]];
    assert_eq!(published("ingressroutes", &route), before_022);
}

#[test]
fn a_traefik_route_is_published_only_with_a_target() {
    let spec = json!({"routes": [
        {"match": "(Host(`a.example.com`, `b.example.com`) || Host(`c.example.com`)) && PathPrefix(`/shop`)"},
        {"match": "HostSNI(`*`)"},
    ]});
    let mut route = annotated(&json!({"external-dns.kubernetes.io/target": "lb.example.com"}));
    route["spec"] = spec.clone();
    let names = owned(&["a.example.com", "b.example.com", "c.example.com"]);
    assert_eq!(published("ingressroutes", &route), [vec![], names]);
    assert_eq!(
        published("ingressroutes", &json!({"spec": spec})),
        both(&[])
    );
}

#[rstest]
#[case::hosts_alone("ingresses", "ingress-hostname-source", "defined-hosts-only", &["spec.example.com"])]
#[case::annotation_alone("ingresses", "ingress-hostname-source", "Annotation-Only", &["note.example.com"])]
#[case::mistyped("ingresses", "ingress-hostname-source", "none", &[])]
#[case::of_a_route("httproutes", "gateway-hostname-source", "annotation-only", &["note.example.com"])]
#[case::mistyped_on_a_route("httproutes", "gateway-hostname-source", "none", &["note.example.com", "spec.example.com"])]
fn names_can_be_restricted_to_one_place(
    #[case] resource: &str,
    #[case] key: &str,
    #[case] to: &str,
    #[case] expected: &[&str],
) {
    let mut object = annotated(&json!({
        "external-dns.kubernetes.io/hostname": "note.example.com", format!("external-dns.kubernetes.io/{key}"): to,
    }));
    object["spec"] =
        json!({"hostnames": ["spec.example.com"], "rules": [{"host": "spec.example.com"}]});
    let [_, newer] = published(resource, &object);
    assert_eq!(newer, owned(expected));
}

#[rstest]
#[case(Some("defined-hosts-only"), &[])]
#[case(Some("annotation-only"), &[])]
#[case(None, &["listened.example.com"])]
fn a_restricted_route_takes_no_names_of_listeners(
    #[case] to: Option<&str>,
    #[case] expected: &[&str],
) {
    let route = annotated(&json!({"external-dns.kubernetes.io/gateway-hostname-source": to}));
    assert_eq!(published("httproutes", &route)[1], owned(expected));
}

#[test]
fn external_dns_honours_the_shipped_rule_of_each_kind() {
    for source in SOURCES {
        let heeded = source.controller == Controller::Honoured;
        assert_eq!(source.rule.is_some(), heeded, "{}", source.kind);
    }
}
