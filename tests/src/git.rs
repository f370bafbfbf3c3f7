//! A Git repository served over HTTP on loopback by `git http-backend` behind a small server.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, Method, StatusCode, Uri, header};
use tokio::io::AsyncWriteExt as _;
use tokio_util::task::AbortOnDropHandle;

/// The only branch.
pub const BRANCH: &str = "main";

/// A repository with a working tree that tests write to. Dropping it ends the server; the files are deleted with their
/// folder.
#[derive(Debug)]
pub struct Repository {
    tree: PathBuf,
    url: String,
    _server: AbortOnDropHandle<()>,
}

impl Repository {
    /// Creates an empty repository in `folder/<name>` and serves it.
    pub async fn serve(folder: &Path, name: &str) -> Result<Self> {
        let tree = folder.join(name);
        fs::create_dir_all(&tree)?;
        git(&tree, &["init", "--quiet", "--initial-branch", BRANCH])?;

        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let url = format!("http://{}/{name}", listener.local_addr()?);
        let root = Arc::new(folder.to_owned());
        let router = Router::new().fallback(answer).with_state(root);
        let server = tokio::spawn(async move {
            axum::serve(listener, router)
                .await
                .expect("it serves until it is dropped");
        });
        Ok(Self {
            tree,
            url,
            _server: AbortOnDropHandle::new(server),
        })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Writes a file of the working tree.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let file = self.tree.join(path);
        fs::create_dir_all(file.parent().expect("a file is in the tree"))?;
        Ok(fs::write(file, text)?)
    }

    /// Removes a file of the working tree.
    pub fn remove(&self, path: &str) -> Result<()> {
        fs::remove_file(self.tree.join(path))?;
        Ok(())
    }

    /// Commits the working tree; returns the hash of the commit.
    pub fn commit(&self, message: &str) -> Result<String> {
        git(&self.tree, &["add", "--all"])?;
        git(&self.tree, &["commit", "--quiet", "--message", message])?;
        Ok(git(&self.tree, &["rev-parse", "HEAD"])?.trim().to_owned())
    }
}

/// Runs git in the working tree.
fn git(tree: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = plain_git();
    command.arg("-C").arg(tree).args(arguments);
    for side in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{side}_NAME"), "Test Bed")
            .env(format!("GIT_{side}_EMAIL"), "testbed@example.com");
    }
    let output = command.stdin(Stdio::null()).output();
    let output = output.context("git cannot be run: install it")?;
    if !output.status.success() {
        bail!(
            "git {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Git without the configuration of user and machine, and without the environment of a Git hook that runs the tests.
fn plain_git() -> Command {
    let mut command = Command::new("git");
    for inherited in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(inherited);
    }
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

async fn answer(
    State(root): State<Arc<PathBuf>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match backend(&root, &method, &uri, &headers, &body).await {
        Ok(response) => response,
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response(),
    }
}

/// Passes a request to `git http-backend` as CGI (RFC 3875).
async fn backend(
    root: &Path,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response> {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let mut command = plain_git();
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or_default())
        .env("REQUEST_METHOD", method.as_str())
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("REMOTE_ADDR", "127.0.0.1");
    for (variable, name) in [
        ("CONTENT_TYPE", header::CONTENT_TYPE),
        ("HTTP_CONTENT_ENCODING", header::CONTENT_ENCODING),
        (
            "GIT_PROTOCOL",
            header::HeaderName::from_static("git-protocol"),
        ),
    ] {
        if let Some(value) = text(name) {
            command.env(variable, value);
        }
    }
    let mut child = tokio::process::Command::from(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take().expect("piped above");
    let body = body.clone();
    // Concurrently with reading, so that neither side blocks on a full pipe.
    let sending = tokio::spawn(async move { stdin.write_all(&body).await });
    let output = child.wait_with_output().await?;
    // A backend may close its end early.
    let _ = sending.await?;
    respond(&output.stdout)
}

/// A CGI answer: header lines, a blank line, the body.
fn respond(answer: &[u8]) -> Result<Response> {
    const BLANK: &[u8] = b"\r\n\r\n";
    let end = answer
        .windows(BLANK.len())
        .position(|window| window == BLANK)
        .context("git http-backend gave no header")?;
    let mut response = Response::builder();
    for line in std::str::from_utf8(&answer[..end])?.lines() {
        let (name, value) = line
            .split_once(':')
            .context("a header line without a colon")?;
        let value = value.trim();
        response = if name.eq_ignore_ascii_case("status") {
            response.status(value.split(' ').next().unwrap_or_default())
        } else {
            response.header(name, value)
        };
    }
    let body = answer[end + BLANK.len()..].to_vec();
    Ok(response.body(Body::from(body))?)
}
