//! What to do next about the certificates: a pure decision, repeated until there is nothing left to do.
//!
//! ```text
//!   new authority, the old one kept beside it
//!        ► both published in the webhook configuration
//!        ► SETTLE: every API server has seen that
//!        ► new leaf
//!        ► OVERLAP: every replica serves it
//!        ► old authority dropped ► the new one published alone
//! ```
//!
//! The order makes sure that whatever a replica serves is trusted by what is published, at every moment and whatever crash
//! comes between two acts. Each act is idempotent and is decided from what is stored and published alone.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::authority::Pair;
use crate::bundle::Bundle;
use crate::name::Name;
use crate::parsed::Parsed;
use crate::verify::{VerifyError, verify, verify_authority};

/// How long a bundle must have been published before a leaf is issued that only the new one trusts. API servers follow the
/// webhook configuration by a watch, which takes well under a second; this is for one that is slow.
pub const SETTLE: SignedDuration = SignedDuration::from_secs(10);

/// How long old and new authority are trusted side by side after a new leaf was issued. kubelet takes up to about two
/// minutes to swap a mounted Secret; a replica that could not be reached for longer than an hour is another matter.
pub const OVERLAP: SignedDuration = SignedDuration::from_hours(1);

/// What the Secret holds. Any part may be missing or garbage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    pub authority: Option<Pair>,
    pub leaf: Option<Pair>,
    /// Authorities of before, in PEM, while they are still trusted.
    pub previous: Option<String>,
}

/// Everything a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    pub stored: &'a Stored,
    /// The names under which the webhook is called.
    pub names: &'a BTreeSet<Name>,
    /// `caBundle` of the webhook configuration, in PEM; empty where there is none.
    pub published: &'a str,
    /// For how long it is known to have been what it is. A controller that has just started knows of no time at all.
    pub published_for: SignedDuration,
    pub now: Timestamp,
}

/// The next thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Make a new authority; keep these, in PEM, as the previous ones. The leaf is left as it is.
    NewAuthority { why: Why, previous: Option<String> },
    /// Write this into the webhook configuration.
    Publish { bundle: String },
    /// Issue a leaf by the stored authority.
    NewLeaf { why: Why },
    /// Forget the previous authorities.
    DropPrevious,
    /// Nothing before this time.
    Wait { until: Timestamp },
}

/// Why something new is made.
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
    // Until every replica has had time to take the present authority's leaf, some serve one that only an older authority
    // vouches for.
    let replaced_at = leaf.as_ref().ok().map(|leaf| leaf.issued_at() + OVERLAP);
    let is_replaced = replaced_at.is_some_and(|at| now >= at);
    if is_replaced && stored.previous.is_some() {
        return Act::DropPrevious;
    }
    // What is published and is not ours is treated alike: it may vouch for a leaf that was stored here before somebody put
    // back an older Secret.
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
    // With nothing older published there is nothing that an API server could still be going by.
    if wanted.len() > 1 && published_for < SETTLE {
        return Act::Wait {
            until: now + (SETTLE - published_for),
        };
    }
    Act::NewLeaf { why }
}

/// When the stored authority and leaf expire, of those that can be read.
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

/// All that may vouch for what replicas serve is kept. Even what has expired, or is not valid yet: it may be our own clock
/// that is wrong, and in a bundle it does no harm.
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
