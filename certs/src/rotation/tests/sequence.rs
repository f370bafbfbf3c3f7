//! Which act follows in which situation.

use super::*;
use crate::authority::{AUTHORITY_LIFETIME, LEAF_LIFETIME, issue_authority};

#[test]
fn an_empty_secret_gets_authority_bundle_and_leaf_without_waiting() {
    let mut world = World::new();
    assert_eq!(
        world.act(),
        Act::NewAuthority {
            why: Why::Missing,
            previous: None
        }
    );
    world.expect_publish(1);
    assert_eq!(world.act(), Act::NewLeaf { why: Why::Missing });
    world.expect_wait(LEAF_LIFETIME * 2 / 3);
}

#[test]
fn a_leaf_is_renewed_after_two_thirds_of_its_life_by_the_same_authority() {
    let mut world = World::settled();
    let published = world.published.clone();
    world.now += LEAF_LIFETIME * 2 / 3;
    assert_eq!(world.act(), Act::NewLeaf { why: Why::Due });
    world.expect_wait(LEAF_LIFETIME * 2 / 3);
    assert_eq!(world.published, published);
}

#[test]
fn a_changed_name_gets_a_new_leaf_at_once() {
    let mut world = World::settled();
    let name = Name::Dns("webhook.example.com".into());
    world.names.insert(name.clone());
    assert_eq!(
        world.act(),
        Act::NewLeaf {
            why: Why::Unusable(VerifyError::MissingName(name))
        }
    );
}

#[test]
fn renewing_an_authority_never_breaks_trust_in_what_is_served() {
    let mut world = World::settled();
    let old = world.published.clone();
    world.run_for(AUTHORITY_LIFETIME * 2 / 3 - DAY);
    assert_eq!(world.published, old);
    world.now += DAY;
    assert_eq!(
        world.act(),
        Act::NewAuthority {
            why: Why::Due,
            previous: Some(old.clone())
        }
    );
    // Both are published before anything is signed.
    world.expect_publish(2);
    world.expect_wait(SETTLE);
    world.now += SETTLE;
    assert_eq!(
        world.act(),
        Act::NewLeaf {
            why: Why::Unusable(VerifyError::Untrusted)
        }
    );
    world.expect_wait(OVERLAP);
    world.now += OVERLAP;
    assert_eq!(world.act(), Act::DropPrevious);
    // The new one alone is published last.
    assert_ne!(world.expect_publish(1), old);
    world.settle();
}

#[test]
fn a_restarted_controller_waits_as_if_the_bundle_was_just_published() {
    let mut world = World::settled();
    world.stored.authority = None;
    world.act();
    world.act();
    world.now += SETTLE * 3;
    world.known_since = None;
    world.expect_wait(SETTLE);
}

#[test]
fn a_foreign_bundle_is_kept_for_the_overlap_and_then_dropped() {
    let mut world = World::settled();
    world.run_for(DAY);
    let own = world.published.clone();
    // Somebody restored an older Secret: replicas keep serving the newer leaf until they have loaded the older one.
    let newer = issue_authority(world.now).unwrap();
    world.publish(newer.certificate.clone());
    world.expect_publish(2);
    world.expect_wait(OVERLAP);
    world.now += OVERLAP;
    assert_eq!(world.expect_publish(1), own);
}

#[test]
fn a_wiped_or_overwritten_bundle_is_published_again_at_once() {
    for published in ["", "garbage", "-----BEGIN CERTIFICATE-----\n!\n"] {
        let mut world = World::settled();
        let before = world.published.clone();
        world.published = published.into();
        assert_eq!(
            world.act(),
            Act::Publish { bundle: before },
            "{published:?}"
        );
        world.settle();
    }
}

#[test]
fn an_authority_whose_key_is_lost_stays_trusted_even_if_it_is_not_published() {
    let mut world = World::settled();
    let old = world.published.clone();
    world.stored.authority.as_mut().unwrap().key = String::new();
    world.published = String::new();
    assert_eq!(
        world.act(),
        Act::NewAuthority {
            why: Why::Unusable(VerifyError::Key),
            previous: Some(old)
        }
    );
    world.expect_publish(2);
}

#[test]
fn a_lost_secret_keeps_the_published_authorities() {
    let mut world = World::settled();
    let published = world.published.clone();
    world.stored = Stored::default();
    assert_eq!(
        world.act(),
        Act::NewAuthority {
            why: Why::Missing,
            previous: Some(published)
        }
    );
}

/// A node whose clock is far off may become the leader: what works for everybody else must stay trusted meanwhile.
#[test]
fn a_wrong_clock_adds_authorities_and_removes_none() {
    for off in [-AUTHORITY_LIFETIME, AUTHORITY_LIFETIME * 3] {
        let mut world = World::settled();
        let (right, serving) = (world.now, world.stored.leaf.clone().unwrap());
        world.now += off;
        world.known_since = None;
        for _ in 0..5 {
            world.act();
        }
        assert!(Bundle::parse(&world.published).len() > 1);
        let trusted = Bundle::parse(&world.published);
        assert!(verify(&serving, &world.names, &trusted, right).is_ok());
        // The clock of the next leader is right.
        world.now = right;
        world.known_since = None;
        world.leaves.clear();
        world.run_for(DAY);
        assert_eq!(Bundle::parse(&world.published).len(), 1);
        assert!(usable_authority(&world.stored, right + DAY).is_ok());
    }
}
