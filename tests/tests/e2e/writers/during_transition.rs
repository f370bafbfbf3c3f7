//! Writers that write during a transition and after it.

use std::time::Duration;

use failover_core::Layer;
use testbed::eventually;
use testbed::site::{Options, Site};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::history::Observer;
use super::row::Row;
use super::writer::{Answer, Writer};
use super::{DEMOTE, PROMOTE, assert_promoted, until_active};

/// The label is written, the sweep has not begun, and the autoscaler scales up: the original counts must not be lost.
#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaler_that_is_faster_than_the_sweep_does_not_overwrite_the_recorded_count() {
    let site = Site::start(Options::default()).await.unwrap();
    drop(Row::create(&site, Writer::Autoscaler).await);
    let observer = Observer::start(site.client()).await;

    // All layers change in one step, so it is known which labels come first.
    let order = [DEMOTE, &["--mode=unsafe", "--wait=false"]].concat();
    site.controller.kill();
    site.failover(&order).await.expect(0);
    let row = Row::existing(&site, Writer::Autoscaler);
    let namespace = row.writer.namespace();
    let mut label = vec!["label", "namespace", &namespace, "--overwrite"];
    let secondary = Layer::ALL.map(|layer| format!("{}=secondary", layer.label()));
    label.extend(secondary.iter().map(String::as_str));
    site.kubectl(&label).await.expect(0);
    for cell in &row.cells {
        row.ask(cell, 4).await;
        row.until_scaled(cell).await;
        let object = row.stored(cell).await.unwrap();
        assert_eq!(cell.values(&object), [Some(1.into())], "{}", cell.key());
    }

    site.controller.restart().unwrap();
    site.failover(DEMOTE).await.expect(0);
    let row = Row::existing(&site, Writer::Autoscaler);
    for cell in &row.cells {
        assert!(cell.is_passive(&row.stored(cell).await.unwrap()));
    }
    site.failover(testbed::site::PROMOTE).await.expect(0);
    for cell in &row.cells {
        until_active(&row, cell, 4, &cell.key()).await;
    }
    let violations = observer.violations().await;
    assert!(violations.is_empty(), "{violations:#?}");
}

/// A controller with the opposite desired state behaves like this.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_reverts_us_every_second_never_wins_on_a_secondary_nor_loses_on_a_primary() {
    let site = Site::start(Options {
        controller: vec!["--sweep-every=1s".to_owned()],
        ..Options::default()
    })
    .await
    .unwrap();
    let mut rows = Vec::new();
    for writer in [
        Writer::ServerSideApply,
        Writer::Replace,
        Writer::ScaleSubresource,
    ] {
        rows.push(Row::create(&site, writer).await);
    }
    site.until_ready().await;
    let observer = Observer::start(site.client()).await;

    let fight = async {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            second.tick().await;
            for row in &rows {
                for cell in &row.cells {
                    // Always what the primary has.
                    let answer = row.ask(cell, 1).await;
                    assert_eq!(answer, Answer::Accepted, "{}", cell.key());
                }
            }
        }
    };
    let transitions = async {
        for order in [DEMOTE, PROMOTE] {
            site.failover(order).await.expect(0);
            let before = sweeps(&site).await;
            eventually("several sweeps", || async {
                let more = sweeps(&site).await - before;
                if more >= 3 { Ok(()) } else { Err(more) }
            })
            .await;
        }
    };
    tokio::select! {
        () = fight => unreachable!("it never gives up"),
        () = transitions => {}
    }
    let accepted = rows
        .iter()
        .map(|row| vec![Answer::Accepted; row.cells.len()]);
    assert_promoted(&rows, 1, &accepted.collect()).await;
    let violations = observer.violations().await;
    assert!(violations.is_empty(), "{violations:#?}");
}

/// How many sweeps the controller has finished.
async fn sweeps(site: &Site) -> u64 {
    let name = "failover_sweep_duration_seconds_count ";
    eventually("the controller's metrics", || async {
        let text = metrics(site).await.map_err(|error| error.to_string())?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let count = line.and_then(|count| count.trim().parse().ok());
        count.ok_or(text)
    })
    .await
}

async fn metrics(site: &Site) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(site.controller_admin()).await?;
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}
