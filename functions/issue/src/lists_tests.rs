#![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

use time::Duration;
use time::macros::datetime;

use super::*;

const NOW: OffsetDateTime = datetime!(2026-06-01 12:00 UTC);
const ID: IssuingId = IssuingId { generation: 3, number: 2 };

fn published(list: &str, age: Duration) -> CrlHead {
    let list: CrlId = list.parse().unwrap();
    CrlHead {
        list,
        revision: 5,
        number: 4,
        this_update: NOW - age,
        next_update: NOW - age + list.lifetime(),
        urls: vec![format!("https://a.example{list}")],
        behind: false,
        urgent: false,
    }
}

#[test]
fn a_roots_lists_are_handed_over_and_others_made_here() {
    let lists = [
        published("/crl/3.2/9.crl", Duration::days(4)),
        published("/crl/3.2/8.crl", Duration::days(3)),
        CrlHead { behind: true, ..published("/crl/3.1/9.crl", Duration::ZERO) },
        published("/crl/1/9.crl", Duration::days(15)),
        published("/crl/1/8.crl", Duration::days(15)),
        published("/crl/2/9.crl", Duration::days(14)),
        published("/crl/2/authorities.crl", Duration::days(90)),
        published("/crl/3/authorities.crl", Duration::days(91)),
    ];
    let own = [("/crl/3.2/9.crl", ID), ("/crl/3.1/9.crl", IssuingId { generation: 3, number: 1 })];
    let own = own.map(|(list, id)| (list.parse().unwrap(), id)).to_vec();
    assert_eq!(due(lists.to_vec(), NOW), Due { own, handed_over: [1].into() });
}

#[test]
fn urgent_lists_are_made_before_those_that_end_soon() {
    let urgent = |list| CrlHead { behind: true, urgent: true, ..published(list, Duration::ZERO) };
    let lists = vec![
        published("/crl/3.2/1.crl", Duration::days(4)),
        published("/crl/3.2/2.crl", Duration::days(6)),
        CrlHead { behind: true, ..published("/crl/3.2/3.crl", Duration::ZERO) },
        urgent("/crl/3.2/1087.crl"),
    ];
    let order: Vec<_> = due(lists, NOW).own.into_iter().map(|(list, _)| list.shard().unwrap()).collect();
    assert_eq!(order, [1087, 2, 1, 3]);
}

#[test]
fn what_is_left_is_that_of_the_first_list_to_end() {
    let lists = [published("/crl/3.2/8.crl", Duration::ZERO), published("/crl/3.2/9.crl", Duration::days(5))];
    let week = lists[0].list.lifetime().whole_hours() as u64;
    assert_eq!((hours_left(&lists[..1], NOW), hours_left(&lists, NOW)), (Some(week), Some(week - 120)));
    assert_eq!((hours_left(&lists, NOW + Duration::days(400)), hours_left(&[], NOW)), (Some(0), None));
}
