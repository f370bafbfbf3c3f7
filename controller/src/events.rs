//! Events: what happened to a Site, a FailoverPolicy or a RoleRule, for people who describe it with kubectl.
//!
//! kube's recorder is not used: it folds events of one reason into the text of the first, and here the text (who, why,
//! which guard) matters. There is nothing to fold: each message comes from one successful write, and the leader that
//! made it reports it once.

use std::sync::atomic::{AtomicU64, Ordering};

use failover_core::names::CONTROLLER_MANAGER;
use failover_runtime::error_chain::causes;
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::sync::mpsc;

/// Namespace of Events about cluster-scoped objects.
const NAMESPACE: &str = "default";

/// The API's limit on a note.
const LONGEST_NOTE: usize = 1024;

/// The longest part of an object's name that begins the name of its Event.
const LONGEST_NAME: usize = 200;

/// How many Events may wait to be written; more are only logged.
const QUEUE: usize = 512;

/// How many are written at once.
const AT_ONCE: usize = 4;

/// The content of an Event and of the log line beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub warning: bool,
    pub reason: &'static str,
    pub note: String,
}

impl Message {
    pub fn normal(reason: &'static str, note: String) -> Self {
        Self {
            warning: false,
            reason,
            note,
        }
    }

    pub fn warning(reason: &'static str, note: String) -> Self {
        Self {
            warning: true,
            reason,
            note,
        }
    }
}

/// Publishes Events. Queued Events are written even after this is dropped: what they report has happened.
pub struct Events {
    queue: mpsc::Sender<Event>,
    instance: String,
    count: AtomicU64,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

impl Events {
    /// Starts the task that writes the Events.
    pub fn new(client: Client, instance: &str) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(write_all(client, waiting));
        Self {
            queue,
            instance: instance.to_owned(),
            count: AtomicU64::new(0),
        }
    }

    /// Logs the messages and queues them as Events on this object. Nothing waits for the write, and a failed write
    /// blocks nothing.
    pub fn publish(&self, regarding: &ObjectReference, messages: &[Message], now: Timestamp) {
        let object = name_of(regarding);
        for message in messages {
            if message.warning {
                tracing::warn!(object, reason = message.reason, "{}", message.note);
            } else {
                tracing::info!(object, reason = message.reason, "{}", message.note);
            }
            if self
                .queue
                .try_send(self.event(regarding, message, now))
                .is_err()
            {
                tracing::warn!(
                    object,
                    reason = message.reason,
                    "Event dropped: {QUEUE} Events are already queued"
                );
            }
        }
    }

    fn event(&self, regarding: &ObjectReference, message: &Message, now: Timestamp) -> Event {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let name = regarding.name.as_deref().unwrap_or_default();
        let name = name.get(..LONGEST_NAME).unwrap_or(name);
        let name = name.trim_end_matches(['-', '.']);
        let namespace = regarding.namespace.as_deref().unwrap_or(NAMESPACE);
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:x}.{count:x}", now.as_nanosecond())),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            action: Some("Reconcile".to_owned()),
            event_time: Some(MicroTime(now)),
            note: Some(shortened(&message.note)),
            reason: Some(message.reason.to_owned()),
            regarding: Some(regarding.clone()),
            reporting_controller: Some(format!("failover.dev/{CONTROLLER_MANAGER}")),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(if message.warning { "Warning" } else { "Normal" }.to_owned()),
            ..Event::default()
        }
    }
}

async fn write_all(client: Client, waiting: mpsc::Receiver<Event>) {
    let waiting = futures::stream::unfold(waiting, async |mut waiting| {
        let event = waiting.recv().await?;
        Some((event, waiting))
    });
    let write = |event: Event| {
        let client = client.clone();
        async move {
            let namespace = event.metadata.namespace.clone().unwrap_or_default();
            let events: Api<Event> = Api::namespaced(client, &namespace);
            if let Err(error) = events.create(&PostParams::default(), &event).await {
                tracing::warn!(
                    reason = event.reason,
                    error = causes(&error),
                    "cannot write an Event in namespace {namespace}; going on without"
                );
            }
        }
    };
    waiting.for_each_concurrent(AT_ONCE, write).await;
}

/// `Kind name`, or `Kind namespace/name`.
fn name_of(regarding: &ObjectReference) -> String {
    let kind = regarding.kind.as_deref().unwrap_or_default();
    let name = regarding.name.as_deref().unwrap_or_default();
    match &regarding.namespace {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

fn shortened(note: &str) -> String {
    if note.len() <= LONGEST_NOTE {
        return note.to_owned();
    }
    let end = (0..=LONGEST_NOTE - 3)
        .rev()
        .find(|end| note.is_char_boundary(*end))
        .unwrap_or(0);
    format!("{}...", &note[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_note_is_cut_at_a_character() {
        let cut = shortened(&"ä".repeat(2000));
        assert!(cut.len() <= LONGEST_NOTE && cut.ends_with("ä..."));
        assert_eq!(shortened("short"), "short");
    }

    fn regarding(kind: &str, namespace: Option<&str>, name: &str) -> ObjectReference {
        ObjectReference {
            kind: Some(kind.to_owned()),
            namespace: namespace.map(str::to_owned),
            name: Some(name.to_owned()),
            ..ObjectReference::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_refers_to_its_object_in_the_namespace_where_kubectl_finds_it() {
        let api = crate::testing::fake_api::FakeApi::new();
        let events = Events::new(api.client(), "controller-0");
        let message = Message {
            warning: true,
            reason: "Stalled",
            note: "why".into(),
        };
        let long = "a-".repeat(120);
        for object in [
            regarding("FailoverPolicy", Some("shop"), "db"),
            regarding("RoleRule", None, "widgets"),
            regarding("FailoverPolicy", Some("shop"), &long),
        ] {
            events.publish(
                &object,
                &[message.clone(), message.clone()],
                Timestamp::UNIX_EPOCH,
            );
        }
        let asked = loop {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            let asked = api.asked();
            if asked.len() == 6 {
                break asked;
            }
        };
        let on = |at: usize| {
            (
                asked[at].path.as_str(),
                asked[at].body["regarding"]["name"].as_str(),
            )
        };
        assert_eq!(
            on(0),
            ("/apis/events.k8s.io/v1/namespaces/shop/events", Some("db"))
        );
        assert_eq!(
            on(2),
            (
                "/apis/events.k8s.io/v1/namespaces/default/events",
                Some("widgets")
            )
        );
        let names: std::collections::BTreeSet<_> = asked
            .iter()
            .map(|a| a.body["metadata"]["name"].as_str().unwrap())
            .collect();
        assert_eq!(names.len(), 6);
        assert!(
            names
                .iter()
                .all(|name| name.len() <= 253 && !name.contains("-."))
        );
    }
}
