//! etcd, kube-apiserver, kube-controller-manager and kube-scheduler, on free ports of loopback.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::config::AuthInfo;
use kube::{Api, Client, Config};
use tokio::sync::OnceCell;

use crate::credentials::{Credentials, kubeconfig};
use crate::process::{Process, Spec, free_port, tail};
use crate::{quiet, toolchain};

/// Users that the API server knows by a token, without any rights.
pub const USERS: [&str; 2] = ["alice", "bob"];

/// Options of a control plane.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Records every request with its user and the role that allowed it: see [`ControlPlane::audit`].
    pub audit: bool,
    /// The API server calls Services at the addresses of their endpoints, since there is no kube-proxy.
    pub calls_endpoints: bool,
}

/// A running control plane. Dropping it ends it; its logs stay if the test panics.
#[expect(missing_debug_implementations, reason = "a Client has none")]
pub struct ControlPlane {
    // Dropped in this order: writers before stores.
    scheduler: Process,
    controller_manager: Process,
    pub api_server: Process,
    pub etcd: Process,
    folder: tempfile::TempDir,
    etcd_url: String,
    url: String,
    config: Config,
}

impl ControlPlane {
    /// Starts one and waits until it is ready.
    pub async fn start() -> Result<Self> {
        Self::start_with(Options::default()).await
    }

    /// The control plane that all tests of a binary may share, each in its own namespace. Tests that break it, restart it or
    /// depend on cluster-wide objects start their own.
    ///
    /// It lives as long as the binary: its processes end with it, a later run removes its folder.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
        SHARED
            .get_or_init(|| async { Self::start().await.expect("a control plane") })
            .await
    }

    /// As [`ControlPlane::start`], with options.
    pub async fn start_with(options: Options) -> Result<Self> {
        let _start = quiet::start().await;
        let root = crate::target().join("testbed").join("runs");
        fs::create_dir_all(&root)?;
        remove_old_runs(&root);
        let mut folder = tempfile::Builder::new().prefix("run-").tempdir_in(&root)?;
        // Nothing else keeps the logs of a failed start.
        folder.disable_cleanup(true);
        let mut plane = Self::start_in(folder, options).await?;
        plane.folder.disable_cleanup(false);
        Ok(plane)
    }

    async fn start_in(folder: tempfile::TempDir, options: Options) -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tools = toolchain::control_plane()?;
        let path = folder.path();

        let etcd_url = format!("http://127.0.0.1:{}", free_port()?);
        let etcd = etcd(&tools, path, &etcd_url)?.start()?;
        let credentials = Credentials::write(path)?;
        let port = free_port()?;
        let url = format!("https://127.0.0.1:{port}");
        let mut api_server = api_server(&tools, path, &etcd_url, port);
        if options.audit {
            api_server = api_server.args(audit_flags(path)?);
        }
        if options.calls_endpoints {
            api_server = api_server.arg("--enable-aggregator-routing=true");
        }
        let api_server = api_server.start()?;

        let ca = path.join("certs/apiserver.crt");
        let mut plane = Starting { etcd, api_server };
        // The key is written after the certificate: when the key exists the certificate is complete.
        let key = ca.with_extension("key");
        plane
            .until("the API server's certificate", || async { key.exists() })
            .await?;
        for user in ["admin", "manager", "scheduler"].iter().chain(&USERS) {
            fs::write(
                path.join(format!("{user}.kubeconfig")),
                kubeconfig(&url, &ca, &credentials.token(user)),
            )?;
        }
        let config = config(&path.join("admin.kubeconfig")).await?;
        let client = Client::try_from(config.clone())?;
        plane
            .until("a ready API server", || async {
                client
                    .request_text(readyz())
                    .await
                    .is_ok_and(|text| text == "ok")
            })
            .await?;

        let controller_manager = controller_manager(&tools, path, &ca).start()?;
        let scheduler = scheduler(&tools, path).start()?;
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
        plane
            .until("the default ServiceAccount", || async {
                accounts.get("default").await.is_ok()
            })
            .await?;
        let Starting { etcd, api_server } = plane;
        Ok(Self {
            scheduler,
            controller_manager,
            api_server,
            etcd,
            folder,
            etcd_url,
            url,
            config,
        })
    }

    /// A client that may do anything (`system:masters`).
    ///
    /// A new one each time: a client depends on the runtime that created it, and every test has its own.
    pub fn client(&self) -> Client {
        Client::try_from(self.config.clone()).expect("it could be made at the start")
    }

    /// How to reach the API server, without an identity.
    pub fn without_identity(&self) -> Config {
        let mut config = self.config.clone();
        config.auth_info = AuthInfo::default();
        config
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The folder of logs, data and kubeconfigs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The file with the API server's certificate authority.
    pub fn ca(&self) -> PathBuf {
        self.folder().join("certs/apiserver.crt")
    }

    /// The kubeconfig of the administrator.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.user_kubeconfig("admin")
    }

    /// The kubeconfig of one of [`USERS`].
    pub fn user_kubeconfig(&self, user: &str) -> PathBuf {
        self.folder().join(format!("{user}.kubeconfig"))
    }

    /// The events of the audit log so far.
    pub fn audit(&self) -> Vec<serde_json::Value> {
        let log = fs::read_to_string(self.folder().join("audit.jsonl")).unwrap_or_default();
        log.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Starts the API server again, with its port and data, and waits until it is ready.
    pub async fn restart_api_server(&self) -> Result<()> {
        self.api_server.restart()?;
        self.until_ready().await;
        Ok(())
    }

    /// As [`Self::restart_api_server`], with further flags.
    pub async fn restart_api_server_with(&self, flags: &[&str]) -> Result<()> {
        self.api_server.restart_as(|spec| spec.args(flags))?;
        self.until_ready().await;
        Ok(())
    }

    /// Starts etcd again, with its port and data, and waits until the API server is ready with it.
    pub async fn restart_etcd(&self) -> Result<()> {
        self.etcd.restart()?;
        self.until_ready().await;
        Ok(())
    }

    /// Compacts etcd to the current revision: a watch from before gets 410 from an API server without a watch cache.
    pub async fn compact(&self) -> Result<()> {
        let etcd = Client::try_from(Config::new(self.etcd_url.parse()?))?;
        let call = async |path: &str, body: serde_json::Value| {
            let request = http::Request::post(path).body(body.to_string().into_bytes())?;
            anyhow::Ok(etcd.request::<serde_json::Value>(request).await?)
        };
        let status = call("/v3/maintenance/status", serde_json::json!({})).await?;
        let now = &status["header"]["revision"];
        call("/v3/kv/compaction", serde_json::json!({"revision": now})).await?;
        Ok(())
    }

    async fn until_ready(&self) {
        let client = self.client();
        crate::eventually("a ready API server", || async {
            client.request_text(readyz()).await
        })
        .await;
    }

    /// The resident memory of all processes, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let processes = self.processes().into_iter();
        processes.filter_map(Process::resident_kib).sum()
    }

    /// The process ids.
    pub fn pids(&self) -> [i32; 4] {
        self.processes().map(Process::pid)
    }

    fn processes(&self) -> [&Process; 4] {
        [
            &self.etcd,
            &self.api_server,
            &self.controller_manager,
            &self.scheduler,
        ]
    }
}

impl Drop for ControlPlane {
    #[expect(
        clippy::print_stderr,
        reason = "the only way to add to a failing test's report"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            eprintln!("{}\nlogs are kept", logs(self.folder.path()));
        }
    }
}

/// etcd and the API server while they start.
struct Starting {
    etcd: Process,
    api_server: Process,
}

impl Starting {
    async fn until<Fut: Future<Output = bool>>(
        &mut self,
        what: &str,
        ready: impl Fn() -> Fut,
    ) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(90);
        while !ready().await {
            for process in [&self.etcd, &self.api_server] {
                if !process.is_running() {
                    bail!(
                        "{} ended while starting\n{}",
                        process.name(),
                        process.log_tail()
                    );
                }
            }
            if Instant::now() > deadline {
                bail!(
                    "{what} is not there after 90 s\n{}",
                    self.api_server.log_tail()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

/// `--name=path`: most flags name a file in the folder.
fn path_flag(name: &str, path: &Path) -> OsString {
    let mut flag = OsString::from(format!("--{name}="));
    flag.push(path);
    flag
}

fn etcd(tools: &Path, folder: &Path, url: &str) -> Result<Spec> {
    let peer = format!("http://127.0.0.1:{}", free_port()?);
    Ok(Spec::new("etcd", tools.join("etcd"), folder)
        .arg(path_flag("data-dir", &folder.join("etcd")))
        // No data has to survive a crash of the machine.
        .args(["--name=default", "--log-level=warn", "--unsafe-no-fsync"])
        .arg(format!("--listen-client-urls={url}"))
        .arg(format!("--advertise-client-urls={url}"))
        .arg(format!("--listen-peer-urls={peer}"))
        .arg(format!("--initial-advertise-peer-urls={peer}"))
        .arg(format!("--initial-cluster=default={peer}")))
}

/// The API server creates its serving certificate in `certs`, and reuses it after a restart.
fn api_server(tools: &Path, folder: &Path, etcd: &str, port: u16) -> Spec {
    let key = folder.join("sa.key");
    Spec::new("kube-apiserver", tools.join("kube-apiserver"), folder)
        .arg(format!("--etcd-servers={etcd}"))
        .arg(format!("--secure-port={port}"))
        .arg(path_flag("cert-dir", &folder.join("certs")))
        .arg(path_flag("token-auth-file", &folder.join("tokens.csv")))
        .arg(path_flag(
            "service-account-key-file",
            &folder.join("sa.pub"),
        ))
        .arg(path_flag("service-account-signing-key-file", &key))
        .args([
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--profiling=false",
        ])
}

fn controller_manager(tools: &Path, folder: &Path, ca: &Path) -> Spec {
    let program = tools.join("kube-controller-manager");
    Spec::new("kube-controller-manager", program, folder)
        .arg(path_flag("kubeconfig", &folder.join("manager.kubeconfig")))
        .arg(path_flag(
            "service-account-private-key-file",
            &folder.join("sa.key"),
        ))
        .arg(path_flag("root-ca-file", ca))
        .args([
            "--leader-elect=false",
            "--secure-port=0",
            "--use-service-account-credentials=true",
            "--horizontal-pod-autoscaler-sync-period=1s",
        ])
        .args(REQUEST_RATE)
}

fn scheduler(tools: &Path, folder: &Path) -> Spec {
    Spec::new("kube-scheduler", tools.join("kube-scheduler"), folder)
        .arg(path_flag(
            "kubeconfig",
            &folder.join("scheduler.kubeconfig"),
        ))
        .args(["--leader-elect=false", "--secure-port=0"])
        .args(REQUEST_RATE)
}

/// The defaults of 20 and 30 a second for all controllers of a process would slow tests down.
const REQUEST_RATE: [&str; 2] = ["--kube-api-qps=500", "--kube-api-burst=500"];

/// Records user, request and the role that allowed it; no bodies.
fn audit_flags(folder: &Path) -> Result<Vec<String>> {
    let policy = folder.join("audit-policy.json");
    let rules = serde_json::json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    });
    fs::write(&policy, rules.to_string())?;
    Ok(vec![
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-log-path={}", folder.join("audit.jsonl").display()),
        "--audit-log-mode=blocking".to_owned(),
    ])
}

/// Removes old folders that were not cleaned up: of failed tests, and of control planes that a whole test binary shared.
fn remove_old_runs(root: &Path) {
    const KEPT: Duration = Duration::from_secs(3600);
    for run in fs::read_dir(root).into_iter().flatten().flatten() {
        let age = run
            .metadata()
            .and_then(|m| m.modified())
            .ok()
            .and_then(|at| at.elapsed().ok());
        if age.is_some_and(|age| age > KEPT) {
            let _ = fs::remove_dir_all(run.path());
        }
    }
}

fn readyz() -> http::Request<Vec<u8>> {
    http::Request::get("/readyz")
        .body(vec![])
        .expect("a sound request")
}

/// A client from a kubeconfig file.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    Ok(Client::try_from(config(kubeconfig).await?)?)
}

async fn config(kubeconfig: &Path) -> Result<Config> {
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig)?;
    let mut config =
        Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default())
            .await?;
    // A test wants the first answer, without retries or long timeouts.
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    Ok(config)
}

/// The last log lines of all processes, for a message.
pub fn logs(folder: &Path) -> String {
    let mut logs: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "log"))
        .collect();
    logs.sort();
    logs.iter()
        .map(|log| tail(log))
        .collect::<Vec<_>>()
        .join("\n")
}
