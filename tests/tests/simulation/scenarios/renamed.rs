//! A rack is renamed, and its controllers make new certificates: to whoever pins the old ones, that is an attack.

use rootcast_core::device::SHARDS;

use super::*;

const ROLLOUT: &str = "?canary=6&errorBudget=10&until=activate";

#[test]
fn unknown_certificates_pause_the_job_until_approved() {
    scene(30, async |scene| {
        let first = scene.world.regenerate(ROLLOUT).await.unwrap();
        assert_eq!(scene.world.ended(first).await["outcome"], "activated");
        // A job begins with the first device of each shard, and of these with the shard of its number.
        let shards = u64::from(SHARDS);
        let step = |number: u8| {
            let device: DeviceId = id(number).parse().unwrap();
            (u64::from(device.shard()) + shards - (first + 1) % shards) % shards
        };
        let place = |number: &u8| {
            let before = |other: &u8| step(*other) == step(*number) && id(*other) < id(*number);
            ((1..=30).filter(before).count(), step(*number))
        };
        let mut order: Vec<u8> = (1..=30).collect();
        order.sort_by_key(place);
        let (canary, others) = order.split_at(6);
        let renamed = [&canary[..2], &others[..8]].concat();
        renamed.iter().for_each(|number| scene.place(*number, |bmc| bmc.change_identity()));
        let logins = || (1..=30).map(|number| scene.place(number, |bmc| bmc.logins.len())).collect::<Vec<_>>();
        let before = logins();

        let job = scene.world.regenerate(ROLLOUT).await.unwrap();
        assert_eq!(job, first + 1);
        scene.job_is(job, "paused").await;
        sleep(HOUR).await;
        for number in 1..=30 {
            let row = scene.row(job, "distribute", number);
            let class = row.as_ref().map(|row| row["failure"]["class"].clone());
            assert_eq!(row.is_some(), canary.contains(&number), "{row:?}");
            assert_eq!(class == Some(json!("pinMismatch")), canary[..2].contains(&number), "{row:?}");
        }
        let after = |number: u8| usize::from(canary[2..].contains(&number));
        let expected = |more: &dyn Fn(u8) -> usize| {
            before.iter().zip(1..).map(|(before, number)| before + more(number)).collect::<Vec<_>>()
        };
        assert_eq!(logins(), expected(&after), "no password reaches an unknown certificate");

        for number in renamed {
            let pin = scene.place(number, |bmc| bmc.pin());
            scene.world.must("PATCH", &format!("/devices/{}", id(number)), json!({ "pins": [pin] })).await;
        }
        scene.post(job, "retry", json!({ "classes": ["pinMismatch"] })).await;
        assert_eq!(scene.world.ended(job).await["outcome"], "activated");
        assert_eq!(logins(), expected(&|_| 1), "each device is visited once");
        scene.world.assert_whole();
    });
}
