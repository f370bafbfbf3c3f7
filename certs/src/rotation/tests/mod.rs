mod properties;
mod sequence;
mod world;

use super::*;
use world::World;

const DAY: SignedDuration = SignedDuration::from_hours(24);
