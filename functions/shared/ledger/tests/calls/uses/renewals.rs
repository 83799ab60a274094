//! Renewals that nobody asks for.

use rootcast_core::deployment::renewal::{Hour, MOST_RENEWED, rule};
use rootcast_ledger::Renewal;

use super::*;

const HOUR: i64 = 3600;

fn renewal(number: u32) -> Renewal {
    let id: DeviceId = format!("bmc-{number}").parse().unwrap();
    let own =
        CertificateRecord { id: certificate(number), device: Some(id.clone()), renew_at: Some(NOW), ..own_record() };
    let earlier = UseRecord { device: id.clone(), ..binding(number, None, false) };
    Renewal {
        certificate: own,
        at: NewUse { device: device(id.as_str(), &[number]), earlier: Some(earlier), request: None },
    }
}

fn job(renewals: &[Renewal]) -> Deployment {
    let own = renewals.iter().map(|each| (each.at.device.id.clone(), each.certificate.id)).collect();
    Deployment::renewing(JobId(7), own, rule().principal, NOW).unwrap()
}

#[tokio::test]
async fn a_renewal_begins_in_one_transaction() {
    let written = accepted(&[
        "put 7 meta",
        "put jobs 000000000007",
        "put running 000000000007",
        "put schedule renewals",
        "put scs0000000000001 use#bmc-1",
        "update bmc-1 SET #bindings = :bindings, #revision = :next [:bindings=1 :next=5 :read=4]",
        "update scs0000000000001 SET renewAt = :to ADD revision :one [:one=1 :read=1 :to=3600]",
        "put scs0000000000002 use#bmc-2",
        "update bmc-2 SET #bindings = :bindings, #revision = :next [:bindings=1 :next=5 :read=4]",
        "update scs0000000000002 SET renewAt = :to ADD revision :one [:one=1 :read=1 :to=3600]",
        "put 7 audit#000000000001",
        "put 7 audit",
        "put scs0000000000001 audit#000000000004",
        "put scs0000000000001 audit",
        "put scs0000000000002 audit#000000000004",
        "put scs0000000000002 audit",
    ]);
    let renewals = [renewal(1), renewal(2)];
    assert_eq!(renewals[0].certificate.life().again(NOW).unix_timestamp(), HOUR);
    ledger(&[&chain(), &chain(), &written]).renew(&job(&renewals), &renewals, &Hour::default(), &rule()).await.unwrap();
}

/// `TransactWriteItems` takes a hundred writes.
#[tokio::test]
async fn the_most_renewals_fit_into_one_transaction() {
    let renewals: Vec<Renewal> = (1..).map(renewal).take(MOST_RENEWED).collect();
    let written = mock!(Client::transact_write_items)
        .match_requests(|request| request.transact_items().len() == 96)
        .then_output(|| TransactWriteItemsOutput::builder().build());
    let chains: Vec<Rule> = (0..MOST_RENEWED).map(|_| chain()).collect();
    let rules: Vec<&Rule> = chains.iter().chain([&written]).collect();
    ledger(&rules).renew(&job(&renewals), &renewals, &Hour::default(), &rule()).await.unwrap();
}

#[tokio::test]
async fn a_renewal_is_put_off_unless_the_certificate_has_changed() {
    let moved = accepted(&["update scs0000000000001 SET renewAt = :to ADD revision :one [:one=1 :read=1 :to=0]"]);
    ledger(&[&moved]).put_off_renewal(&own_record(), Some(NOW)).await.unwrap();
    let dropped = accepted(&["update scs0000000000001 REMOVE renewAt ADD revision :one [:one=1 :read=1]"]);
    ledger(&[&dropped]).put_off_renewal(&own_record(), None).await.unwrap();
    ledger(&[&refused(&["ConditionalCheckFailed"])]).put_off_renewal(&own_record(), None).await.unwrap();
}
