//! The confirmation: the summary that a person reads first, and the question.

use failover_core::Role;
use failover_core::api::Mode;

use super::decision::Ordered;
use super::intent::Intent;
use crate::commands::site_view::View;
use crate::output::clean;
use crate::output::words::words;
use crate::plan::Plan;
use crate::plan::summary;
use crate::session::Session;

pub(super) fn question(view: &View, intent: &Intent) -> String {
    let name = view.name();
    if intent.abort {
        let (back, there) = (words(intent.role), words(intent.role.opposite()));
        return format!(
            "Abort the {} of site {name} and {} it again?",
            there.noun, back.command
        );
    }
    format!(
        "{} site {name} to {}?",
        capitalised(words(intent.role).command),
        intent.role
    )
}

/// Prints what a person should know before they answer.
pub(super) fn print_consequences(
    session: &Session<'_>,
    view: &View,
    ordered: &Ordered,
    plan: &Plan,
) {
    let screen = session.screen;
    screen.note(&summary::of_change(plan, session.cluster.connection()));
    if !ordered.inherited.is_empty() {
        screen.note(&format!(
            "  overrides kept from the running request: {}",
            clean(&ordered.inherited.join(", "))
        ));
    }
    match (ordered.mode, view.site.spec.mode) {
        (Mode::Unsafe, _) => screen.warn(match plan.role {
            Role::Secondary => "mode unsafe: all layers move at once. The volumes are demoted without waiting until the pods are gone: later writes may be lost",
            Role::Primary => "mode unsafe: all layers move at once. Nothing waits until the volumes are confirmed before pods start on them: what is written may be lost",
        }),
        (Mode::Safe, Mode::Unsafe) => {
            screen.note("  the Site's mode was unsafe; this request uses mode safe (pass --mode unsafe to keep it)");
        }
        (Mode::Safe, Mode::Safe) => {}
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}
