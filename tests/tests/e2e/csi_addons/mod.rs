//! Volumes that the real csi-addons controller replicates, over a driver that is scripted.

mod told;
mod walk;

/// It takes three minutes, and goes on while everything else of this family does. Tests are run by their names: this is the
/// last of them, and so nobody waits for it longer than need be.
#[test]
fn what_never_returns_is_not_confirmed() {
    told::end_of("a_promotion_that_never_returns");
}
