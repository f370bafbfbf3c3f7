//! Parameters of writes under a field manager. Every write of ours names one: admission and `managedFields` tell by it who wrote.

use kube::api::{PatchParams, PostParams};

/// Of a patch.
pub fn patch(manager: &str) -> PatchParams {
    PatchParams {
        field_manager: Some(manager.to_owned()),
        ..PatchParams::default()
    }
}

/// Of a create, or a replace.
pub fn post(manager: &str) -> PostParams {
    PostParams {
        field_manager: Some(manager.to_owned()),
        ..PostParams::default()
    }
}
