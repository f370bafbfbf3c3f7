# Short forms of everyday commands: `just` lists them. Each is plain cargo, so none is needed.

[private]
default:
    @just --list --unsorted

# The main job on a real control plane
demo *ARGS:
    cargo demo {{ ARGS }}

# Format, lints and unit tests: what to run before every commit
check: fmt lint unit

# Format the code
fmt:
    cargo fmt --all

# All lints, as in CI
lint:
    cargo clippy --workspace --all-targets --locked -- -D warnings
    .ci/typos
    .ci/circles

# Unit tests; no Go, no control plane
unit *ARGS:
    cargo test --workspace --locked --exclude failover-tests {{ ARGS }}

# End-to-end tests, all or one family: `just e2e pods_gone`
e2e *ARGS:
    .ci/cargo-test --locked --package failover-tests --test e2e -- {{ ARGS }}

# Write what is generated: CRDs, admission policies, the CLI reference and the golden files of its help
generate:
    cargo xtask generate
    SNAPSHOTS=overwrite cargo test --quiet --package kubectl-failover --test cli

# The API documentation, private items too
doc *ARGS:
    RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked --document-private-items {{ ARGS }}

# Everything that must pass before a change lands; over half an hour
ci:
    bash .ci/run
