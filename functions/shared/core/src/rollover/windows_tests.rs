#![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

use proptest::prelude::*;
use serde_json::{from_value, json};
use time::macros::datetime;

use super::*;
use crate::device::labels::tests::labels;

fn window(days: &[&str], from: &str, to: &str, zone: &str) -> Window {
    let window: Window =
        from_value(json!({ "where": "site=fra", "days": days, "from": from, "to": to, "zone": zone })).unwrap();
    window.checked().unwrap();
    window
}

fn spans(window: &Window, around: OffsetDateTime) -> Vec<(OffsetDateTime, OffsetDateTime)> {
    let near = |(from, to): &(OffsetDateTime, OffsetDateTime)| {
        *from > around - Duration::days(2) && *to < around + Duration::days(2)
    };
    window.spans(around).into_iter().filter(near).collect()
}

#[test]
fn a_window_opens_in_its_zone_and_ends_the_next_day() {
    let weekend = window(&["sat"], "22:00", "04:00", "America/New_York");
    let (from, to) = (datetime!(2026-12-06 03:00 UTC), datetime!(2026-12-06 09:00 UTC));
    let at = |now| weekend.standing(now);
    assert_eq!(at(from), Standing { is_open: true, last: from, next: from + Duration::WEEK });
    let before = at(from - Duration::SECOND);
    assert_eq!((before.is_open, before.next, before.last), (false, from, to - Duration::WEEK));
    assert!(at(to - Duration::SECOND).is_open);
    let after = at(to + Duration::HOUR);
    assert_eq!((after.is_open, after.last, after.next), (false, to, from + Duration::WEEK));
}

#[test]
fn skipped_local_times_are_the_moment_of_the_change() {
    // 02:00 becomes 03:00.
    let change = datetime!(2026-03-29 01:00 UTC);
    let berlin = |from, to| spans(&window(&["sun"], from, to, "Europe/Berlin"), change);
    assert_eq!(berlin("02:30", "05:00"), [(change, datetime!(2026-03-29 03:00 UTC))]);
    assert_eq!(berlin("01:00", "02:30"), [(datetime!(2026-03-29 00:00 UTC), change)]);
    assert_eq!(berlin("02:00", "03:00"), [], "the hour that does not exist");
}

#[test]
fn repeated_local_times_are_the_first_of_both() {
    // 03:00 becomes 02:00.
    let change = datetime!(2026-10-25 01:00 UTC);
    let berlin = |from, to| spans(&window(&["sun"], from, to, "Europe/Berlin"), change);
    assert_eq!(berlin("02:30", "04:00"), [(datetime!(2026-10-25 00:30 UTC), datetime!(2026-10-25 03:00 UTC))]);
    assert_eq!(berlin("01:00", "02:30"), [(datetime!(2026-10-24 23:00 UTC), datetime!(2026-10-25 00:30 UTC))]);
}

#[test]
fn a_week_without_its_window_is_passed_over() {
    let skipped = window(&["sun"], "02:00", "03:00", "Europe/Berlin");
    let standing = skipped.standing(datetime!(2026-03-25 12:00 UTC));
    assert_eq!((standing.is_open, standing.next), (false, datetime!(2026-04-05 00:00 UTC)));
}

#[test]
fn windows_that_never_open_are_refused() {
    let read = |json: serde_json::Value| from_value::<Window>(json).map(|window| window.checked());
    for (from, to) in
        [("08:00", "08:00"), ("08:00", "08:59"), ("24:00", "03:00"), ("23:30", "00:00"), ("24:00", "24:00")]
    {
        assert_eq!(
            read(json!({ "from": from, "to": to, "zone": "UTC" })).unwrap(),
            Err(InvalidWindow::Length),
            "{from}"
        );
    }
    assert_eq!(read(json!({ "from": "00:00", "to": "24:00", "zone": "utc" })).unwrap(), Ok(()));
    for bad in [
        json!({ "from": "8:00", "to": "10:00", "zone": "UTC" }),
        json!({ "from": "08:60", "to": "10:00", "zone": "UTC" }),
        json!({ "from": "08:00", "to": "24:01", "zone": "UTC" }),
        json!({ "from": "08:00", "to": "10:00", "zone": "Europe/Nowhere" }),
        json!({ "from": "08:00", "to": "10:00" }),
        json!({ "from": "08:00", "to": "10:00", "zone": "UTC", "days": ["caturday"] }),
        json!({ "from": "08:00", "to": "10:00", "zone": "UTC", "until": "2027" }),
        json!({ "from": "08:00", "to": "10:00", "zone": "UTC", "where": "site" }),
    ] {
        assert!(read(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn a_device_is_free_without_a_window_or_in_any_of_its_own() {
    let now = datetime!(2026-12-02 12:00 UTC); // a Wednesday
    let of = |selector: &str, days: &[&str]| Window {
        devices: selector.parse().unwrap(),
        ..window(days, "10:00", "14:00", "UTC")
    };
    let schedule = Schedule::new(&[of("site=fra", &["sat"]), of("row=7", &["wed"]), of("site=ams", &["fri"])], now);
    assert_eq!(schedule.turn(&labels("")), Turn::Open);
    assert_eq!(schedule.turn(&labels("row=7,site=fra")), Turn::Open);
    let closed = schedule.turn(&labels("site=fra"));
    assert_eq!(
        closed,
        Turn::Closed { windows: 1, last: datetime!(2026-11-28 14:00 UTC), next: datetime!(2026-12-05 10:00 UTC) }
    );
    assert_eq!(schedule.next(&labels("site=fra")), Some(datetime!(2026-12-05 10:00 UTC)));
    assert_eq!(schedule.next(&labels("row=7")), None);
    let mut held = Held::default();
    held.add(closed);
    held.add(schedule.turn(&labels("site=ams")));
    let (opens, why) = schedule.opens(held).unwrap();
    assert_eq!(opens, datetime!(2026-12-04 10:00 UTC));
    assert_eq!(
        why,
        "Waits for the window of site=ams, which opens at 2026-12-04 10:00 UTC: 2 devices are left for it."
    );
    assert_eq!(Schedule::new(&[of("site=fra", &["wed"])], now).opens(held), None);
}

proptest! {
    /// Whatever the zone and the hour: a window is open exactly while its local clock says so, and opens when it says that it
    /// will. At a change of the clocks, the clock may say so for longer.
    #[test]
    fn a_window_is_open_only_while_the_clock_says_so(
        from in 0_u16..24, hours in 1_u16..24, day in 0_usize..7, second in 1_700_000_000_i64..2_000_000_000,
        zone in prop::sample::select(vec!["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"]),
    ) {
        let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let text = |hour: u16| format!("{:02}:00", hour % 24);
        let window = window(&[days[day]], &text(from), &text(from + hours), zone);
        let now = OffsetDateTime::from_unix_timestamp(second).unwrap();
        let standing = window.standing(now);
        let local = window.zone.rules().unwrap().to_datetime(instant(now).unwrap());
        let minute = i64::from(local.weekday().to_monday_zero_offset()) * 1440 + i64::from(local.hour()) * 60 + i64::from(local.minute());
        let since = (minute - day as i64 * 1440 - i64::from(from) * 60).rem_euclid(7 * 1440);
        prop_assert!(!standing.is_open || since < i64::from(hours) * 60 + 60, "{} {}", since, local);
        prop_assert!(standing.last <= now && standing.next > now && standing.next <= now + Duration::days(15));
        let opens = window.standing(standing.next);
        prop_assert!(opens.is_open && !window.standing(standing.next - Duration::SECOND).is_open);
        if !standing.is_open {
            prop_assert!(!window.standing(standing.next - Duration::SECOND).is_open);
            prop_assert!(!window.standing(standing.last).is_open && window.standing(standing.last - Duration::SECOND).is_open);
        }
    }
}
