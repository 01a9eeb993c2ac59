//! When things are due, by hand-written calendars: SC-67's clock.

#![allow(clippy::unwrap_used)]

mod common;

use common::{at, automation, utc};
use sterna_automation::{Times, parse_at, parse_every, parse_quiet};
use sterna_model::{QuietHours, Start};

fn cron(expr: &str) -> Start {
    Start::Cron { expr: expr.into() }
}

/// The times of a rule in a zone, after that one.
fn check(start: Start, zone: &str, quiet: Option<&str>, after: &str, want: &[&str]) {
    let mut made = automation("a", start);
    made.zone = zone.into();
    made.quiet = quiet.map(|quiet| parse_quiet(quiet).unwrap());
    let times = Times::of(&made, at(after)).unwrap();
    let (mut got, mut from) = (Vec::new(), at(after));
    for _ in want {
        from = times.after(from).unwrap();
        got.push(utc(from));
    }
    assert_eq!(got, want, "{:?} {zone} {quiet:?}", made.start);
}

#[test]
fn a_cron_rule_follows_the_clock_of_its_zone() {
    check(
        cron("0 9 * * 1-5"),
        "Europe/Berlin",
        None,
        "2026-11-20T12:00:00Z",
        &["2026-11-23T08:00:00Z", "2026-11-24T08:00:00Z"],
    );
    // Six fields have seconds first.
    check(
        cron("30 0 12 * * *"),
        "UTC",
        None,
        "2026-01-01T12:00:30Z",
        &["2026-01-02T12:00:30Z", "2026-01-03T12:00:30Z"],
    );
    check(cron("0 0 29 2 *"), "UTC", None, "2026-01-01T00:00:00Z", &["2028-02-29T00:00:00Z"]);
}

#[test]
fn an_hour_that_is_left_out_fires_once_at_its_end() {
    // Berlin, 29 March 2026: 02:00 is 03:00.
    check(
        cron("30 2 * * *"),
        "Europe/Berlin",
        None,
        "2026-03-28T00:00:00Z",
        &["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
    );
    // New York, 8 March 2026.
    check(
        cron("15 2 * * *"),
        "America/New_York",
        None,
        "2026-03-07T12:00:00Z",
        &["2026-03-08T07:00:00Z", "2026-03-09T06:15:00Z"],
    );
}

#[test]
fn an_hour_that_comes_twice_fires_once() {
    // Berlin, 25 October 2026: 03:00 is 02:00 again.
    check(
        cron("30 2 * * *"),
        "Europe/Berlin",
        None,
        "2026-10-24T00:00:00Z",
        &["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
    );
    // New York, 1 November 2026.
    check(
        cron("30 1 * * *"),
        "America/New_York",
        None,
        "2026-10-31T12:00:00Z",
        &["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"],
    );
    // What comes every half hour goes on doing so.
    check(
        cron("*/30 * * * *"),
        "Europe/Berlin",
        None,
        "2026-10-25T00:00:00Z",
        &["2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"],
    );
}

#[test]
fn an_interval_knows_no_clock() {
    check(
        Start::Every { ms: 90 * 60_000 },
        "Europe/Berlin",
        None,
        "2026-10-25T00:00:00Z",
        &["2026-10-25T01:30:00Z", "2026-10-25T03:00:00Z"],
    );
}

#[test]
fn nothing_is_due_in_quiet_hours() {
    check(
        cron("0 */4 * * *"),
        "Europe/Berlin",
        Some("22:00-06:00"),
        "2026-11-20T18:30:00Z",
        // 20:00 there; 00:00 and 04:00 are quiet.
        &["2026-11-20T19:00:00Z", "2026-11-21T07:00:00Z", "2026-11-21T11:00:00Z", "2026-11-21T15:00:00Z"],
    );
    check(
        Start::Every { ms: 3_600_000 },
        "UTC",
        Some("09:00-17:00"),
        "2026-11-20T07:30:00Z",
        &["2026-11-20T08:30:00Z", "2026-11-20T17:30:00Z"],
    );
    // They end by the zone's clock, also in a night that is an hour longer.
    let mut night = automation("a", cron("* * * * *"));
    (night.zone, night.quiet) = ("Europe/Berlin".into(), Some(QuietHours { from: 22 * 60, to: 6 * 60 }));
    let times = Times::of(&night, 0).unwrap();
    assert_eq!(utc(times.after(at("2026-10-24T20:00:00Z")).unwrap()), "2026-10-25T05:00:00Z");
    assert_eq!(utc(times.after(at("2026-10-25T20:58:30Z")).unwrap()), "2026-10-25T20:59:00Z");
    assert_eq!(utc(times.after(at("2026-10-25T20:59:00Z")).unwrap()), "2026-10-26T05:00:00Z");
}

#[test]
fn what_was_missed_is_counted_and_its_end_is_found_however_much_it_is() {
    let check = |start, after, until, want: (&str, &str, u64)| {
        let made = automation("a", start);
        let due =
            Times::of(&made, at("2026-01-01T00:00:00Z")).unwrap().between(at(after), at(until)).unwrap();
        assert_eq!((utc(due.first).as_str(), utc(due.last).as_str(), due.times), want);
    };
    check(
        cron("0 * * * *"),
        "2026-01-05T10:00:00Z",
        "2026-01-05T13:00:00Z",
        ("2026-01-05T11:00:00Z", "2026-01-05T13:00:00Z", 3),
    );
    // A year of seconds is not counted out.
    check(
        cron("* * * * * *"),
        "2026-01-01T00:00:00Z",
        "2027-01-01T00:00:00Z",
        ("2026-01-01T00:00:01Z", "2027-01-01T00:00:00Z", 10_000),
    );
    let made = automation("a", cron("0 * * * *"));
    let times = Times::of(&made, 0).unwrap();
    assert_eq!(times.between(at("2026-01-05T10:00:00Z"), at("2026-01-05T10:59:59Z")), None);
}

#[test]
fn what_cannot_be_due_is_refused_with_its_form() {
    let check = |start, zone: &str, quiet: Option<QuietHours>, says: &str| {
        let mut made = automation("a", start);
        (made.zone, made.quiet) = (zone.into(), quiet);
        let why = Times::of(&made, at("2026-01-01T00:00:00Z")).unwrap_err();
        assert!(why.contains(says), "{why}");
    };
    let nine = || cron("0 9 * * *");
    check(nine(), "Europe/Berln", None, "one looks like Europe/Berlin");
    check(cron("0 9 * *"), "UTC", None, "has 4 fields");
    check(cron("0 9 * * * * *"), "UTC", None, "has 7 fields");
    check(cron("61 9 * * *"), "UTC", None, "not a cron expression");
    check(cron("0 0 30 2 *"), "UTC", None, "never due");
    check(cron("0 23 * * *"), "UTC", Some(QuietHours { from: 22 * 60, to: 360 }), "never due");
    check(Start::Every { ms: 999 }, "UTC", None, "at least one second");
    check(nine(), "UTC", Some(QuietHours { from: 1_440, to: 0 }), "22:00-06:00");
    check(nine(), "UTC", Some(QuietHours { from: 60, to: 60 }), "22:00-06:00");
    let late = Start::At { at: at("2026-01-05T23:00:00Z") };
    check(late, "UTC", Some(QuietHours { from: 22 * 60, to: 360 }), "quiet hours");
}

#[test]
fn times_and_spans_are_read_as_people_write_them() {
    for (text, want) in [
        ("90s", Some(90_000)),
        ("15m", Some(900_000)),
        ("2h", Some(7_200_000)),
        ("1d12h", Some(129_600_000)),
        ("0s", None),
        ("15", None),
        ("m", None),
        ("1w", None),
        ("99999999999999999999d", None),
        ("", None),
    ] {
        assert_eq!(parse_every(text).ok(), want, "{text}");
    }
    for (text, zone, want) in [
        ("2026-11-22T09:00", "Europe/Berlin", Some("2026-11-22T08:00:00Z")),
        ("2026-07-22 09:00:30", "Europe/Berlin", Some("2026-07-22T07:00:30Z")),
        ("2026-11-22T09:00:00+05:30", "Europe/Berlin", Some("2026-11-22T03:30:00Z")),
        // An hour that comes twice is its first, and one that is left out its end.
        ("2026-10-25T02:30", "Europe/Berlin", Some("2026-10-25T00:30:00Z")),
        ("2026-03-29T02:30", "Europe/Berlin", Some("2026-03-29T01:00:00Z")),
        ("tomorrow", "UTC", None),
        ("1960-01-01T00:00", "UTC", None),
    ] {
        assert_eq!(parse_at(text, zone).ok().map(utc).as_deref(), want, "{text}");
    }
    for (text, want) in [
        ("22:00-06:00", Some((1_320, 360))),
        (" 9:05 - 17:30 ", Some((545, 1_050))),
        ("22-6", None),
        ("24:00-06:00", None),
        ("22:60-06:00", None),
        ("06:00-06:00", None),
    ] {
        assert_eq!(parse_quiet(text).ok().map(|quiet| (quiet.from, quiet.to)), want, "{text}");
    }
}
