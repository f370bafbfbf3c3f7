//! Events on the Site: what happened, for those who look with kubectl.
//!
//! kube's recorder is not used: it folds events of one reason into the first one's text, and here the text (who, why, which
//! guard) is what matters. Nor is there anything to fold: each piece of news comes from one write that succeeded, and is
//! told once, by the leader that made it.

use failover_core::api::Site;
use failover_core::names::CONTROLLER_MANAGER;
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use kube::{Client, Resource as _, ResourceExt as _};

use super::news::News;

/// Where events about objects without a namespace belong.
const NAMESPACE: &str = "default";

/// The API's limit on a note.
const LONGEST_NOTE: usize = 1024;

/// Publishes events about the Site.
#[derive(Clone)]
pub struct Events {
    client: Client,
    instance: String,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

impl Events {
    pub fn new(client: Client, instance: &str) -> Self {
        Self {
            client,
            instance: instance.to_owned(),
        }
    }

    /// Logs the news and writes them as Events. That an Event cannot be written holds nothing up.
    pub async fn publish(&self, site: &Site, news: &[News], now: Timestamp) {
        let events: Api<Event> = Api::namespaced(self.client.clone(), NAMESPACE);
        for (i, news) in news.iter().enumerate() {
            if news.warning {
                tracing::warn!(reason = news.reason, "{}", news.note);
            } else {
                tracing::info!(reason = news.reason, "{}", news.note);
            }
            let event = self.event(site, news, now, i);
            if let Err(error) = events.create(&PostParams::default(), &event).await {
                tracing::warn!(reason = news.reason, %error, "cannot write an Event in namespace {NAMESPACE}; going on without");
            }
        }
    }

    fn event(&self, site: &Site, news: &News, now: Timestamp, i: usize) -> Event {
        Event {
            metadata: ObjectMeta {
                name: Some(format!(
                    "{}.{:x}{i:x}",
                    site.name_any(),
                    now.as_nanosecond()
                )),
                namespace: Some(NAMESPACE.to_owned()),
                ..ObjectMeta::default()
            },
            action: Some("Reconcile".to_owned()),
            event_time: Some(MicroTime(now)),
            note: Some(shortened(&news.note)),
            reason: Some(news.reason.to_owned()),
            regarding: Some(site.object_ref(&())),
            reporting_controller: Some(format!("failover.dev/{CONTROLLER_MANAGER}")),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(if news.warning { "Warning" } else { "Normal" }.to_owned()),
            ..Event::default()
        }
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
}
