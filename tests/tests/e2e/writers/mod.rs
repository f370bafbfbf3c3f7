//! Every writer on every kind: never active on the secondary, never passive on the primary.
//!
//! ```text
//!   writer (its own namespace) × kind (the rule table)
//!      created on a primary ─► demoted ─► the writer asks for more ─► promoted ─► the writer asks for more
//!                              └──────────────── every stored state is watched ──────────────────────┘
//! ```
//!
//! The result in each cell is checked after each step; [`history::Observer`] checks the states in between.

mod bypass;
mod during_transition;
pub(crate) mod history;
mod kinds;
mod row;
mod writer;

use std::time::Duration;

use futures::future::join_all;
use testbed::site::{DEMOTE, Options, PROMOTE_VOLUMES as PROMOTE, Site};

use history::Observer;
use row::Row;
use writer::{Answer, Writer};

/// The answer in each cell on the secondary, row by row.
type Answers = Vec<Vec<Answer>>;

/// Creates a row for every writer on a primary site.
async fn create_rows(site: &Site) -> Vec<Row<'_>> {
    bypass::let_bob_edit_namespaces(site).await;
    let rows = join_all(Writer::ALL.map(|writer| Row::create(site, writer))).await;
    site.until_ready().await;
    rows
}

/// All writers ask for active objects on the secondary; returns the answers.
async fn ask_on_secondary(rows: &[Row<'_>]) -> Answers {
    let each = rows.iter().map(async |row| {
        row.bypass_enforcement().await;
        let mut answers = Vec::new();
        for cell in &row.cells {
            answers.push(row.ask(cell, 2).await);
            if let Some(object) = row.stored(cell).await {
                assert!(cell.is_passive(&object), "{:?}: {object:#}", row.writer);
            }
        }
        answers
    });
    join_all(each).await
}

/// Asserts that everything is active, with what its writer asked for if that was accepted.
async fn assert_promoted(rows: &[Row<'_>], asked: i64, answers: &Answers) {
    for (row, answers) in rows.iter().zip(answers) {
        for (cell, answer) in row.cells.iter().zip(answers) {
            let what = format!("{:?} {}", row.writer, cell.argument());
            let Some(object) = row.stored(cell).await else {
                assert_eq!(*answer, Answer::Refused, "{what} is gone");
                continue;
            };
            if kinds::is_held(&object) {
                assert!(matches!(
                    row.writer,
                    Writer::JobFromCronJob | Writer::Recreate | Writer::RecreateNamespace
                ));
                continue;
            }
            let wanted = row.writer.after_promotion(asked, answer);
            until_active(row, cell, wanted, &what).await;
        }
    }
}

/// Asserts that the same writers get what they ask for on a primary.
async fn ask_on_primary(rows: &[Row<'_>], answers: &Answers) {
    let each = rows.iter().zip(answers).map(async |(row, answers)| {
        for (cell, answer) in row.cells.iter().zip(answers) {
            let what = format!("{:?} {}", row.writer, cell.argument());
            assert_eq!(row.ask(cell, 3).await, Answer::Accepted, "{what}");
            let before = row.writer.after_promotion(2, answer);
            let wanted = row.writer.after_asking(3, before);
            until_active(row, cell, wanted, &what).await;
        }
    });
    join_all(each).await;
}

/// Immediately, except for the autoscaler, which takes a while.
async fn until_active(row: &Row<'_>, cell: &kinds::Cell, replicas: i64, what: &str) {
    let patience = match row.writer {
        Writer::Autoscaler => testbed::wait::PATIENCE,
        _ => Duration::ZERO,
    };
    testbed::eventually_within(patience, &format!("{what} to be active"), || async {
        let object = row.stored(cell).await.unwrap_or_default();
        let right = !cell.rule.scale || cell.values(&object) == [Some(replicas.into())];
        if cell.is_active(&object) && right {
            Ok(())
        } else {
            Err(object)
        }
    })
    .await;
}

/// Demotes and promotes; all writers write on both sides. `right` says which answers are right on the secondary.
async fn demote_and_promote(site: &Site, rows: &[Row<'_>], right: impl Fn(&Answer) -> bool) {
    let observer = Observer::start(site.client()).await;
    site.failover(DEMOTE).await.expect(0);
    let answers = ask_on_secondary(rows).await;
    for (row, answers) in rows.iter().zip(&answers) {
        for (cell, answer) in row.cells.iter().zip(answers) {
            let what = format!("{:?} {}", row.writer, cell.argument());
            assert!(right(answer), "{what}: {answer:?}");
        }
    }
    site.failover(PROMOTE).await.expect(0);
    assert_promoted(rows, 2, &answers).await;
    ask_on_primary(rows, &answers).await;
    let violations = observer.violations().await;
    assert!(violations.is_empty(), "{violations:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_anything_active_on_a_secondary_or_passive_on_a_primary() {
    let site = Site::start(Options::default()).await.unwrap();
    let rows = create_rows(&site).await;
    // Writes are rewritten and never refused, so Flux stays Ready.
    demote_and_promote(&site, &rows, |answer| *answer == Answer::Accepted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_webhook_dead_writes_are_refused_and_nothing_is_lost() {
    let site = Site::start(Options::default()).await.unwrap();
    drop(create_rows(&site).await);
    site.webhook.kill();
    let rows = Writer::ALL.map(|writer| Row::existing(&site, writer));
    demote_and_promote(&site, &rows, |answer| {
        matches!(answer, Answer::Accepted | Answer::Refused)
    })
    .await;
}
