//! Parameters of writes with a field manager. All our writes set one: admission and `managedFields` identify the writer
//! by it.

use kube::api::{PatchParams, PostParams};

/// For a patch.
pub fn patch(manager: &str) -> PatchParams {
    PatchParams {
        field_manager: Some(manager.to_owned()),
        ..PatchParams::default()
    }
}

/// For a create or a replace.
pub fn post(manager: &str) -> PostParams {
    PostParams {
        field_manager: Some(manager.to_owned()),
        ..PostParams::default()
    }
}
