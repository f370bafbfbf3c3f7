//! Numbers of things in prose.

use std::fmt::Display;

/// `1 object`, `3 objects`.
pub fn counted<N: Copy + Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    let s = if count == N::from(1) { "" } else { "s" };
    format!("{count} {noun}{s}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_singular() {
        assert_eq!(
            [0, 1, 2].map(|n: usize| counted(n, "object")),
            ["0 objects", "1 object", "2 objects"]
        );
        assert_eq!(counted(1_i64, "namespace"), "1 namespace");
    }
}
