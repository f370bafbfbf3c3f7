//! The next run of a schedule. Month, day, hour and minute are raised one by one until each fits.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::fields::{Fields, has};

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;

/// How many years ahead a run is searched.
const YEARS: i16 = 5;

/// The first run at or after this second.
pub(super) fn next(fields: &Fields, zone: &TimeZone, from: i64) -> Option<i64> {
    let civil = |second: i64| local(zone, second);
    let mut at = from;
    let last_year = civil(at)?.year() + YEARS;
    // Once a field has been raised, the smaller fields restart at their minimum.
    let mut raised = false;
    'wrapped: loop {
        if civil(at)?.year() > last_year {
            return None;
        }
        while !has(fields.month, civil(at)?.month()) {
            if !raised {
                raised = true;
                at = instant(
                    zone,
                    civil(at)?.date().first_of_month().to_datetime(MIDNIGHT),
                )?;
            }
            at = instant(zone, civil(at)?.checked_add(1.month()).ok()?)?;
            if civil(at)?.month() == 1 {
                continue 'wrapped;
            }
        }
        while !has_day(fields, civil(at)?.date()) {
            if !raised {
                raised = true;
                at = instant(zone, civil(at)?.date().to_datetime(MIDNIGHT))?;
            }
            at = instant(zone, civil(at)?.checked_add(1.day()).ok()?)?;
            at += to_midnight(civil(at)?.hour());
            if civil(at)?.day() == 1 {
                continue 'wrapped;
            }
        }
        while !has(fields.hour, civil(at)?.hour()) {
            if !raised {
                raised = true;
                let now = civil(at)?;
                at = instant(zone, now.date().at(now.hour(), 0, 0, 0))?;
            }
            at += HOUR;
            if civil(at)?.hour() == 0 {
                continue 'wrapped;
            }
        }
        while !has(fields.minute, civil(at)?.minute()) {
            if !raised {
                raised = true;
                at -= at.rem_euclid(MINUTE);
            }
            at += MINUTE;
            if civil(at)?.minute() == 0 {
                continue 'wrapped;
            }
        }
        let second = i64::from(civil(at)?.second());
        if second == 0 {
            return Some(at);
        }
        // Only second 0 matches.
        raised = true;
        at += MINUTE - second;
    }
}

const MIDNIGHT: jiff::civil::Time = jiff::civil::Time::midnight();

fn has_day(fields: &Fields, date: Date) -> bool {
    fields.has_day(date.day(), date.weekday().to_sunday_zero_offset())
}

/// A daylight saving change may have moved midnight to another hour.
fn to_midnight(hour: i8) -> i64 {
    let hour = i64::from(hour);
    HOUR * if hour > 12 { 24 - hour } else { -hour }
}

fn local(zone: &TimeZone, second: i64) -> Option<DateTime> {
    Some(zone.to_datetime(Timestamp::from_second(second).ok()?))
}

/// The instant of a time of day, as Go computes it: if it does not exist, or exists twice, by the offset before or
/// after.
fn instant(zone: &TimeZone, time: DateTime) -> Option<i64> {
    let as_utc = time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second();
    let offset = |second: i64| {
        let timestamp = Timestamp::from_second(second).ok()?;
        Some(i64::from(zone.to_offset(timestamp).seconds()))
    };
    Some(as_utc - offset(as_utc - offset(as_utc)?)?)
}
