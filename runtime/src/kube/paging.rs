//! Lists that are read page by page.
//!
//! A continue token is valid for as long as the API server keeps the version that the list began with, some five
//! minutes. If reading takes longer, the list is read again without pages, so that it cannot expire.

use kube::api::ListParams;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// One page of a list, or all of it.
#[derive(Debug, Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
pub struct Page<T> {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default = "Vec::new")]
    items: Vec<T>,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

/// How far a list has been read.
#[derive(Debug)]
pub struct Paging {
    /// `None`: without pages.
    limit: Option<u32>,
    token: Option<String>,
    is_over: bool,
}

impl Paging {
    /// Reads pages of `limit` objects.
    pub fn new(limit: u32) -> Self {
        Self {
            limit: Some(limit),
            token: None,
            is_over: false,
        }
    }

    /// The parameters of the next request; `None`: all pages have been read.
    pub fn next(&self) -> Option<ListParams> {
        (!self.is_over).then(|| ListParams {
            limit: self.limit,
            continue_token: self.token.clone(),
            ..ListParams::default()
        })
    }

    /// Advances past a page and returns its items.
    pub fn turn<T>(&mut self, page: Page<T>) -> Vec<T> {
        self.token = page.metadata.next.filter(|token| !token.is_empty());
        self.is_over = self.token.is_none();
        page.items
    }

    /// Restarts without pages after the token has expired. Items that were read before come again. `false`: the list
    /// was already read without pages.
    pub fn restart(&mut self) -> bool {
        self.token = None;
        self.limit.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(next: &str, items: &[u32]) -> Page<u32> {
        serde_json::from_value(json!({"metadata": {"continue": next}, "items": items})).unwrap()
    }

    #[test]
    fn pages_are_read_to_the_last() {
        let mut paging = Paging::new(2);
        assert_eq!(paging.next().unwrap().limit, Some(2));
        assert_eq!(paging.turn(page("a", &[1, 2])), [1, 2]);
        let params = paging.next().unwrap();
        assert_eq!(params.continue_token.as_deref(), Some("a"));
        assert_eq!(paging.turn(page("", &[3])), [3]);
        assert!(paging.next().is_none());
    }

    #[test]
    fn a_list_that_expires_is_read_again_without_pages() {
        let mut paging = Paging::new(2);
        paging.turn(page("a", &[1, 2]));
        assert!(paging.restart());
        let params = paging.next().unwrap();
        assert_eq!((params.limit, params.continue_token), (None, None));
        assert!(!paging.restart(), "that cannot expire");
    }
}
