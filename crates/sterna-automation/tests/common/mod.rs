//! Automations and times as tests write them.
#![allow(dead_code, clippy::unwrap_used)]

use jiff::Timestamp;
use sterna_model::{Automation, Given, Millis, Missed, Overlap, RunTarget, Start};

pub fn at(text: &str) -> Millis {
    text.parse::<Timestamp>().unwrap().as_millisecond().try_into().unwrap()
}

pub fn utc(at: Millis) -> String {
    let at = Timestamp::from_millisecond(at.try_into().unwrap()).unwrap();
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
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
