//! Builds a JSON patch that always applies: parents first, `remove` only of existing values, only `add` and `remove`.
//!
//! A patch that does not apply fails the user's request even under `failurePolicy: Ignore`, so `replace` and `test` are
//! never used. The builder tracks what its own operations do to the object, so that several fields below one created
//! parent are created and removed together.

use std::collections::BTreeMap;

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation};
use serde_json::{Value, json};

use crate::json::pointer::Pointer;
use crate::json::view::{Container, View};

/// The object cannot be written at this place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not an object")]
pub struct NotAnObject(pub Pointer);

/// A patch under construction, and the object's shape after it.
#[derive(Debug)]
pub(crate) struct PatchBuilder {
    operations: Vec<PatchOperation>,
    containers: BTreeMap<Pointer, Container>,
    present: BTreeMap<Pointer, bool>,
}

impl PatchBuilder {
    /// Starts from a view that was taken with `pointers`, in this order. `annotations` are further annotations that may
    /// be written or removed, and whether each exists.
    pub(crate) fn new(
        view: &View<'_>,
        pointers: &[&Pointer],
        annotations: &[(&'static str, bool)],
    ) -> Self {
        let mut containers = BTreeMap::new();
        let mut present = BTreeMap::new();
        for (i, pointer) in pointers.iter().enumerate() {
            for depth in 1..pointer.len() {
                containers.insert(pointer.prefix(depth), view.container(i, depth));
            }
            present.insert((*pointer).clone(), view.value(i).is_some());
        }
        for (key, there) in annotations {
            let pointer = Pointer::annotation(key);
            containers.insert(pointer.prefix(1), view.metadata());
            containers.insert(pointer.prefix(2), view.annotations());
            present.insert(pointer, *there);
        }
        Self {
            operations: Vec::new(),
            containers,
            present,
        }
    }

    /// Writes a value, creating the parents that are absent.
    pub(crate) fn set(&mut self, pointer: &Pointer, value: Value) -> Result<(), NotAnObject> {
        for depth in 1..pointer.len() {
            let parent = pointer.prefix(depth);
            match self.container(&parent) {
                Container::Object(_) => {}
                Container::Absent => {
                    self.push_add(&parent, json!({}));
                    self.grow(&parent, 1);
                    self.containers.insert(parent, Container::Object(0));
                }
                Container::Other => return Err(NotAnObject(parent)),
            }
        }
        self.push_add(pointer, value);
        if self.present.insert(pointer.clone(), true) != Some(true) {
            self.grow(pointer, 1);
        }
        Ok(())
    }

    /// Removes a value, if it exists, and with it every parent from `topmost` down that would be left empty. The maps
    /// of annotations and labels are always removed when they are empty, as in the API server (`omitempty` in
    /// ObjectMeta).
    pub(crate) fn remove(&mut self, pointer: &Pointer, topmost: Option<&Pointer>) {
        if self.present.get(pointer) != Some(&true) {
            return;
        }
        let in_metadata = pointer.segment(0) == Some("metadata");
        let highest = if in_metadata {
            2
        } else {
            topmost.map_or(pointer.len(), Pointer::len)
        };
        let mut cut = pointer.len();
        while cut > highest && self.container(&pointer.prefix(cut - 1)) == Container::Object(1) {
            cut -= 1;
            self.containers
                .insert(pointer.prefix(cut), Container::Absent);
        }
        let gone = pointer.prefix(cut);
        self.present.insert(pointer.clone(), false);
        self.grow(&gone, -1);
        self.operations
            .push(PatchOperation::Remove(RemoveOperation {
                path: to_path(&gone),
            }));
    }

    pub(crate) fn build(self) -> Patch {
        Patch(self.operations)
    }

    fn container(&self, pointer: &Pointer) -> Container {
        self.containers.get(pointer).copied().unwrap_or_default()
    }

    /// Tracks the number of members of the parent of `pointer`.
    fn grow(&mut self, pointer: &Pointer, by: isize) {
        if pointer.len() < 2 {
            return; // the object itself is never removed
        }
        if let Some(Container::Object(members)) =
            self.containers.get_mut(&pointer.prefix(pointer.len() - 1))
        {
            *members = members.saturating_add_signed(by);
        }
    }

    fn push_add(&mut self, pointer: &Pointer, value: Value) {
        self.operations.push(PatchOperation::Add(AddOperation {
            path: to_path(pointer),
            value,
        }));
    }
}

fn to_path(pointer: &Pointer) -> PointerBuf {
    PointerBuf::from_tokens(pointer.segments())
}
