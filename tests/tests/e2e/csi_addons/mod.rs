//! Volumes that the real csi-addons controller replicates, over a driver that is scripted.

mod told;
mod walk;
