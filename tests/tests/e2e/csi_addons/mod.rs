//! Volumes that the real csi-addons controller replicates with a scripted driver.

mod reported;
mod transition;

/// This scenario takes three minutes and runs beside all others of this family. Tests run in the order of their names: as
/// the last one this test waits no longer than needed.
#[test]
fn what_never_returns_is_not_confirmed() {
    reported::end_of("a_promotion_that_never_returns");
}
