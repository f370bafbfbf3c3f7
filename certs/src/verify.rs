//! Whether a pair can serve: each thing that can be wrong, by its name.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::authority::{Name, Pair};
use crate::bundle::Bundle;
use crate::parsed::{ParseError, Parsed};

/// Why a pair cannot serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error("the certificate is not usable: {0}")]
    Certificate(#[from] ParseError),
    #[error("the key is not that of the certificate")]
    KeyMismatch,
    #[error("the certificate is valid from {from} only, and it is {now}: check the clocks")]
    NotYetValid { from: Timestamp, now: Timestamp },
    #[error("the certificate expired at {at}, and it is {now}")]
    Expired { at: Timestamp, now: Timestamp },
    #[error("the certificate is not for {0}")]
    MissingName(Name),
    #[error("no authority that is trusted has signed the certificate")]
    Untrusted,
}

/// Checks that a pair belongs together, is valid now, is for all `names`, and chains to `trusted`. Returns until when it
/// is valid.
pub fn verify(
    pair: &Pair,
    names: &BTreeSet<Name>,
    trusted: &Bundle,
    now: Timestamp,
) -> Result<Timestamp, VerifyError> {
    let until = verify_alone(pair, now)?;
    let leaf = Parsed::from_pem(&pair.certificate)?;
    if let Some(missing) = names.iter().find(|name| !leaf.names.contains(name)) {
        return Err(VerifyError::MissingName(missing.clone()));
    }
    if !trusted
        .iter()
        .any(|authority| authority.is_valid_at(now) && leaf.is_signed_by(authority))
    {
        return Err(VerifyError::Untrusted);
    }
    Ok(until)
}

/// Checks what a server can check that knows neither its names nor who trusts it: that the pair belongs together and is
/// valid now. Returns until when.
pub fn verify_alone(pair: &Pair, now: Timestamp) -> Result<Timestamp, VerifyError> {
    let leaf = Parsed::from_pem(&pair.certificate)?;
    if !pair.matches() {
        return Err(VerifyError::KeyMismatch);
    }
    if now < leaf.not_before {
        return Err(VerifyError::NotYetValid {
            from: leaf.not_before,
            now,
        });
    }
    if now >= leaf.not_after {
        return Err(VerifyError::Expired {
            at: leaf.not_after,
            now,
        });
    }
    Ok(leaf.not_after)
}
