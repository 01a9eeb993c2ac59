//! When an automation is due: times of a zone's own clock, without a clock.

use croner::Cron;
use croner::parser::{CronParser, Seconds};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan, Zoned};
use sterna_model::{Automation, Millis, QuietHours, Start};

/// The times of one automation.
#[derive(Debug, Clone)]
pub struct Times {
    rule: Rule,
    zone: TimeZone,
    quiet: Option<QuietHours>,
}

#[derive(Debug, Clone)]
enum Rule {
    Cron(Box<Cron>),
    Every {
        from: Millis,
        ms: u64,
    },
    At(Millis),
    /// A trigger: no time is due.
    Never,
}

/// Times that were due in a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The first of them.
    pub first: Millis,
    /// The last of them.
    pub last: Millis,
    /// How many they are; not more than `COUNTED` are counted.
    pub times: u64,
}

impl Times {
    /// The times of an automation that was made then. An error says what is wrong with it, and how it is written.
    pub fn of(automation: &Automation, made_at: Millis) -> Result<Self, String> {
        let zone = TimeZone::get(&automation.zone).map_err(|_| {
            format!("`{}` is not the name of a time zone; one looks like Europe/Berlin", automation.zone)
        })?;
        let rule = match &automation.start {
            Start::Cron { expr } => Rule::Cron(Box::new(cron(expr)?)),
            Start::Every { ms } if *ms < SHORTEST => {
                return Err("an interval has at least one second".into());
            }
            Start::Every { ms } => Rule::Every { from: made_at, ms: *ms },
            Start::At { at } => Rule::At(*at),
            Start::On { .. } => Rule::Never,
        };
        if let Some(QuietHours { from, to }) = automation.quiet
            && (from >= DAY_MINUTES || to >= DAY_MINUTES || from == to)
        {
            return Err("quiet hours are two times of the day that differ, such as 22:00-06:00".into());
        }
        let times = Self { rule, zone, quiet: automation.quiet };
        match times.rule {
            Rule::At(at) if times.is_quiet(at) => Err("it is due in its own quiet hours".into()),
            Rule::Cron(_) | Rule::Every { .. } if times.after(made_at).is_none() => {
                Err("it is never due; look at its days, months and quiet hours".into())
            }
            _ => Ok(times),
        }
    }

    /// The first time that is due after that one, outside quiet hours.
    pub fn after(&self, after: Millis) -> Option<Millis> {
        let mut from = after;
        for _ in 0..LOOKS {
            let due = self.next(from)?;
            if !self.is_quiet(due) {
                return Some(due);
            }
            // The first time at or after the end of the quiet hours.
            from = self.quiet_end(due)?.checked_sub(1)?.max(due);
        }
        None
    }

    /// What was due after the one and until the other.
    pub fn between(&self, after: Millis, until: Millis) -> Option<Due> {
        let first = self.after(after).filter(|due| *due <= until)?;
        let (mut last, mut times) = (first, 1);
        while times < COUNTED
            && let Some(due) = self.after(last).filter(|due| *due <= until)
        {
            (last, times) = (due, times + 1);
        }
        // Too many to count: the last one is looked for from the end.
        let mut back = SHORTEST;
        while times == COUNTED && until.saturating_sub(back) > last {
            let mut from = until - back;
            let mut found = None;
            while let Some(due) = self.after(from).filter(|due| *due <= until) {
                (from, found) = (due, Some(due));
            }
            if let Some(found) = found {
                last = found;
                break;
            }
            back = back.saturating_mul(2);
        }
        Some(Due { first, last, times })
    }

    /// Whether nothing may start at that time.
    pub fn is_quiet(&self, at: Millis) -> bool {
        let (Some(quiet), Some(local)) = (self.quiet, self.local(at)) else { return false };
        let minute = minute_of(&local);
        if quiet.from < quiet.to {
            (quiet.from..quiet.to).contains(&minute)
        } else {
            minute >= quiet.from || minute < quiet.to
        }
    }

    /// When the quiet hours end that this time is in.
    pub fn quiet_end(&self, at: Millis) -> Option<Millis> {
        let (quiet, local) = (self.quiet?, self.local(at)?);
        let day = if minute_of(&local) < quiet.to { local.date() } else { local.date().tomorrow().ok()? };
        let (hour, minute) = (i8::try_from(quiet.to / 60).ok()?, i8::try_from(quiet.to % 60).ok()?);
        self.instant(day.at(hour, minute, 0, 0))
    }

    /// Its clock and calendar at that time, as people write it.
    pub fn shown(&self, at: Millis) -> String {
        match self.local(at) {
            Some(local) => local.strftime("%Y-%m-%d %H:%M:%S %Z").to_string(),
            None => at.to_string(),
        }
    }

    /// The time that its clock shows so. Of an hour that comes twice the first; of one that is left out, its end.
    pub fn instant(&self, local: DateTime) -> Option<Millis> {
        for minutes in 0..=GAP_MINUTES {
            let at = self.zone.to_ambiguous_timestamp(local.checked_add(minutes.minutes()).ok()?);
            match at.offset() {
                AmbiguousOffset::Gap { .. } => {}
                AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => {
                    return millis(at.earlier().ok()?);
                }
            }
        }
        None
    }

    fn next(&self, after: Millis) -> Option<Millis> {
        match &self.rule {
            Rule::Cron(cron) => {
                let local = self.local(after)?;
                let next = cron.find_next_occurrence(&local, false).ok()?;
                millis(next.timestamp()).filter(|next| *next > after)
            }
            Rule::Every { from, ms } => match after.checked_sub(*from) {
                Some(passed) => from.checked_add((passed / ms).checked_add(1)?.checked_mul(*ms)?),
                None => from.checked_add(*ms),
            },
            Rule::At(at) => (*at > after).then_some(*at),
            Rule::Never => None,
        }
    }

    fn local(&self, at: Millis) -> Option<Zoned> {
        let at = Timestamp::from_millisecond(i64::try_from(at).ok()?).ok()?;
        Some(at.to_zoned(self.zone.clone()))
    }
}

/// The name of the zone whose clock this machine shows; `UTC` where nobody can tell.
pub fn zone_here() -> String {
    let known = iana_time_zone::get_timezone().ok().filter(|name| TimeZone::get(name).is_ok());
    known.unwrap_or_else(|| "UTC".into())
}

/// A wall clock time `2026-11-22T09:00` or `2026-11-22 09:00[:30]` of that zone, or one with an offset (RFC 3339).
pub fn parse_at(text: &str, zone: &str) -> Result<Millis, String> {
    let wrong = || format!("`{text}` is not a time; one looks like 2026-11-22T09:00, of the zone {zone}");
    if let Ok(at) = text.parse::<Timestamp>() {
        return millis(at).ok_or_else(wrong);
    }
    let forms = ["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"];
    let local = forms.iter().find_map(|form| DateTime::strptime(form, text).ok());
    let zone = TimeZone::get(zone).map_err(|_| format!("`{zone}` is not the name of a time zone"))?;
    let times = Times { rule: Rule::Never, zone, quiet: None };
    local.and_then(|local| times.instant(local)).ok_or_else(wrong)
}

/// `90s`, `15m`, `2h`, `1d`, or several of them one after the other, as milliseconds.
pub fn parse_every(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not an interval; one looks like 90s, 15m, 2h or 1d12h");
    let (mut sum, mut digits) = (0u64, String::new());
    for c in text.chars() {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let unit = match c {
            's' => 1_000,
            'm' => 60_000,
            'h' => 3_600_000,
            'd' => 86_400_000,
            _ => return Err(wrong()),
        };
        let n: u64 = std::mem::take(&mut digits).parse().map_err(|_| wrong())?;
        sum = n.checked_mul(unit).and_then(|ms| sum.checked_add(ms)).ok_or_else(wrong)?;
    }
    if digits.is_empty() && sum >= SHORTEST { Ok(sum) } else { Err(wrong()) }
}

/// `22:00-06:00`.
pub fn parse_quiet(text: &str) -> Result<QuietHours, String> {
    let wrong = || format!("`{text}` are no quiet hours; they look like 22:00-06:00");
    let minute = |time: &str| {
        let (hours, minutes) = time.trim().split_once(':')?;
        let (hours, minutes) = (hours.parse::<u16>().ok()?, minutes.parse::<u16>().ok()?);
        (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
    };
    let (from, to) = text.split_once('-').ok_or_else(wrong)?;
    let (from, to) = minute(from).zip(minute(to)).ok_or_else(wrong)?;
    if from == to { Err(wrong()) } else { Ok(QuietHours { from, to }) }
}

fn cron(expr: &str) -> Result<Cron, String> {
    let fields = expr.split_whitespace().count();
    if !expr.trim_start().starts_with('@') && fields != 5 && fields != 6 {
        return Err(format!(
            "`{expr}` has {fields} fields, and a cron expression has 5, or 6 with seconds first"
        ));
    }
    let parser = CronParser::builder().seconds(Seconds::Optional).build();
    parser.parse(expr).map_err(|error| format!("`{expr}` is not a cron expression: {error}"))
}

fn minute_of(local: &Zoned) -> u16 {
    // Below 1,440.
    u16::try_from(i16::from(local.hour()) * 60 + i16::from(local.minute())).unwrap_or(0)
}

/// Since 1970; a time before that is none of ours.
fn millis(at: Timestamp) -> Option<Millis> {
    u64::try_from(at.as_millisecond()).ok()
}

/// Times that are counted when many were missed.
pub const COUNTED: u64 = 10_000;
/// The shortest interval: a second.
const SHORTEST: u64 = 1_000;
/// Quiet hours that are passed over before a rule counts as one that is never due.
const LOOKS: usize = 4_000;
const DAY_MINUTES: u16 = 1_440;
/// No clock was ever put forward by more than a day.
const GAP_MINUTES: i64 = 1_440;
