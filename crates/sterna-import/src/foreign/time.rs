//! Dates as other programs write them.

use sterna_model::Millis;

/// Milliseconds since 1970 of `2026-01-02T03:04:05.678Z`, with any fraction and any offset.
pub fn parse(text: &str) -> Option<Millis> {
    let (date, rest) = text.trim().split_once(['T', ' '])?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let end = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (clock, zone) = rest.split_at(end);
    let mut clock = clock.splitn(3, ':');
    let (hour, minute) = (clock.next()?.parse::<i64>().ok()?, clock.next()?.parse::<i64>().ok()?);
    let (second, fraction) = match clock.next() {
        Some(text) => text.split_once('.').unwrap_or((text, "")),
        None => ("0", ""),
    };
    let second: i64 = second.parse().ok()?;
    let ms: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let offset = offset(zone)?;
    let fits = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    if !fits {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset;
    u64::try_from(seconds * 1_000 + ms).ok()
}

/// Seconds east of Greenwich.
fn offset(zone: &str) -> Option<i64> {
    let sign = match zone.chars().next() {
        None | Some('Z' | 'z') => return Some(0),
        Some('-') => -1,
        Some(_) => 1,
    };
    let digits: String = zone.chars().filter(char::is_ascii_digit).collect();
    let hours: i64 = digits.get(..2)?.parse().ok()?;
    let minutes: i64 = digits.get(2..4).map_or(Some(0), |text| text.parse().ok())?;
    Some(sign * (hours * 3_600 + minutes * 60))
}

/// Days since 1970-01-01 in the civil calendar, with years that begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn dates_are_moments() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:00.5Z", Some(951_825_600_500)),
            ("2026-11-21T12:05:09.1234567Z", Some(1_795_262_709_123)),
            ("2026-11-21T14:05:09.123+02:00", Some(1_795_262_709_123)),
            ("2026-11-21T07:05:09-0500", Some(1_795_262_709_000)),
            ("2026-11-21 12:05:09", Some(1_795_262_709_000)),
            ("2026-13-01T00:00:00Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("é-é-éTé:é", None),
            ("2026-11-21T12:05:09.éZ", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(parse(text), ms, "{text}");
        }
    }
}
