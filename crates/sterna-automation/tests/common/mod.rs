//! Automations and times as tests write them.
#![allow(dead_code, clippy::unwrap_used)]

use chrono::{DateTime, SecondsFormat};
use sterna_model::{Automation, Given, Millis, Missed, Overlap, RunTarget, Start};

pub fn at(text: &str) -> Millis {
    DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis().try_into().unwrap()
}

pub fn utc(at: Millis) -> String {
    let at = DateTime::from_timestamp_millis(at.try_into().unwrap()).unwrap();
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

pub fn automation(name: &str, start: Start) -> Automation {
    Automation {
        name: name.into(),
        start,
        zone: "UTC".into(),
        quiet: None,
        missed: Missed::Once,
        overlap: Overlap::Skip,
        target: RunTarget::Own,
        prompt: "water the plants".into(),
        given: Box::new(given()),
        by: "test".into(),
    }
}

pub fn given() -> Given {
    Given::new("scripted/s".parse().unwrap(), "/w")
}
