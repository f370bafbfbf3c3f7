//! A Site that is stale, unreadable or absent.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_status_decided_on_a_stale_version_is_refused_and_decided_again() {
    let (bed, controller) = settled("primary").await;
    drop(controller);
    bed.order("down", "secondary", &[]);
    tokio::time::sleep(LAG * 2).await;
    // The request is withdrawn just before the controller journals it, and its cache does not show that yet.
    let withdrawn = AtomicUsize::new(0);
    bed.api.set_fault(move |asked, objects| {
        if asked.method == http::Method::PUT && withdrawn.fetch_add(1, Ordering::Relaxed) == 0 {
            let site = objects.get_mut(SITE).unwrap();
            site["metadata"]["resourceVersion"] = json!("somebody");
            site["spec"]["role"] = json!("primary");
            site["spec"]["request"]["id"] = json!("stay");
        }
        None::<Fault>
    });
    let _controller = bed.controller();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(
        bed.status().transition.is_none() && bed.replicas() == 3,
        "nothing was journalled, so nothing was done"
    );
    // Now the watch shows it.
    let site = bed.api.get(SITE);
    bed.api.put(SITE, site);
    bed.until("settled", is_ready).await;
    assert_eq!(bed.status().history.len(), 1);
    assert!(bed.shop_labels().contains("failover.dev/workloads=primary"));
}

#[tokio::test(start_paused = true)]
async fn a_stale_site_is_not_written_to_namespaces() {
    let (bed, controller) = settled("primary").await;
    drop(controller);
    // Another leader has continued. Of its writes this cache has the labels, but not the journal.
    bed.api.set_fault(|_, objects| {
        objects.get_mut(SITE).unwrap()["metadata"]["resourceVersion"] = json!("1000000");
        None::<Fault>
    });
    let mut shop = bed.api.get(SHOP);
    shop["metadata"]["labels"]["failover.dev/workloads"] = json!("secondary");
    bed.api.put(SHOP, shop);
    tokio::time::sleep(LAG * 2).await;
    let _controller = bed.controller();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let secondary = "failover.dev/workloads=secondary";
    assert!(bed.shop_labels().contains(secondary), "it is not reverted");

    bed.api.clear_fault();
    bed.api.put(SITE, bed.api.get(SITE));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(
        !bed.shop_labels().contains(secondary),
        "with the newest Site it is"
    );
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_site_is_not_reconciled_and_not_forgotten() {
    let (bed, _controller) = settled("secondary").await;
    let readable = bed.api.get(SITE);
    let mut site = readable.clone();
    site["spec"]["role"] = json!("observer");
    bed.api.put(SITE, site);
    tokio::time::sleep(LAG * 2).await;
    bed.api.take_asked();
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(bed.api.take_writes(), [""; 0]);
    let metrics = bed.metrics.encode().unwrap();
    assert!(
        metrics.contains("failover_site_role{site=\"east\",role=\"secondary\"} 1"),
        "{metrics}"
    );
    bed.api.put(SITE, readable);
    bed.order("up", "primary", &["peer-unknown"]);
    bed.until_settled("up").await;
    assert_eq!(bed.replicas(), 3);
}

#[tokio::test(start_paused = true)]
async fn without_a_site_nothing_is_touched() {
    let bed = Bed::empty();
    bed.api.put(
        SHOP,
        json!({ "metadata": { "labels": { "failover.dev/workloads": "secondary" } } }),
    );
    let _controller = bed.controller();
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(bed.api.take_asked().is_empty());
}
