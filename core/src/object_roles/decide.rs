//! Decides the next entry of one object.

use super::requests::Ask;
use crate::api::ManagedResourceReason;
use crate::namespace::{NamespaceState, ObjectRole, ObjectStanding};
use crate::object::ObjectKey;
use crate::origin::{Installed, Origin, Origins};
use crate::role::{Layer, Role};
use crate::rules::rule::Rule;

/// The current state of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct ObjectSubject<'a> {
    pub(super) state: &'a NamespaceState,
    pub(super) rule: &'a Rule,
    /// Its entry in force.
    pub(super) current: Option<ObjectRole>,
    pub(super) settled: bool,
    /// It is a volume that nothing uses.
    pub(super) unused: bool,
    /// It was exempt, and does not exist.
    pub(super) absent: bool,
    pub(super) installed: Installed<'a>,
}

#[derive(Debug, Default)]
pub(super) struct ObjectDecision<'a> {
    pub(super) entry: Option<ObjectRole>,
    pub(super) deferred: Option<String>,
    /// The reason that is reported to the policies that name it.
    pub(super) refused: Option<(ManagedResourceReason, String)>,
    /// It stays active only until nothing uses it any more.
    pub(super) closes_later: bool,
    /// It stays passive because this owner is gone, with what to do about it.
    pub(super) orphaned: Option<(&'a Origin, String)>,
}

/// Decides about one object. See the module's documentation.
pub(super) fn next<'a>(
    subject: &ObjectSubject<'a>,
    ask: &Ask,
    key: &ObjectKey,
) -> ObjectDecision<'a> {
    let decided = asked_for(subject, ask, key);
    let closes = decided.entry != subject.current
        && subject.is_live()
        && subject.state.standing_as(subject.rule, decided.entry)
            == ObjectStanding::Ruled(Role::Secondary);
    // An object that a policy orders to secondary becomes passive once the policy's transition has found that nothing
    // uses it.
    let ordered_to_secondary = ask.policies.keys().eq([&Some(Role::Secondary)]);
    if !closes
        || subject.rule.layer != Layer::Volumes
        || ordered_to_secondary
        || subject.unused
        || subject.absent
    {
        return decided;
    }
    // A FailoverPolicy can name only volumes of this kind.
    let by_policy = if key.resource == "volumereplications" {
        "; to demote it anyway, create a FailoverPolicy with desiredState: secondary and the override pods-running"
    } else {
        ""
    };
    let why = format!(
        "{}/{} stays primary while pods use it: no FailoverPolicy or Site request demotes it; kubectl describe its PersistentVolumeClaim shows the pods{by_policy}",
        key.resource, key.name
    );
    ObjectDecision {
        entry: subject.current,
        deferred: Some(why),
        refused: decided.refused,
        closes_later: true,
        orphaned: None,
    }
}

fn asked_for<'a>(subject: &ObjectSubject<'a>, ask: &Ask, key: &ObjectKey) -> ObjectDecision<'a> {
    let is_ordered = ask.policies.keys().any(Option::is_some);
    if let Some(decided) = orphaned(subject, key).filter(|_| !is_ordered) {
        return decided;
    }
    let adopted = subject.adopted();
    let subject = if is_ordered { subject } else { &adopted };
    let mut states = ask.policies.iter();
    match (states.next(), states.next()) {
        (Some(_), Some(_)) => conflict(subject, ask, key),
        (Some((Some(Role::Secondary), _)), None) => demoted(subject, ask),
        (Some((Some(Role::Primary), _)), None) => promoted(subject, ask, key),
        (None | Some((None, _)), _) if ask.exempt => exempt(subject, ask, key),
        (None | Some((None, _)), _) if subject.may_return() => ObjectDecision {
            entry: Some(ObjectRole::ExemptIfLabelled),
            ..ObjectDecision::default()
        },
        (Some((None, _)), None) => following(subject, key),
        (None, _) => unasked(subject, key),
    }
}

impl ObjectSubject<'_> {
    fn standing(&self) -> ObjectStanding {
        self.state.standing_as(self.rule, self.current)
    }

    fn is_live(&self) -> bool {
        let standing = self.standing();
        matches!(
            standing,
            ObjectStanding::Free | ObjectStanding::Ruled(Role::Primary)
        )
    }

    /// As if its owner had never been gone: an object that is no longer orphaned follows its layer again.
    fn adopted(&self) -> Self {
        let current = self.current.filter(|role| *role != ObjectRole::Orphaned);
        Self { current, ..*self }
    }

    /// Whether an exemption outlives its object, which may be created again, as a hook Job is. On a primary the label
    /// alone is enough, so nothing is kept there, and a standby keeps only the exemptions that an operator or its time
    /// as primary has put in force.
    fn may_return(&self) -> bool {
        let was_exempt = matches!(
            self.current,
            Some(ObjectRole::Exempt | ObjectRole::ExemptIfLabelled)
        );
        let label_will_do = self.settled && self.layer() == Some(Role::Primary);
        was_exempt && self.absent && !label_will_do && self.is_reached()
    }

    /// Whether enforcement reaches it without an entry. An object that is not reached needs no exemption, and must not
    /// come under the role of its layer when its label is lost.
    fn is_reached(&self) -> bool {
        self.state.standing_as(self.rule, None) != ObjectStanding::Free
    }

    fn layer(&self) -> Option<Role> {
        self.state.roles.of(self.rule.layer)
    }

    /// Whether the object may change from its current state to that of `entry` without a request.
    fn may_become(&self, entry: Option<ObjectRole>) -> bool {
        let (before, after) = (self.standing(), self.state.standing_as(self.rule, entry));
        // An object with a role of its own does not join the site during a transition: the transition would move it
        // only if it joined in time.
        let joins =
            !self.settled && entry != self.current && self.current.is_some_and(has_own_role);
        looseness(after) < looseness(before)
            || (looseness(after) == looseness(before) && !joins)
            || (self.settled
                && self.layer() == Some(Role::Primary)
                && before == ObjectStanding::Ruled(Role::Primary))
    }

    /// The first of these entries that is allowed, else the current one.
    fn first_of(&self, entries: &[Option<ObjectRole>]) -> Option<ObjectRole> {
        entries
            .iter()
            .copied()
            .find(|entry| self.may_become(*entry))
            .unwrap_or(self.current)
    }
}

fn has_own_role(entry: ObjectRole) -> bool {
    entry != ObjectRole::Site
}

fn looseness(standing: ObjectStanding) -> u8 {
    match standing {
        ObjectStanding::Ruled(Role::Secondary) => 0,
        ObjectStanding::Unknown => 1,
        ObjectStanding::Ruled(Role::Primary) => 2,
        ObjectStanding::Free => 3,
    }
}

/// Whether its installer is known to be gone. An active object never becomes passive by that: a user who deletes a
/// HelmRelease of a primary, and keeps what it has installed, wants that to keep running.
fn orphaned<'a>(subject: &ObjectSubject<'a>, key: &ObjectKey) -> Option<ObjectDecision<'a>> {
    let is_orphaned = subject.current == Some(ObjectRole::Orphaned);
    let may_be = matches!(subject.current, None | Some(ObjectRole::Site))
        && subject.standing() == ObjectStanding::Ruled(Role::Secondary)
        && Origins::concerns(subject.rule);
    let orphaned = match subject.installed {
        Installed::Orphaned { origin, gone } if is_orphaned || may_be => {
            Some((gone, ways_out(origin, gone, subject.rule, key)))
        }
        Installed::Unknown if is_orphaned => None,
        Installed::Orphaned { .. } | Installed::Unknown | Installed::Kept => return None,
    };
    Some(ObjectDecision {
        entry: Some(ObjectRole::Orphaned),
        orphaned,
        ..ObjectDecision::default()
    })
}

fn ways_out(origin: &Origin, gone: &Origin, rule: &Rule, key: &ObjectKey) -> String {
    let (owner, group) = (&gone.owner, origin.group);
    let object = format!("{}/{}", rule.group_resource(), key.name);
    let uninstall = match &origin.release {
        Some((namespace, name)) => format!("helm uninstall {name} -n {namespace}"),
        None => format!("kubectl delete {object} -n {}", key.namespace),
    };
    format!(
        "{} {}/{} that installed it is gone, so a promotion leaves it passive; uninstall it ({uninstall}), or take it over (kubectl label {object} -n {} {group}/name- {group}/namespace-)",
        gone.kind, owner.namespace, owner.name, key.namespace
    )
}

/// `desiredState: secondary`, once its transition has reached the layer.
fn demoted<'a>(subject: &ObjectSubject<'a>, ask: &Ask) -> ObjectDecision<'a> {
    let is_secondary = subject.standing() == ObjectStanding::Ruled(Role::Secondary);
    let due = (is_secondary && subject.settled) || ask.is_due(Role::Secondary);
    ObjectDecision {
        entry: if due {
            Some(ObjectRole::Secondary)
        } else {
            subject.current
        },
        ..ObjectDecision::default()
    }
}

/// `desiredState: primary`, which alone may activate an object on a secondary, once its transition has reached the
/// layer.
fn promoted<'a>(subject: &ObjectSubject<'a>, ask: &Ask, key: &ObjectKey) -> ObjectDecision<'a> {
    let live = subject.is_live();
    // A volume that no rule has reached may still be secondary: by hand, or from Git.
    let open = live
        && (subject.rule.layer != Layer::Volumes || subject.standing() != ObjectStanding::Free);
    if live || ask.fresh {
        // An object that the site's own transition has moved stays part of it: the transition still waits for it.
        let entry = if (open && subject.settled) || ask.is_due(Role::Primary) {
            Some(ObjectRole::Primary)
        } else {
            subject.current
        };
        return ObjectDecision {
            entry,
            ..ObjectDecision::default()
        };
    }
    let why = format!(
        "{}/{} stays secondary: its promotion was refused before and is not retried automatically; set desiredState to secondary and then to primary again",
        key.resource, key.name
    );
    ObjectDecision {
        entry: subject.current,
        deferred: Some(why.clone()),
        refused: Some((ManagedResourceReason::Waiting, why)),
        ..ObjectDecision::default()
    }
}

/// The exempt label. It applies if an operator has put it in force, and on a primary.
fn exempt<'a>(subject: &ObjectSubject<'a>, ask: &Ask, key: &ObjectKey) -> ObjectDecision<'a> {
    let named = !ask.policies.is_empty();
    let is_exempt = matches!(
        subject.current,
        Some(ObjectRole::Exempt | ObjectRole::ExemptIfLabelled)
    );
    let open = subject.is_live();
    let on_primary = subject.settled && subject.layer() == Some(Role::Primary);
    if is_exempt || (on_primary && open) {
        let refused = named.then(|| {
            let why = "exempt by its own label failover.dev/enforce: disabled".to_owned();
            (ManagedResourceReason::Exempt, why)
        });
        return ObjectDecision {
            entry: (named || subject.is_reached()).then_some(ObjectRole::Exempt),
            refused,
            ..ObjectDecision::default()
        };
    }
    let mut decided = if named {
        following(subject, key)
    } else {
        unasked(subject, key)
    };
    // An object that is not reached needs no exemption.
    if subject.state.standing_as(subject.rule, decided.entry) != ObjectStanding::Free {
        let (object, layer) = (format!("{}/{}", key.resource, key.name), subject.rule.layer);
        decided.deferred = Some(format!(
            "exemption of {object} is deferred until promotion: it takes effect once {layer} is primary; to exempt the object now, run kubectl failover exempt {object} -n {}",
            key.namespace
        ));
    }
    decided
}

/// A policy without `desiredState`.
fn following<'a>(subject: &ObjectSubject<'a>, key: &ObjectKey) -> ObjectDecision<'a> {
    let wanted = Some(ObjectRole::Site);
    let entry = subject.first_of(&[wanted]);
    if entry == wanted {
        return ObjectDecision {
            entry,
            ..ObjectDecision::default()
        };
    }
    let why = stays_secondary(key);
    ObjectDecision {
        entry,
        deferred: Some(why.clone()),
        refused: Some((ManagedResourceReason::Waiting, why)),
        ..ObjectDecision::default()
    }
}

/// Nothing asks for an entry (any more).
fn unasked<'a>(subject: &ObjectSubject<'a>, key: &ObjectKey) -> ObjectDecision<'a> {
    // If removing the entry would loosen it, it follows the site until that is primary.
    let entry = subject.first_of(&[None, Some(ObjectRole::Site)]);
    let deferred = match entry {
        None => None,
        Some(ObjectRole::Site) => Some(format!(
            "{}/{} is no longer named by a FailoverPolicy; it follows the site until {} is primary",
            key.resource, key.name, subject.rule.layer
        )),
        Some(_) => Some(stays_secondary(key)),
    };
    ObjectDecision {
        entry,
        deferred,
        ..ObjectDecision::default()
    }
}

fn stays_secondary(key: &ObjectKey) -> String {
    let object = format!("{}/{}", key.resource, key.name);
    format!(
        "{object} stays secondary: no FailoverPolicy names it any more, but promoting it needs a request; create a FailoverPolicy with desiredState: primary, or run kubectl failover exempt {object} -n {} --undo",
        key.namespace
    )
}

/// Policies that contradict each other: the entry in force stays, unless it is active and nothing asks for it any more.
fn conflict<'a>(subject: &ObjectSubject<'a>, ask: &Ask, key: &ObjectKey) -> ObjectDecision<'a> {
    let asked_for = match subject.current {
        Some(ObjectRole::Exempt | ObjectRole::ExemptIfLabelled) => ask.exempt,
        Some(ObjectRole::Primary) => ask.policies.contains_key(&Some(Role::Primary)),
        Some(ObjectRole::Site | ObjectRole::Secondary | ObjectRole::Orphaned) | None => true,
    };
    let entry = if asked_for {
        subject.current
    } else {
        subject.first_of(&[Some(ObjectRole::Site)])
    };
    let sides: Vec<String> = ask
        .policies
        .iter()
        .map(|(state, names)| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let state = state.map_or("the site's role", Role::as_str);
            format!("{} ({state})", names.join(", "))
        })
        .collect();
    let why = format!(
        "{}/{} has conflicting roles from {}: none of them is applied, and its current role stays in force",
        key.resource,
        key.name,
        sides.join(" and by ")
    );
    ObjectDecision {
        entry,
        deferred: Some(why.clone()),
        refused: Some((ManagedResourceReason::Conflict, why)),
        ..ObjectDecision::default()
    }
}
