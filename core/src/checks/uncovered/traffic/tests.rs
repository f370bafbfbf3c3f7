use rstest::rstest;
use serde_json::json;

use super::*;

fn source(kind: &str, group: &str) -> &'static Source {
    let mut sources = SOURCES.iter();
    sources
        .find(|source| source.kind == kind && source.group == group)
        .unwrap()
}

fn ingress(name: &str, hosts: &[&str]) -> Value {
    let rules: Vec<_> = hosts.iter().map(|host| json!({"host": host})).collect();
    json!({"metadata": {"name": name, "namespace": "shop"}, "spec": {"rules": rules}})
}

fn described(published: &[Published]) -> Vec<String> {
    let one = |p: &Published| format!("{}: {}", p.object, p.why);
    published.iter().map(one).collect()
}

#[test]
fn a_standby_reports_what_it_keeps_publishing() {
    let mut exempt = ingress("both", &["both.example.com"]);
    exempt["metadata"]["labels"] = json!({"failover.dev/enforce": "disabled"});
    let mut halved = ingress("halved", &["halved.example.com"]);
    halved["metadata"]["annotations"] = json!({"external-dns.kubernetes.io/controller": "ignore"});
    let objects = [
        ingress("web", &["e.io", "d.io", "c.io", "b.io", "a.io"]),
        ingress("inside", &[]),
        exempt,
        halved,
    ];
    let ingresses = source("Ingress", "networking.k8s.io");
    let found = published(ingresses, &objects, &Listeners::default());
    assert_eq!(
        described(&found),
        [
            "shop/ingresses/web: external-dns publishes a.io, b.io, c.io and 2 more",
            "shop/ingresses/halved: external-dns before 0.22, which reads external-dns.alpha.kubernetes.io/, publishes halved.example.com",
        ]
    );
    assert_eq!(found[0].rule, Some("ingress-external-dns"));
}

#[test]
fn a_dns_endpoint_is_reported() {
    let endpoints = json!([{"dnsName": "a.example.com"}, {"dnsName": "b.example.com"}]);
    let object =
        json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"endpoints": endpoints}});
    let source = source("DNSEndpoint", "externaldns.k8s.io");
    assert_eq!(
        described(&published(source, &[object], &Listeners::default())),
        ["shop/dnsendpoints/web: external-dns publishes a.example.com, b.example.com"]
    );
}

/// A route without names of its own.
fn route(parents: &Value) -> Value {
    json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"parentRefs": parents}})
}

fn gateway() -> Value {
    json!({"metadata": {"name": "public"}, "spec": {"listeners": [
        {"name": "web", "protocol": "HTTPS", "hostname": "web.example.com"},
        {"name": "api", "protocol": "HTTP", "hostname": "api.example.com"},
        {"name": "any", "protocol": "HTTP"},
        {"name": "db", "protocol": "TLS", "hostname": "db.example.com"},
    ]}})
}

#[rstest]
#[case::all_listeners("HTTPRoute", json!([{"name": "public", "namespace": "infra"}]), Some("api.example.com, web.example.com"))]
#[case::one_of_them("HTTPRoute", json!([{"name": "public", "namespace": "infra", "sectionName": "api"}]), Some("api.example.com"))]
#[case::one_for_every_host("HTTPRoute", json!([{"name": "public", "namespace": "infra", "sectionName": "any"}]), None)]
#[case::another_protocol("TLSRoute", json!([{"name": "public", "namespace": "infra"}]), Some("db.example.com"))]
#[case::raw_over_tls("TCPRoute", json!([{"name": "public", "namespace": "infra"}]), Some("db.example.com"))]
#[case::an_absent_gateway("HTTPRoute", json!([{"name": "other", "namespace": "infra"}]), None)]
#[case::of_its_own_namespace("HTTPRoute", json!([{"name": "public"}]), None)]
#[case::within_a_mesh("HTTPRoute", json!([{"group": "", "kind": "Service", "name": "public", "namespace": "infra"}]), None)]
fn a_route_without_hosts_takes_those_of_its_listeners(
    #[case] kind: &str,
    #[case] parents: Value,
    #[case] expected: Option<&str>,
) {
    let parent = Parent {
        namespace: "infra".into(),
        kind: ParentKind::Gateway,
    };
    let mut listeners = Listeners::default();
    listeners.add(&parent, &[gateway()]);
    let routes = source(kind, GATEWAY_API);
    let found = published(routes, &[route(&parents)], &listeners);
    let expected = expected.map(|names| {
        let resource = routes.resource;
        format!("shop/{resource}/web: external-dns publishes {names}")
    });
    assert_eq!(described(&found), Vec::from_iter(expected));
}

#[test]
fn listeners_are_listed_only_if_a_route_needs_them() {
    let routes = source("HTTPRoute", GATEWAY_API);
    let attached =
        json!([{"name": "public", "namespace": "infra"}, {"kind": "ListenerSet", "name": "own"}]);
    let mut named = route(&attached);
    named["spec"]["hostnames"] = json!(["shop.example.com"]);
    let mut exempt = route(&attached);
    exempt["metadata"]["labels"] = json!({"failover.dev/enforce": "disabled"});
    assert!(parents(routes, &[named, exempt]).is_empty());
    let asked: Vec<_> = parents(routes, &[route(&attached)]).into_iter().collect();
    let parent = |namespace: &str, kind| Parent {
        namespace: namespace.into(),
        kind,
    };
    assert_eq!(
        asked,
        [
            parent("infra", ParentKind::Gateway),
            parent("shop", ParentKind::ListenerSet)
        ]
    );
    let services = source("Service", "");
    assert!(parents(services, &[route(&attached)]).is_empty());
}

#[test]
fn a_kind_with_a_rule_of_the_layer_is_not_checked() {
    let built_in = RuleSet::built_in();
    assert_eq!(unruled(&built_in).len(), SOURCES.len());
    let rule = |layer| crate::Rule {
        group: "networking.k8s.io".into(),
        resource: "ingresses".into(),
        layer,
        ..built_in.iter().next().unwrap().clone()
    };
    let is_looked_at = |layer| {
        let unruled = unruled(&RuleSet::only(rule(layer)));
        unruled.iter().any(|source| source.kind == "Ingress")
    };
    assert!(!is_looked_at(Layer::Traffic));
    assert!(is_looked_at(Layer::Workloads));
}
