//! Routes that failed lately, and those to which a living process sends nothing just now.
//!
//! A breaker belongs to its process. What it went by is in the logs, so another process comes to the same.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use sterna_llm::breaker::Breaker;
use sterna_llm::ladder;
use sterna_log::{Filter, Log, LogError, Owner, Page};
use sterna_model::{Body, EffectResult, ErrorClass, Intended, Millis, Record, Route};
use sterna_runtime::Env;
use sterna_sqlite::SqliteStore;

/// What is known of a route that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct RouteRow {
    route: Route,
    /// Within the last ten minutes.
    failures: u64,
    /// The class of the last failure.
    class: &'static str,
    /// Seconds since then.
    ago_s: u64,
    /// It has answered since.
    answered: bool,
    /// Seconds for which a process that lives sends nothing to it.
    open_s: Option<u64>,
}

/// One end of a call.
#[derive(Debug, Clone)]
struct End {
    at: Millis,
    owner: Owner,
    route: Route,
    /// `None`: it was answered.
    failed: Option<ErrorClass>,
}

/// Reads what the sessions of the last minutes say of their model calls.
pub(super) async fn look(store: &SqliteStore, now: Millis) -> Result<Vec<RouteRow>, LogError> {
    let env = sterna::SystemEnv::new(&[], Vec::new());
    let mut ends = Vec::new();
    let mut page = Page { after: None, limit: 100 };
    'pages: loop {
        let rows = store.list(&Filter::default(), page.clone()).await?;
        let Some(last) = rows.last() else { break };
        page.after = Some(last.id.clone());
        for row in &rows {
            if row.updated_at.saturating_add(LATELY_MS) < now {
                // The newest come first.
                break 'pages;
            }
            let owner = store.head(&row.id).await?.lease.map_or(Owner(String::new()), |lease| lease.owner);
            let mut from = row.head.saturating_sub(RECORDS) + 1;
            let mut routes = HashMap::new();
            loop {
                let records = store.read(&row.id, from, 500).await?;
                let Some(last) = records.last() else { break };
                from = last.record.seq + 1;
                ends.extend(records.iter().filter_map(|sealed| end_of(&sealed.record, &owner, &mut routes)));
            }
        }
    }
    Ok(rows(ends, now, |owner| !owner.0.is_empty() && !env.is_dead(owner)))
}

/// A line for people.
pub(super) fn told(row: &RouteRow) -> (bool, String) {
    let RouteRow { route, failures, class, ago_s, answered, open_s } = row;
    let times = if *failures == 1 { "failed once".to_owned() } else { format!("failed {failures} times") };
    let state = match (open_s, answered) {
        (Some(left), _) => format!("; its breaker is open: nothing is sent to it for {left} s"),
        (None, true) => "; it has answered since".to_owned(),
        (None, false) => String::new(),
    };
    let line =
        format!("{route}  {times} in the last 10 minutes, the last time as {class} {ago_s} s ago{state}");
    (*answered && open_s.is_none(), line)
}

fn end_of(record: &Record, owner: &Owner, routes: &mut HashMap<String, Route>) -> Option<End> {
    let end = |route, failed| Some(End { at: record.at, owner: owner.clone(), route, failed });
    match &record.body {
        Body::Intent(intent) => {
            let route = match &intent.what {
                Intended::Model(model) => &model.route,
                Intended::Compact(compact) => &compact.model.route,
                Intended::Judge(judge) => &judge.route,
                Intended::Tool(_) | Intended::Undo(_) => return None,
            };
            routes.insert(intent.key.to_string(), route.clone());
            None
        }
        Body::Attempt(attempt) => end(attempt.route.clone(), Some(attempt.failure.class)),
        Body::Outcome(outcome) => {
            let good = match &outcome.result {
                EffectResult::Model(model) => !model.partial,
                EffectResult::Summary(summary) => summary.failed.is_none(),
                EffectResult::Judged(judged) => judged.failed.is_none(),
                // It stands in the attempt before it.
                EffectResult::ModelFailed(_) | EffectResult::Tool(_) => false,
            };
            let route = routes.get(&outcome.key.to_string()).filter(|_| good)?;
            end(route.clone(), None)
        }
        _ => None,
    }
}

/// Folds the ends of calls into what each route is like now.
fn rows(mut ends: Vec<End>, now: Millis, lives: impl Fn(&Owner) -> bool) -> Vec<RouteRow> {
    ends.sort_by_key(|end| end.at);
    let mut rows: BTreeMap<Route, RouteRow> = BTreeMap::new();
    let mut breakers: HashMap<(String, Route), Breaker> = HashMap::new();
    for End { at, owner, route, failed } in ends {
        let breaker = breakers.entry((owner.0.clone(), route.clone())).or_default();
        match failed {
            None => {
                let _ = breaker.answered(true);
            }
            Some(class) if ladder::trips(class) => {
                // The one that looks is the first after its time.
                let _ = breaker.admit(at);
                let _ = breaker.failed(at);
            }
            Some(_) => {}
        }
        let old = at.saturating_add(LATELY_MS) < now;
        match (failed, rows.get_mut(&route)) {
            // These say nothing of the route.
            (Some(ErrorClass::Interrupted | ErrorClass::BreakerOpen), _) => {}
            (None, Some(row)) => row.answered = true,
            (None, None) => {}
            (Some(_), _) if old => {}
            (Some(class), row) => {
                let ago_s = now.saturating_sub(at) / 1_000;
                let failures = row.map_or(0, |row| row.failures) + 1;
                let (class, answered) = (class.word(), false);
                let row = RouteRow { route: route.clone(), failures, class, ago_s, answered, open_s: None };
                rows.insert(route, row);
            }
        }
    }
    for ((owner, route), breaker) in breakers {
        let left = breaker.open_until().and_then(|until| until.checked_sub(now)).filter(|left| *left > 0);
        if let (Some(left), Some(row), true) = (left, rows.get_mut(&route), lives(&Owner(owner))) {
            row.open_s = row.open_s.max(Some(left.div_ceil(1_000)));
        }
    }
    rows.into_values().collect()
}

/// How far back it looks.
const LATELY_MS: Millis = 600_000;
/// Records of a session that it reads at most: many more than ten minutes hold.
const RECORDS: u64 = 5_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn end(at: Millis, owner: &str, route: &str, failed: Option<ErrorClass>) -> End {
        End { at, owner: Owner(owner.into()), route: route.parse().unwrap(), failed }
    }

    fn seen(ends: Vec<End>, now: Millis) -> Vec<(String, u64, &'static str, bool, Option<u64>)> {
        let rows = rows(ends, now, |owner| owner.0 != "dead");
        let of = |row: RouteRow| (row.route.to_string(), row.failures, row.class, row.answered, row.open_s);
        rows.into_iter().map(of).collect()
    }

    fn five(owner: &str, class: ErrorClass) -> Vec<End> {
        (0..5).map(|n| end(1_000_000 + n * 1_000, owner, "a/1", Some(class))).collect()
    }

    #[test]
    fn five_failures_of_a_process_that_lives_keep_a_route_closed_for_a_minute() {
        let route = || "a/1".to_owned();
        let all = five("one", ErrorClass::Overloaded);
        assert_eq!(seen(all.clone(), 1_010_000), [(route(), 5, "overloaded", false, Some(54))]);
        assert_eq!(seen(all.clone(), 1_064_000), [(route(), 5, "overloaded", false, None)]);
        // With its process its breaker is gone; four of one and one of another open none; a bad key is no illness.
        assert_eq!(
            seen(five("dead", ErrorClass::Overloaded), 1_010_000),
            [(route(), 5, "overloaded", false, None)]
        );
        let mut mixed = all.clone();
        mixed[2].owner = Owner("two".into());
        assert_eq!(seen(mixed, 1_010_000), [(route(), 5, "overloaded", false, None)]);
        assert_eq!(seen(five("one", ErrorClass::Auth), 1_010_000), [(route(), 5, "auth", false, None)]);
        // The one that looked a minute later failed, or was answered.
        let later = |failed| [all.clone(), vec![end(1_065_000, "one", "a/1", failed)]].concat();
        let failed = later(Some(ErrorClass::Timeout));
        assert_eq!(seen(failed, 1_070_000), [(route(), 6, "timeout", false, Some(55))]);
        assert_eq!(seen(later(None), 1_070_000), [(route(), 5, "overloaded", true, None)]);
        // What was not sent counts for nothing, and what is old is not told.
        let refused = later(Some(ErrorClass::BreakerOpen));
        assert_eq!(seen(refused, 1_010_000), [(route(), 5, "overloaded", false, Some(54))]);
        assert_eq!(seen(all, 1_700_000), []);
    }
}
