//! Whether a pair can serve, or sign. Each possible fault has its own error.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::authority::Pair;
use crate::bundle::Bundle;
use crate::name::Name;
use crate::parsed::{ParseError, Parsed};

/// Why a pair cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error("the certificate is not usable: {0}")]
    Certificate(#[from] ParseError),
    #[error("there is no key that can be read")]
    Key,
    #[error("the key is not that of the certificate")]
    KeyMismatch,
    #[error("the certificate is valid from {from} only, and it is {now}: check the clocks")]
    NotYetValid { from: Timestamp, now: Timestamp },
    #[error("the certificate expired at {at}, and it is {now}")]
    Expired { at: Timestamp, now: Timestamp },
    #[error("the certificate is not that of an authority")]
    NotAuthority,
    #[error("the certificate is not for servers")]
    NotForServers,
    #[error("the certificate is not for {0}")]
    MissingName(Name),
    #[error("no authority that is trusted has signed the certificate")]
    Untrusted,
}

/// Checks that a pair belongs together, is valid now, is a server certificate for all of `names`, and was signed by one
/// of `trusted` that is valid itself.
pub(crate) fn verify(
    pair: &Pair,
    names: &BTreeSet<Name>,
    trusted: &Bundle,
    now: Timestamp,
) -> Result<Parsed, VerifyError> {
    let leaf = verify_alone(pair, now)?;
    if !leaf.is_for_servers {
        return Err(VerifyError::NotForServers);
    }
    if let Some(missing) = names.iter().find(|name| !leaf.names.contains(name)) {
        return Err(VerifyError::MissingName(missing.clone()));
    }
    if !trusted
        .iter()
        .any(|authority| authority.is_valid_at(now) && leaf.is_signed_by(authority))
    {
        return Err(VerifyError::Untrusted);
    }
    Ok(leaf)
}

/// Checks that a pair can sign leaves now.
pub(crate) fn verify_authority(pair: &Pair, now: Timestamp) -> Result<Parsed, VerifyError> {
    let authority = verify_alone(pair, now)?;
    if !authority.is_authority {
        return Err(VerifyError::NotAuthority);
    }
    Ok(authority)
}

/// Checks that a pair belongs together and is valid now.
fn verify_alone(pair: &Pair, now: Timestamp) -> Result<Parsed, VerifyError> {
    let parsed = Parsed::from_pem(&pair.certificate)?;
    if pair.public_key().ok_or(VerifyError::Key)? != parsed.public_key {
        return Err(VerifyError::KeyMismatch);
    }
    if now < parsed.not_before {
        return Err(VerifyError::NotYetValid {
            from: parsed.not_before,
            now,
        });
    }
    if now >= parsed.not_after {
        return Err(VerifyError::Expired {
            at: parsed.not_after,
            now,
        });
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests;
