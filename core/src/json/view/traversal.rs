//! Reads the text of an object once, and keeps only what the paths of a view need.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Container, View};
use crate::json::pointer::Pointer;

/// One object during the traversal, with the paths (`live`, a bit each) that lead through it.
pub(super) struct Traversal<'s, 'a> {
    view: &'s mut View<'a>,
    paths: &'s [&'s Pointer],
    live: u64,
    depth: usize,
}

impl<'s, 'a> Traversal<'s, 'a> {
    pub(super) fn of(view: &'s mut View<'a>, paths: &'s [&'s Pointer], live: u64) -> Self {
        Self {
            view,
            paths,
            live,
            depth: 0,
        }
    }

    /// Records the container here for every path that leads through it, and drops what an earlier member of the same
    /// name had below: the last one counts, as for the API server.
    fn note(&mut self, container: Container) {
        for i in bits(self.live) {
            if self.depth > 0 {
                self.view.containers[i][self.depth - 1] = container;
            }
            if !matches!(container, Container::Object(n) if n > 0) {
                self.view.leaves[i] = None;
                self.view.containers[i][self.depth..].fill(Container::Absent);
            }
        }
    }
}

impl<'a> DeserializeSeed<'a> for Traversal<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        let at_root = self.depth == 0;
        if at_root {
            deserializer.deserialize_map(self)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

impl<'a> Visitor<'a> for Traversal<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.note(Container::Object(0));
        let mut members = 0;
        while let Some(here) = map.next_key_seed(Key {
            paths: self.paths,
            live: self.live,
            depth: self.depth,
        })? {
            members += 1;
            if here == 0 {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let depth = self.depth + 1;
            let ends: u64 = bits(here)
                .filter(|i| self.paths[*i].len() == depth)
                .map(|i| 1 << i)
                .sum();
            if ends == 0 {
                map.next_value_seed(Traversal {
                    view: self.view,
                    paths: self.paths,
                    live: here,
                    depth,
                })?;
                continue;
            }
            let raw: &'a RawValue = map.next_value()?;
            for i in bits(ends) {
                self.view.leaves[i] = Some(raw);
            }
            if here != ends {
                // One path ends here and another continues.
                let traversal = Traversal {
                    view: self.view,
                    paths: self.paths,
                    live: here & !ends,
                    depth,
                };
                traversal
                    .deserialize(&mut serde_json::Deserializer::from_str(raw.get()))
                    .map_err(serde::de::Error::custom)?;
            }
        }
        if self.depth > 0 && members > 0 {
            for i in bits(self.live) {
                self.view.containers[i][self.depth - 1] = Container::Object(members);
            }
        }
        Ok(())
    }

    fn visit_unit<E>(mut self) -> Result<(), E> {
        self.note(Container::Absent);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut seq: A) -> Result<(), A::Error> {
        self.note(Container::Other);
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(mut self, _: bool) -> Result<(), E> {
        self.note(Container::Other);
        Ok(())
    }

    fn visit_i64<E>(mut self, _: i64) -> Result<(), E> {
        self.note(Container::Other);
        Ok(())
    }

    fn visit_u64<E>(mut self, _: u64) -> Result<(), E> {
        self.note(Container::Other);
        Ok(())
    }

    fn visit_f64<E>(mut self, _: f64) -> Result<(), E> {
        self.note(Container::Other);
        Ok(())
    }

    fn visit_str<E>(mut self, _: &str) -> Result<(), E> {
        self.note(Container::Other);
        Ok(())
    }
}

/// A member's name, as the set of paths that lead through it.
struct Key<'s> {
    paths: &'s [&'s Pointer],
    live: u64,
    depth: usize,
}

impl<'a> DeserializeSeed<'a> for Key<'_> {
    type Value = u64;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, key: &str) -> Result<u64, E> {
        Ok(bits(self.live)
            .filter(|i| self.paths[*i].segment(self.depth) == Some(key))
            .map(|i| 1 << i)
            .sum())
    }
}

fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = (mask != 0).then(|| mask.trailing_zeros() as usize)?;
        mask &= mask - 1;
        Some(lowest)
    })
}
