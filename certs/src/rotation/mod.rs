//! What to do next about the certificates: a pure decision, repeated until nothing is left to do.
//!
//! ```text
//!   new authority, the old one kept beside it
//!        ► both published in the webhook configuration
//!        ► SETTLE: every API server has observed that
//!        ► new leaf
//!        ► OVERLAP: every replica serves it
//!        ► old authority dropped ► the new one published alone
//! ```
//!
//! The order ensures that the published bundle always trusts what a replica serves, even if a crash separates two acts.
//! Each act is idempotent and is decided only from what is stored and published.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::authority::Pair;
use crate::bundle::Bundle;
use crate::name::Name;
use crate::parsed::Parsed;
use crate::verify::{VerifyError, verify, verify_authority};

/// How long a bundle must have been published before a leaf is issued that only the new bundle trusts. API servers
/// watch the webhook configuration, which takes well under a second; this allows for a slow one.
pub const SETTLE: SignedDuration = SignedDuration::from_secs(10);

/// How long the old and the new authority are trusted side by side after a new leaf was issued. kubelet takes up to
/// about two minutes to swap a mounted Secret. A replica that is unreachable for longer than an hour is not covered.
pub const OVERLAP: SignedDuration = SignedDuration::from_hours(1);

/// The content of the Secret. Any part may be missing or invalid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    pub authority: Option<Pair>,
    pub leaf: Option<Pair>,
    /// The previous authorities, in PEM, while they are still trusted.
    pub previous: Option<String>,
}

/// Everything a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    pub stored: &'a Stored,
    /// The names under which the webhook is called.
    pub names: &'a BTreeSet<Name>,
    /// `caBundle` of the webhook configuration, in PEM; empty if there is none.
    pub published: &'a str,
    /// For how long it is known to be unchanged. A controller that has just started begins at zero.
    pub published_for: SignedDuration,
    pub now: Timestamp,
}

/// The next thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Issue a new authority; keep these, in PEM, as the previous ones. The leaf stays unchanged.
    NewAuthority { why: Why, previous: Option<String> },
    /// Write this into the webhook configuration.
    Publish { bundle: String },
    /// Issue a leaf with the stored authority.
    NewLeaf { why: Why },
    /// Remove the previous authorities.
    DropPrevious,
    /// Do nothing before this time.
    Wait { until: Timestamp },
}

/// Why a new certificate is issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("there is none")]
    Missing,
    #[error("two thirds of its life are over")]
    Due,
    #[error("{0}")]
    Unusable(#[from] VerifyError),
}

/// Decides what to do next.
pub fn decide(situation: &Situation<'_>) -> Act {
    let Situation {
        stored,
        names,
        published,
        published_for,
        now,
    } = *situation;
    let published = Bundle::parse(published);
    let previous = Bundle::parse(stored.previous.as_deref().unwrap_or_default());

    let authority = match usable_authority(stored, now) {
        Ok(authority) if now < authority.renew_at() => authority,
        Ok(_) => return new_authority(stored, previous, &published, Why::Due),
        Err(why) => return new_authority(stored, previous, &published, why),
    };
    let mut alone = Bundle::default();
    alone.add(authority.clone());

    let leaf = usable_leaf(stored, names, &alone, now);
    // Until every replica has had time to load the current authority's leaf, some serve a leaf that only an older
    // authority has signed.
    let replaced_at = leaf.as_ref().ok().map(|leaf| leaf.issued_at() + OVERLAP);
    let is_replaced = replaced_at.is_some_and(|at| now >= at);
    if is_replaced && stored.previous.is_some() {
        return Act::DropPrevious;
    }
    // Published authorities that are not ours are treated alike: one may have signed a leaf that was stored here before
    // somebody restored an older Secret.
    let wanted = if is_replaced && published_for >= OVERLAP && published.contains(&authority) {
        alone
    } else {
        let mut all = alone;
        all.add_all(&previous);
        all.add_all(&published);
        all
    };
    if published != wanted {
        return Act::Publish {
            bundle: wanted.to_pem(),
        };
    }

    let why = match leaf {
        Ok(leaf) if now < leaf.renew_at() => {
            let next = if wanted.len() > 1 || stored.previous.is_some() {
                let published_long = now + (OVERLAP - published_for);
                replaced_at.map_or(published_long, |at| {
                    if is_replaced { published_long } else { at }
                })
            } else {
                authority.renew_at()
            };
            return Act::Wait {
                until: next.min(leaf.renew_at()),
            };
        }
        Ok(_) => Why::Due,
        Err(why) => why,
    };
    // If nothing older is published, no API server can still use an older bundle.
    if wanted.len() > 1 && published_for < SETTLE {
        return Act::Wait {
            until: now + (SETTLE - published_for),
        };
    }
    Act::NewLeaf { why }
}

/// When the stored authority and leaf expire, as far as they can be read.
pub fn expiry(stored: &Stored) -> Expiry {
    let of = |pair: Option<&Pair>| {
        let parsed = Parsed::from_pem(&pair?.certificate).ok()?;
        Some(parsed.not_after)
    };
    Expiry {
        authority: of(stored.authority.as_ref()),
        leaf: of(stored.leaf.as_ref()),
    }
}

/// When certificates expire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expiry {
    pub authority: Option<Timestamp>,
    pub leaf: Option<Timestamp>,
}

/// Keeps every authority that may have signed what replicas serve. Even one that has expired, or is not valid yet: our
/// own clock may be wrong, and in a bundle it does no harm.
fn new_authority(stored: &Stored, previous: Bundle, published: &Bundle, why: Why) -> Act {
    let mut kept = previous;
    if let Some(pair) = &stored.authority {
        kept.add_all(&Bundle::parse(&pair.certificate));
    }
    kept.add_all(published);
    Act::NewAuthority {
        why,
        previous: (!kept.is_empty()).then(|| kept.to_pem()),
    }
}

fn usable_authority(stored: &Stored, now: Timestamp) -> Result<Parsed, Why> {
    let pair = stored.authority.as_ref().ok_or(Why::Missing)?;
    verify_authority(pair, now).map_err(Why::from)
}

fn usable_leaf(
    stored: &Stored,
    names: &BTreeSet<Name>,
    trusted: &Bundle,
    now: Timestamp,
) -> Result<Parsed, Why> {
    let pair = stored.leaf.as_ref().ok_or(Why::Missing)?;
    verify(pair, names, trusted, now).map_err(VerifyError::into)
}

#[cfg(test)]
mod tests;
