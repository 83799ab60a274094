//! What still needs an older root keeps it on the devices.

use super::*;

/// Imported after the activation, its chain has a link to the new root. But that link is given only as long as devices trust
/// the older one.
#[test]
fn an_imported_certificate_with_a_link_keeps_its_root() {
    scene(2, async |scene| {
        let world = &scene.world;
        let job = world.regenerate("?canary=20&until=activate").await.unwrap();
        world.ended(job).await;
        let old = world.cloud.tables.named(CERTIFICATES, "root#0000000001").unwrap();
        let body = imported::below(world, &old, "web").unwrap();
        world.must("POST", "/v3/scm/certificates/import", body).await;
        scene.post(job, "continue", Value::Null).await;
        let paused = scene.job_is(job, "paused").await;
        let named = paused["reason"].as_str().unwrap().contains(r"1: \VED\Policy\Certificates\web.");
        assert!(named && scene.holds(1, 1), "{paused}");
        imported::delete(world, "web").await;
        scene.post(job, "resume", Value::Null).await;
        let ended = scene.job_is(job, "ended").await;
        assert!(ended["outcome"] == "completed" && !scene.holds(1, 1), "{ended}");
        end::rest(world).await;
    });
}
