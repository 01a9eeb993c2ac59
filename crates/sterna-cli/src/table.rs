//! Rows of text in columns, and times as people read them.

use crate::print::{Print, Style};

/// Lines up columns with two spaces between them. The last column is as long as it is.
pub fn table(print: &Print, head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.max().unwrap_or(0).max(head.get(column).map_or(0, |name| name.chars().count()))
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let head: Vec<String> = head.iter().map(|name| (*name).to_owned()).collect();
    let mut text = print.paint(&line(&head), Style::Dim) + "\n";
    for row in rows {
        text.push_str(&line(row));
        text.push('\n');
    }
    text
}

/// How long ago, in its largest unit.
pub fn age(now: u64, then: u64) -> String {
    let seconds = now.saturating_sub(then) / 1_000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// `2026-11-21`, from days since 1970-01-01.
pub fn day(days: u64) -> String {
    // Years begin in March here, so that the leap day is the last of its year (Hinnant's civil calendar).
    let shifted = days.saturating_add(719_468);
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `2026-11-21 12:05:09`, in UTC.
pub fn moment(ms: u64) -> String {
    let seconds = ms / 1_000 % 86_400;
    format!("{} {:02}:{:02}:{:02}", day(ms / 86_400_000), seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// The machine's clock, for ages. A clock before 1970 makes everything new.
pub fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (days, text) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (10_956, "1999-12-31"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_778, "2026-11-21"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(day(days), text);
        }
        assert_eq!(moment(20_778 * 86_400_000 + 43_509_000), "2026-11-21 12:05:09");
    }

    #[test]
    fn ages_and_columns() {
        for (ms, text) in
            [(0, "0 s"), (59_999, "59 s"), (61_000, "1 min"), (7_200_000, "2 h"), (200_000_000, "2 d")]
        {
            assert_eq!(age(ms, 0), text);
        }
        assert_eq!(age(1, 5), "0 s");
        let print = Print { color: false, color_err: false, live: false, live_err: false };
        let rows = vec![vec!["demo".into(), "1".into()], vec!["é".into(), "22".into()]];
        assert_eq!(table(&print, &["id", "turns"], &rows), "id    turns\ndemo  1\né     22\n");
    }
}
