//! Every name that several parts of the project, or a person, must spell the same way.

/// The API group of our resources and the prefix of our labels and annotations.
pub const GROUP: &str = "failover.dev";

/// The only allowed name of a `Site`: there is one role per cluster.
pub const SITE: &str = "cluster";

/// The namespace of our own workloads. Never enrolled.
pub const SYSTEM_NAMESPACE: &str = "failover-system";

/// Holds only the Leases through which webhook replicas report. It is separate from [`SYSTEM_NAMESPACE`] because RBAC
/// cannot restrict `create` by name: in a namespace of their own, the right to write Leases reaches no other Lease.
pub const ENFORCER_NAMESPACE: &str = "failover-enforcers";

/// Namespaces that are never enrolled, whatever their labels are: the cluster must start without us.
pub const NEVER_ENROLLED: [&str; 5] = [
    "kube-system",
    "kube-public",
    "kube-node-lease",
    SYSTEM_NAMESPACE,
    ENFORCER_NAMESPACE,
];

pub const WEBHOOK_SERVICE_ACCOUNT: &str = "failover-webhook";
pub const CONTROLLER_SERVICE_ACCOUNT: &str = "failover-controller";
/// Read-only identity that the other site will use to read this one.
pub const PEER_SERVICE_ACCOUNT: &str = "failover-peer";

/// `MutatingWebhookConfiguration` and the one webhook in it.
pub const WEBHOOK_CONFIGURATION: &str = "failover.dev";
pub const WEBHOOK_NAME: &str = "mutate.failover.dev";

/// The webhook's entry for new Namespaces, whatever their labels.
pub const NAMESPACES_WEBHOOK_NAME: &str = "namespaces.failover.dev";
/// The second webhook in it, for the kinds of RoleRules: an entry of its own, with a field manager of its own, so that
/// applying the built-in one again does not remove it.
pub const ROLE_RULES_WEBHOOK_NAME: &str = "rolerules.failover.dev";

/// All our webhooks in that configuration. All are served under one address and trusted by one bundle.
pub const WEBHOOK_NAMES: [&str; 3] = [
    WEBHOOK_NAME,
    NAMESPACES_WEBHOOK_NAME,
    ROLE_RULES_WEBHOOK_NAME,
];
pub const WEBHOOK_SERVICE: &str = "failover-webhook";
pub const WEBHOOK_PATH: &str = "/mutate";

/// Secret in [`SYSTEM_NAMESPACE`] with the certificate authority and the webhook's leaf.
pub const TLS_SECRET: &str = "failover-webhook-tls";
/// Lease in [`SYSTEM_NAMESPACE`] for the leader election of the controller.
pub const LEADER_LEASE: &str = "failover-controller";

/// Field managers of our own writes. Not `kubectl` or `before-first-apply`: Flux strips those.
pub const CONTROLLER_MANAGER: &str = "failover-controller";
pub const CLI_MANAGER: &str = "kubectl-failover";
/// For previews: a dry run under this name asks whether the object would be accepted as it is sent. The webhook does
/// not change it, and the backstop allows it. It never becomes a manager, because nothing is stored.
pub const PREVIEW_MANAGER: &str = "failover-preview";
/// For the CLI, for [`ROLE_RULES_WEBHOOK_NAME`] alone.
pub const ROLE_RULES_MANAGER: &str = "kubectl-failover-rules";

/// Label on a Namespace: `enabled` (all ruled kinds) or `policy` (only named objects). On an object: `disabled` asks
/// for an exemption.
pub const ENFORCE_LABEL: &str = "failover.dev/enforce";
/// The value of that label with which an object asks for an exemption.
pub const EXEMPT: &str = "disabled";
/// Annotation on an object: why an operator exempted it.
pub const EXEMPT_REASON_ANNOTATION: &str = "failover.dev/exempt-reason";
/// Label on the Leases of enforcers.
pub const ENFORCER_LABEL: &str = "failover.dev/enforcer";

/// Annotation on a Site, or on an object that replicates a volume that is not primary: `true` allows its deletion.
pub const ALLOW_DELETION_ANNOTATION: &str = "failover.dev/allow-deletion";

/// Finalizer of a RoleRule: its deletion takes effect only once its layer is primary and its records are restored.
pub const IN_FORCE_FINALIZER: &str = "failover.dev/in-force";
/// Label on the objects that were created for a RoleRule: its name.
pub const ROLE_RULE_LABEL: &str = "failover.dev/role-rule";

/// Annotation on a Namespace: roles and exemptions of single objects, see [`crate::namespace::ObjectRoles`].
pub const OBJECTS_ANNOTATION: &str = "failover.dev/objects";
/// Annotation on a Namespace: the name of the site, for messages.
pub const SITE_ANNOTATION: &str = "failover.dev/site";
/// Annotation on a Namespace and on the Leases of webhook replicas: the revision of the effective roles.
pub const REVISION_ANNOTATION: &str = "failover.dev/revision";
/// Annotation on enforcers' Leases: how many enrolled namespaces the replica sees.
pub const NAMESPACES_ANNOTATION: &str = "failover.dev/namespaces";

/// Annotation on a Namespace that was unenrolled: when, and by whose `kubectl failover unenroll`, as `TIME USER`. It
/// distinguishes a released namespace from one whose label was lost; admission reads it in the write that removes the
/// label.
pub const UNENROLLED_ANNOTATION: &str = "failover.dev/unenrolled";

/// Annotation on an object: the original values of forced fields, see [`crate::admission::record::Record`].
pub const RESTORE_ANNOTATION: &str = "failover.dev/restore";
/// Annotation on an object that was created while its layer was not primary and whose rule says `manual`: the values it
/// asked for. Restored only on consent, never by a promotion.
pub const HELD_ANNOTATION: &str = "failover.dev/held";
