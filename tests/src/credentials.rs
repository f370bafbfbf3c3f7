//! The users that the API server knows from the start, and their credentials, created for one run.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::control_plane::USERS;
use crate::toolchain::hex;

/// The key that signs ServiceAccounts' tokens, and the tokens of other users.
pub(crate) struct Credentials {
    key: rcgen::KeyPair,
}

impl Credentials {
    /// Creates them and writes the files that the API server reads: `sa.key`, `sa.pub` and `tokens.csv`.
    pub(crate) fn write(folder: &Path) -> Result<Self> {
        let key = rcgen::KeyPair::generate().context("no key can be made")?;
        fs::write(folder.join("sa.key"), key.serialize_pem())?;
        fs::write(folder.join("sa.pub"), key.public_key_pem())?;
        let made = Self { key };
        let mut tokens = format!(
            "{},admin,admin,\"system:masters\"\n{},system:kube-controller-manager,manager\n{},system:kube-scheduler,scheduler\n",
            made.token("admin"),
            made.token("manager"),
            made.token("scheduler"),
        );
        for user in USERS {
            writeln!(tokens, "{},{user},{user}", made.token(user))?;
        }
        fs::write(folder.join("tokens.csv"), tokens)?;
        Ok(made)
    }

    /// Not guessable, since every user of this machine can reach loopback.
    pub(crate) fn token(&self, user: &str) -> String {
        let digest = Sha256::new()
            .chain_update(self.key.serialized_der())
            .chain_update(user)
            .finalize();
        hex(&digest)
    }
}

/// A kubeconfig, as text.
pub(crate) fn kubeconfig(url: &str, ca: &Path, token: &str) -> String {
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": ca}}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    })
    .to_string()
}
