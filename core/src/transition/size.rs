//! The size limit of a status: it is stored as one object, and etcd refuses an object of 1.5 MiB.
//!
//! Texts come from elsewhere (a reason, the answer of a webhook) and lists can have any number of items, so both are
//! cut by their serialized size in bytes, and the cut part is counted in its place. Data that decisions use is never
//! cut: the names of namespaces, and the overrides and permitted Jobs of a running transition.

use crate::api::{Blocked, HistoryEntry};

/// The most that everything but the names of namespaces may take. A name is in one list, and
/// takes at most 66 bytes: 15,000 names, enrolled or remembered, and this are less than 1.5 MiB.
pub const JOURNAL_LIMIT: usize = 512 * 1024;

/// The most new namespaces that are taken over together; the others follow in turn.
pub(super) const TAKEN_OVER_AT_ONCE: usize = 1000;

/// The message of one blocker, or of one object that a policy names.
pub(super) const MESSAGE: usize = 512;

/// A message of a condition.
pub(super) const CONDITION: usize = 4 * 1024;

/// The reason of a past transition, the names in it, its overrides, and the Jobs that it let run.
const PAST_REASON: usize = 2 * 1024;
const PAST_LIST: usize = 2 * 1024;

/// Cuts a text to a serialized size.
pub(super) fn cut(text: &mut String, limit: usize) {
    if written(text) <= limit {
        return;
    }
    let all = text.len();
    let (mut size, mut end) = (0, 0);
    // Space for the note of what is missing.
    let limit = limit.saturating_sub(40);
    for (at, char) in text.char_indices() {
        size += written(char.encode_utf8(&mut [0; 4])) - 2;
        if size > limit {
            break;
        }
        end = at + char.len_utf8();
    }
    text.truncate(end);
    let missing = format!("... ({} bytes more)", all - end);
    text.push_str(&missing);
}

/// Cuts a list to a serialized size.
fn cut_list(list: &mut Vec<String>, limit: usize) {
    let size = |text: &String| written(text) + 1;
    if list.iter().map(size).sum::<usize>() <= limit {
        return;
    }
    let (all, mut left) = (list.len(), limit.saturating_sub(40));
    let fits = |text: &&String| {
        let fits = size(text) <= left;
        left = left.saturating_sub(size(text));
        fits
    };
    let kept = list.iter().take_while(fits).count();
    list.truncate(kept);
    list.push(format!("... ({} more)", all - kept));
}

/// The size as JSON, with quotes.
fn written(text: &str) -> usize {
    serde_json::to_string(text).map_or(usize::MAX, |text| text.len())
}

pub(super) fn cut_blocked(blocked: &mut [Blocked]) {
    for blocked in blocked {
        cut(&mut blocked.message, MESSAGE);
    }
}

/// Cuts the entry of an ended transition.
pub(super) fn cut_past(entry: &mut HistoryEntry) {
    cut(&mut entry.reason, PAST_REASON);
    cut_list(&mut entry.overrides, PAST_LIST);
    cut_list(&mut entry.held_jobs_to_run, PAST_LIST);
    cut_list(&mut entry.namespaces, PAST_LIST);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_fits_and_says_what_is_missing(text in ".{0,600}", limit in 64_usize..700) {
            let mut cut_text = text.clone();
            cut(&mut cut_text, limit);
            prop_assert!(written(&cut_text) <= limit, "{}", written(&cut_text));
            if written(&text) <= limit {
                prop_assert_eq!(cut_text, text);
            } else {
                let (kept, more) = cut_text.rsplit_once("... (").unwrap();
                let more: usize = more.strip_suffix(" bytes more)").unwrap().parse().unwrap();
                prop_assert!(text.starts_with(kept));
                prop_assert_eq!(kept.len() + more, text.len());
            }
        }

        #[test]
        fn a_list_fits_and_says_how_many_are_missing(list in prop::collection::vec(".{0,80}", 0..40), limit in 64_usize..2000) {
            let mut cut = list.clone();
            cut_list(&mut cut, limit);
            prop_assert!(cut.iter().map(|text| written(text) + 1).sum::<usize>() <= limit);
            if cut != list {
                let more = cut.pop().unwrap();
                let more: usize = more.strip_prefix("... (").unwrap().strip_suffix(" more)").unwrap().parse().unwrap();
                prop_assert_eq!(cut.len() + more, list.len());
                prop_assert!(list.starts_with(&cut));
            }
        }
    }
}
