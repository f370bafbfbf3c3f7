//! Installed sites that tests use one after another.
//!
//! ```text
//!   Site::shared(options) ──► Lease ── used as a Site ──► dropped ──► as it was found? ──► the next test
//!                                                                          └─ no: the test fails, the site is ended
//! ```
//!
//! The start of a control plane costs five seconds of a core, a deleted namespace hardly anything. So a test that changes
//! only objects in its own namespaces, or what it can restore with the CLI, takes a lease. [`State`] has what it must
//! restore. That is checked when the lease ends, so that this test fails, and not the next. A test that kills a process
//! starts it again; one that reconfigures a process needs its own site.

use std::collections::BTreeSet;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use anyhow::Result;
use failover_core::Role;
use failover_core::api::{self, FailoverPolicy, Phase, RoleRule};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Client, ResourceExt as _};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::block_in_place;
use tokio::time::timeout;

use super::{Options, Site};
use crate::{admin, eventually_within};

/// How many sites may exist at a time: an idle one still takes 0.9 GiB.
const AT_MOST: usize = 4;

/// How long deletions of a test may take: a namespace with pods is checked every fifteen seconds.
const GONE_WITHIN: Duration = Duration::from_secs(90);

static SLOTS: Semaphore = Semaphore::const_new(AT_MOST);
static IDLE: Mutex<Vec<Shared>> = Mutex::new(Vec::new());

/// The runtime of the background tasks of sites. A test has its own runtime, which ends with it.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Runtime::new().expect("a runtime can be made"));

struct Shared {
    site: Site,
    options: Options,
    /// The state of the new site.
    state: State,
}

/// The use of a site by one test, which must restore the site before it drops this.
#[expect(missing_debug_implementations, reason = "a Site has none")]
pub struct Lease {
    /// Present until it is dropped.
    shared: Option<Shared>,
    patience: Duration,
    _slot: SemaphorePermit<'static>,
}

impl Site {
    /// A site that other tests have used before and will use after. See [`shared`](self) for what a test may change.
    pub async fn shared(options: Options) -> Result<Lease> {
        let slot = SLOTS.acquire().await?;
        let (found, other) = {
            let mut idle = IDLE.lock().expect("no panic while it is held");
            let found = idle.iter().position(|shared| shared.options == options);
            let found = found.map(|place| idle.remove(place));
            // If all slots have idle sites, one has to end for a new one.
            let full = found.is_none() && idle.len() > SLOTS.available_permits();
            let other = if full { idle.pop() } else { None };
            (found, other)
        };
        drop(other);
        let shared = match found {
            Some(shared) => shared,
            None => RUNTIME.spawn(Shared::start(options)).await??,
        };
        Ok(Lease {
            shared: Some(shared),
            patience: GONE_WITHIN,
            _slot: slot,
        })
    }
}

impl std::ops::Deref for Lease {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self
            .shared
            .as_ref()
            .expect("present until it is dropped")
            .site
    }
}

impl Lease {
    /// Promotes the site if needed and deletes namespaces, as a person would.
    pub async fn clear(&self, namespaces: &[&str]) {
        if self.status().await.layers.uniform() != Some(Role::Primary) {
            let volumes = "volumereplications,volumegroupreplications";
            let get = ["get", volumes, "--all-namespaces", "--output=name"];
            let volumes = self.kubectl(&get).await.expect(0).stdout;
            let promote = if volumes.is_empty() {
                super::PROMOTE
            } else {
                super::PROMOTE_VOLUMES
            };
            self.failover(promote).await.expect(0);
        }
        for namespace in namespaces {
            self.delete_finalized(namespace).await;
        }
        let delete = ["delete", "namespace", "--wait=false"];
        let arguments = [&delete[..], namespaces].concat();
        self.kubectl(&arguments).await.expect(0);
    }

    /// Deletes objects with finalizers, such as claims and pods of Jobs: a namespace that is deleted with some is checked
    /// again only after 15 s.
    async fn delete_finalized(&self, namespace: &str) {
        let finalized = [
            ApiResource::erase::<Job>(&()),
            ApiResource::erase::<PersistentVolumeClaim>(&()),
        ];
        let mut found = 0;
        for resource in &finalized {
            let api: Api<DynamicObject> = Api::namespaced_with(self.client(), namespace, resource);
            let listed = api.list_metadata(&ListParams::default()).await;
            found += listed.map_or(0, |list| list.items.len());
        }
        if found > 0 {
            let kinds = "cronjobs,jobs,deployments,statefulsets,pods,persistentvolumeclaims";
            let delete = ["delete", kinds, "--all", "--namespace", namespace];
            self.kubectl(&delete).await.expect(0);
        }
    }

    /// The differences to the original state, which would fail the test.
    pub async fn left(&self) -> Result<Vec<String>> {
        let shared = self.shared.as_ref().expect("present until it is dropped");
        Ok(State::of(self).await?.differences(&shared.state))
    }

    /// How long restoring may take, for a test that is meant to fail.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

impl Drop for Lease {
    /// # Panics
    /// If the site is not restored.
    fn drop(&mut self) {
        let shared = self.shared.take().expect("dropped once");
        if std::thread::panicking() {
            return; // The site ends with the test, its logs are kept.
        }
        block_in_place(|| Handle::current().block_on(shared.until_restored(self.patience)));
        let mut idle = IDLE.lock().expect("no panic while it is held");
        idle.push(shared);
    }
}

impl Shared {
    async fn start(options: Options) -> Result<Self> {
        let site = Site::start(options.clone()).await?;
        let state = State::of(&site).await?;
        Ok(Self {
            site,
            options,
            state,
        })
    }

    /// Waits until the site has its original state.
    async fn until_restored(&self, patience: Duration) {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or_default();
        let what = format!("a shared site as {test} found it");
        // The deletion of a namespace takes five seconds, and reading the whole state several requests.
        eventually_within(patience, &what, || async {
            let client = self.site.client();
            let now = listed(&client, &ApiResource::erase::<Namespace>(&()), false).await;
            let now = now.map_err(|error| format!("{error:#}"))?;
            match now.difference(&self.state.objects).next() {
                None => Ok(()),
                Some(left) => Err(format!("{left} was left")),
            }
        })
        .await;
        eventually_within(patience, &what, || async {
            let now = State::of(&self.site).await.map_err(|e| format!("{e:#}"))?;
            let differences = now.differences(&self.state);
            if differences.is_empty() {
                Ok(())
            } else {
                Err(differences.join("; "))
            }
        })
        .await;
        // The site remembers deleted namespaces; the next test may need the same name, never enrolled.
        let deleted = self.site.status().await.deleted;
        if !deleted.is_empty() {
            let names: Vec<&str> = deleted.iter().map(String::as_str).collect();
            let unenroll = [&["unenroll", "--yes"], &names[..]].concat();
            self.site.failover(&unenroll).await.expect(0);
        }
    }
}

/// What a test could leave behind and the next one would find.
#[derive(Clone, Debug, PartialEq)]
struct State {
    /// All cluster-scoped objects and our own, admission policies with their generation.
    objects: BTreeSet<String>,
    /// Role, mode, whether a transition is running, and more; not the epoch, which only grows.
    site: String,
    /// The ready processes and the schedulable nodes.
    running: BTreeSet<String>,
}

impl State {
    async fn of(site: &Site) -> Result<Self> {
        Ok(Self {
            objects: objects(&site.client()).await?,
            site: summary(&site.stored().await),
            running: running(site).await?,
        })
    }

    /// What was added and what is missing, compared to before.
    fn differences(&self, before: &Self) -> Vec<String> {
        let left = self.objects.difference(&before.objects);
        let gone = before.objects.difference(&self.objects);
        let unready = before.running.difference(&self.running);
        let mut found: Vec<String> = left.map(|object| format!("{object} was left")).collect();
        found.extend(gone.map(|object| format!("{object} is gone")));
        found.extend(unready.map(|what| format!("{what} is not ready")));
        if self.site != before.site {
            found.push(format!(
                "the site was {}, and is {}",
                before.site, self.site
            ));
        }
        found
    }
}

async fn objects(client: &Client) -> Result<BTreeSet<String>> {
    let by_name = [
        ApiResource::erase::<Namespace>(&()),
        ApiResource::erase::<Node>(&()),
        ApiResource::erase::<PersistentVolume>(&()),
        ApiResource::erase::<ClusterRole>(&()),
        ApiResource::erase::<ClusterRoleBinding>(&()),
        ApiResource::erase::<CustomResourceDefinition>(&()),
        ApiResource::erase::<FailoverPolicy>(&()),
        ApiResource::erase::<RoleRule>(&()),
        // The controller writes it when certificates are due.
        ApiResource::erase::<MutatingWebhookConfiguration>(&()),
    ];
    let with_generation = [
        ApiResource::erase::<ValidatingAdmissionPolicy>(&()),
        ApiResource::erase::<ValidatingAdmissionPolicyBinding>(&()),
    ];
    let mut found = BTreeSet::new();
    for resource in &by_name {
        found.extend(listed(client, resource, false).await?);
    }
    for resource in &with_generation {
        found.extend(listed(client, resource, true).await?);
    }
    Ok(found)
}

/// All objects of a kind: `namespaces shop`, or with generation `... (generation 2)`.
async fn listed(
    client: &Client,
    resource: &ApiResource,
    with_generation: bool,
) -> Result<BTreeSet<String>> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), resource);
    let objects = api.list_metadata(&ListParams::default()).await?;
    let names = objects.items.into_iter().map(|object| {
        let metadata = object.metadata;
        let place = [metadata.namespace, metadata.name];
        let name = place.into_iter().flatten().collect::<Vec<_>>().join("/");
        let generation = metadata.generation.filter(|_| with_generation);
        let generation = generation.map(|number| format!(" (generation {number})"));
        let generation = generation.unwrap_or_default();
        format!("{} {name}{generation}", resource.plural)
    });
    Ok(names.collect())
}

/// A summary of everything in the Site that a test must restore.
fn summary(site: &api::Site) -> String {
    let status = site.status.clone().unwrap_or_default();
    let settled = status.phase == Some(Phase::Stable) && status.transition.is_none();
    let role = status.layers.uniform().map(|role| role.to_string());
    format!(
        "{} by its spec, {} by its status, {}, {:?}, {}, with {:?} enrolled",
        site.spec.role,
        role.unwrap_or_else(|| "mixed".to_owned()),
        if settled { "settled" } else { "moving" },
        site.spec.mode,
        if site.spec.paused.is_some() {
            "paused"
        } else {
            "not paused"
        },
        status.namespaces,
    )
}

/// Our processes that report ready, and the schedulable nodes.
async fn running(site: &Site) -> Result<BTreeSet<String>> {
    const SOON: Duration = Duration::from_secs(5);
    let mut found = BTreeSet::new();
    for (process, address) in [
        (&site.webhook, site.webhook_admin()),
        (&site.controller, site.controller_admin()),
    ] {
        let answer = timeout(SOON, admin::get(address, "/readyz")).await;
        let ready = matches!(answer, Ok(Ok(text)) if text.split(' ').nth(1) == Some("200"));
        if ready && !process.is_reconfigured() {
            found.insert(process.name().to_owned());
        }
    }
    let kwok = site.kwok.as_ref();
    if kwok.is_some_and(|kwok| kwok.is_running() && !kwok.is_stopped()) {
        found.insert("kwok".to_owned());
    }
    let nodes: Api<Node> = Api::all(site.client());
    for node in nodes.list(&ListParams::default()).await? {
        let name = node.name_any();
        let taints = node.spec.and_then(|spec| spec.taints);
        if taints.unwrap_or_default().is_empty() {
            found.insert(format!("node {name}"));
        }
    }
    Ok(found)
}
