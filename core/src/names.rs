//! Every name that more than one part of the project, or a person, has to spell the same way.

/// The API group of our resources and the prefix of our labels and annotations.
pub const GROUP: &str = "failover.dev";

/// The only name a `Site` may have: there is one role per cluster.
pub const SITE: &str = "cluster";

/// Where our own workloads run. Never enrolled.
pub const SYSTEM_NAMESPACE: &str = "failover-system";

/// Holds nothing but the Leases through which webhook replicas report. It is apart from [`SYSTEM_NAMESPACE`] because RBAC
/// cannot restrict `create` by name: in a namespace of their own, the right to write Leases reaches no other Lease.
pub const ENFORCER_NAMESPACE: &str = "failover-enforcers";

/// Namespaces that are never enrolled, whatever their labels say: the cluster must come up without us.
pub const NEVER_ENROLLED: [&str; 5] = [
    "kube-system",
    "kube-public",
    "kube-node-lease",
    SYSTEM_NAMESPACE,
    ENFORCER_NAMESPACE,
];

pub const WEBHOOK_SERVICE_ACCOUNT: &str = "failover-webhook";
pub const CONTROLLER_SERVICE_ACCOUNT: &str = "failover-controller";
/// Read-only identity that the other site will use to look at this one.
pub const PEER_SERVICE_ACCOUNT: &str = "failover-peer";

/// `MutatingWebhookConfiguration` and the one webhook in it.
pub const WEBHOOK_CONFIGURATION: &str = "failover.dev";
pub const WEBHOOK_NAME: &str = "mutate.failover.dev";

/// The webhook's entry for new Namespaces, whatever their labels.
pub const NAMESPACES_WEBHOOK_NAME: &str = "namespaces.failover.dev";
/// The second webhook in it, for the kinds of RoleRules: an entry of its own, with a field manager of its own, so that
/// applying the built-in one again takes nothing away from it.
pub const ROLE_RULES_WEBHOOK_NAME: &str = "rolerules.failover.dev";

/// Everything of ours in that configuration. All are served under one address and trusted by one bundle.
pub const WEBHOOK_NAMES: [&str; 3] = [
    WEBHOOK_NAME,
    NAMESPACES_WEBHOOK_NAME,
    ROLE_RULES_WEBHOOK_NAME,
];
pub const WEBHOOK_SERVICE: &str = "failover-webhook";
pub const WEBHOOK_PATH: &str = "/mutate";

/// Secret in [`SYSTEM_NAMESPACE`] with the certificate authority and the webhook's leaf.
pub const TLS_SECRET: &str = "failover-webhook-tls";
/// Lease in [`SYSTEM_NAMESPACE`] by which one controller leads.
pub const LEADER_LEASE: &str = "failover-controller";

/// Field managers of our own writes. Not `kubectl` or `before-first-apply`: Flux strips those.
pub const CONTROLLER_MANAGER: &str = "failover-controller";
pub const CLI_MANAGER: &str = "kubectl-failover";
/// Of questions: a dry run under this name asks whether the object would be taken as it is sent. The webhook leaves it so, and
/// the backstop lets it through. It is never the manager of anything, since nothing is stored.
pub const PREVIEW_MANAGER: &str = "failover-preview";
/// Of the CLI, for [`ROLE_RULES_WEBHOOK_NAME`] alone.
pub const ROLE_RULES_MANAGER: &str = "kubectl-failover-rules";

/// Label on a Namespace: `enabled` (all ruled kinds) or `policy` (only what is named). On an object: `disabled` asks for
/// an exemption.
pub const ENFORCE_LABEL: &str = "failover.dev/enforce";
/// The value of that label by which an object asks for an exemption.
pub const EXEMPT: &str = "disabled";
/// Annotation on an object: why an operator exempted it.
pub const EXEMPT_REASON_ANNOTATION: &str = "failover.dev/exempt-reason";
/// Label on the Leases of enforcers.
pub const ENFORCER_LABEL: &str = "failover.dev/enforcer";

/// Annotation on a Site, or on what replicates a volume that is not primary: `true` allows its deletion.
pub const ALLOW_DELETION_ANNOTATION: &str = "failover.dev/allow-deletion";

/// Finalizer of a RoleRule: deleting it takes effect only once its layer is primary and its records are spent.
pub const IN_FORCE_FINALIZER: &str = "failover.dev/in-force";
/// Label on what was made for a RoleRule: its name.
pub const ROLE_RULE_LABEL: &str = "failover.dev/role-rule";

/// Annotation on a Namespace: roles and exemptions of single objects, see [`crate::namespace::ObjectRoles`].
pub const OBJECTS_ANNOTATION: &str = "failover.dev/objects";
/// Annotation on a Namespace: the name of the site, for messages.
pub const SITE_ANNOTATION: &str = "failover.dev/site";
/// Annotation on a Namespace and on the Leases of webhook replicas: the revision of the effective roles.
pub const REVISION_ANNOTATION: &str = "failover.dev/revision";
/// Annotation on enforcers' Leases: how many enrolled namespaces the replica sees.
pub const NAMESPACES_ANNOTATION: &str = "failover.dev/namespaces";

/// Annotation on a Namespace that left enforcement: when, and by whose `kubectl failover unenroll`, as `TIME USER`. It tells
/// a namespace that was let go from one whose label was lost; admission looks for it in the write that takes the label off.
pub const UNENROLLED_ANNOTATION: &str = "failover.dev/unenrolled";

/// Annotation on an object: the original values of what is forced, see [`crate::admission::record::Record`].
pub const RESTORE_ANNOTATION: &str = "failover.dev/restore";
/// Annotation on an object that was created while its layer was not primary and whose rule says `manual`: the values it
/// asked for. Spent only by consent, never by a promotion.
pub const HELD_ANNOTATION: &str = "failover.dev/held";
