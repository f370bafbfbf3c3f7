//! Which names external-dns publishes from an object.
//!
//! Read in its source, release 0.22.0 and those from 0.14 on. They differ in the prefix of annotations: from 0.22 on it
//! is `external-dns.kubernetes.io/`, before that it was `external-dns.alpha.kubernetes.io/`, and no release reads both.
//! The running release is unknown here, so an object counts as published if either would publish it.

use std::collections::BTreeSet;

use serde_json::Value;

/// The prefixes of annotations, that of older releases first.
pub const PREFIXES: [&str; 2] = [
    "external-dns.alpha.kubernetes.io/",
    "external-dns.kubernetes.io/",
];

const NEWER: &str = PREFIXES[1];

/// With any other value of the annotation `controller` external-dns ignores the object.
const DNS_CONTROLLER: &str = "dns-controller";

/// A kind that external-dns reads.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    pub group: &'static str,
    /// The version to read it in, if that is served.
    pub version: &'static str,
    pub kind: &'static str,
    /// Plural.
    pub resource: &'static str,
    pub controller: Controller,
    pub(super) spec: fn(&Value) -> Vec<&str>,
    /// Annotations that name hosts, without their prefix.
    pub(super) hostnames: &'static [&'static str],
    /// The annotation that restricts names to those of the spec, or to those of annotations.
    pub(super) restricted_by: Option<&'static str>,
    /// It publishes only objects with the annotation `target`.
    pub(super) needs_target: bool,
    /// A route without names of its own takes those of listeners with these protocols.
    pub(super) listeners: &'static [&'static str],
    /// The shipped rule that makes external-dns ignore the kind.
    pub rule: Option<&'static str>,
}

/// Whether external-dns ignores an object whose annotation `controller` names another controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    Honoured,
    /// From 0.22 on.
    HonouredSince022,
    Ignored,
}

/// A Service of any type has names only in annotations, even a ClusterIP, headless or not.
const SERVICE: Source = Source {
    group: "",
    version: "v1",
    kind: "Service",
    resource: "services",
    controller: Controller::Honoured,
    spec: |_| vec![],
    hostnames: &["hostname", "internal-hostname"],
    restricted_by: None,
    needs_target: false,
    listeners: &[],
    rule: Some("service-external-dns"),
};

const fn source(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    resource: &'static str,
    spec: fn(&Value) -> Vec<&str>,
    rule: &'static str,
) -> Source {
    Source {
        group,
        version,
        kind,
        resource,
        spec,
        hostnames: &["hostname"],
        rule: Some(rule),
        ..SERVICE
    }
}

const fn route(
    version: &'static str,
    kind: &'static str,
    resource: &'static str,
    listeners: &'static [&'static str],
    rule: &'static str,
) -> Source {
    Source {
        restricted_by: Some("gateway-hostname-source"),
        listeners,
        ..source(GATEWAY_API, version, kind, resource, route_hosts, rule)
    }
}

const fn traefik(kind: &'static str, resource: &'static str) -> Source {
    Source {
        controller: Controller::HonouredSince022,
        needs_target: true,
        rule: None,
        ..source("traefik.io", "v1alpha1", kind, resource, match_hosts, "")
    }
}

pub(super) const GATEWAY_API: &str = "gateway.networking.k8s.io";

/// Kinds in namespaces that external-dns reads and many clusters have. Not here: VirtualServices, which have a built-in
/// rule; pods, which end with their workloads; and names that come from a flag such as `--fqdn-template`, not from an
/// object.
#[rustfmt::skip] // a table reads as a table
pub const SOURCES: [Source; 15] = [
    SERVICE,
    Source {
        restricted_by: Some("ingress-hostname-source"),
        ..source("networking.k8s.io", "v1", "Ingress", "ingresses", ingress_hosts, "ingress-external-dns")
    },
    route("v1", "HTTPRoute", "httproutes", &["HTTP", "HTTPS"], "httproute-external-dns"),
    route("v1", "GRPCRoute", "grpcroutes", &["HTTP", "HTTPS"], "grpcroute-external-dns"),
    route("v1alpha2", "TLSRoute", "tlsroutes", &["TLS"], "tlsroute-external-dns"),
    route("v1alpha2", "TCPRoute", "tcproutes", &["TCP", "TLS"], "tcproute-external-dns"),
    route("v1alpha2", "UDPRoute", "udproutes", &["UDP"], "udproute-external-dns"),
    source("networking.istio.io", "v1", "Gateway", "gateways", istio_gateway_hosts, "istio-gateway-external-dns"),
    source("route.openshift.io", "v1", "Route", "routes", |route| one(&route["spec"]["host"]), "openshift-route-external-dns"),
    source("projectcontour.io", "v1", "HTTPProxy", "httpproxies", |proxy| one(&proxy["spec"]["virtualhost"]["fqdn"]), "contour-httpproxy-external-dns"),
    source("zalando.org", "v1", "RouteGroup", "routegroups", |group| texts(&group["spec"]["hosts"]), "skipper-routegroup-external-dns"),
    traefik("IngressRoute", "ingressroutes"),
    traefik("IngressRouteTCP", "ingressroutetcps"),
    traefik("IngressRouteUDP", "ingressrouteudps"),
    Source {
        controller: Controller::Ignored,
        hostnames: &[],
        rule: None,
        ..source("externaldns.k8s.io", "v1alpha1", "DNSEndpoint", "dnsendpoints", endpoint_names, "")
    },
];

impl Source {
    /// The names that external-dns publishes if it reads annotations of this prefix. `listened` are the names of the
    /// listeners that a route is attached to.
    pub(super) fn names<'a>(
        &self,
        object: &'a Value,
        prefix: &str,
        listened: &[&'a str],
    ) -> BTreeSet<&'a str> {
        let annotation = |name: &str| {
            let annotations = &object["metadata"]["annotations"];
            annotations[format!("{prefix}{name}")].as_str()
        };
        if self.is_left_alone(object, prefix)
            || (self.needs_target && annotation("target").is_none())
        {
            return BTreeSet::new();
        }
        let mut named = (self.spec)(object);
        let takes_listened = named.is_empty() && !self.listeners.is_empty();
        let mut annotated: Vec<&str> = self
            .hostnames
            .iter()
            .filter_map(|name| annotation(name))
            .flat_map(|hosts| hosts.split(','))
            .map(str::trim)
            .collect();
        let mut listened = listened.to_vec();
        // Only newer releases read the one of routes.
        let restricted_by = self
            .restricted_by
            .filter(|_| prefix == NEWER || self.listeners.is_empty());
        match restricted_by.and_then(annotation).map(str::to_lowercase) {
            None => {}
            Some(to) if to == "annotation-only" => {
                named.clear();
                listened.clear();
            }
            Some(to) if to == "defined-hosts-only" => {
                annotated.clear();
                listened.clear();
            }
            // A route falls back to all names, an Ingress to none.
            Some(_) if self.listeners.is_empty() => return BTreeSet::new(),
            Some(_) => {}
        }
        if takes_listened {
            named.extend(listened);
        }
        named
            .into_iter()
            .chain(annotated)
            .map(|name| name.trim_end_matches('.'))
            .filter(|name| !name.is_empty() && *name != "*")
            .collect()
    }

    pub(super) fn is_left_alone(&self, object: &Value, prefix: &str) -> bool {
        let honoured = match self.controller {
            Controller::Honoured => true,
            Controller::HonouredSince022 => prefix == NEWER,
            Controller::Ignored => false,
        };
        let controller = &object["metadata"]["annotations"][format!("{prefix}controller")];
        honoured && controller.as_str().is_some_and(|c| c != DNS_CONTROLLER)
    }
}

fn one(value: &Value) -> Vec<&str> {
    value.as_str().into_iter().collect()
}

fn texts(value: &Value) -> Vec<&str> {
    items(value).filter_map(Value::as_str).collect()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn ingress_hosts(ingress: &Value) -> Vec<&str> {
    let spec = &ingress["spec"];
    let rules = items(&spec["rules"]).filter_map(|rule| rule["host"].as_str());
    rules
        .chain(items(&spec["tls"]).flat_map(|tls| texts(&tls["hosts"])))
        .collect()
}

pub(super) fn route_hosts(route: &Value) -> Vec<&str> {
    texts(&route["spec"]["hostnames"])
}

/// Hosts of servers, without the optional namespace before each.
fn istio_gateway_hosts(gateway: &Value) -> Vec<&str> {
    items(&gateway["spec"]["servers"])
        .flat_map(|server| texts(&server["hosts"]))
        .map(|host| match host.split_once('/') {
            Some((_, host)) => host,
            None => host,
        })
        .collect()
}

fn endpoint_names(endpoint: &Value) -> Vec<&str> {
    items(&endpoint["spec"]["endpoints"])
        .filter_map(|endpoint| endpoint["dnsName"].as_str())
        .collect()
}

/// The backquoted arguments of `Host` and `HostSNI` in the rules of a Traefik route.
fn match_hosts(route: &Value) -> Vec<&str> {
    let rules = items(&route["spec"]["routes"]).filter_map(|route| route["match"].as_str());
    let arguments = |rule| {
        let after = |name| str::split(rule, name).skip(1);
        after("Host(")
            .chain(after("HostSNI("))
            .filter_map(|rest: &str| rest.split_once(')'))
            .flat_map(|(arguments, _)| arguments.split('`').skip(1).step_by(2))
    };
    rules.flat_map(arguments).collect()
}

#[cfg(test)]
mod tests;
