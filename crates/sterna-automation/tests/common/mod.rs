//! Automations and times as tests write them.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat};
use sterna_model::{
    Automation, Given, InDoubtPolicy, Limits, Millis, Missed, Mode, OnAsk, Overlap, RunTarget, SandboxWish, Start,
};

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
    Given {
        route: "scripted/s".parse().unwrap(),
        mode: Mode::Execute,
        limits: Limits::default(),
        rules: Vec::new(),
        on_ask: OnAsk::Deny,
        in_doubt: InDoubtPolicy::Report,
        in_doubt_of: BTreeMap::new(),
        root: "/w".into(),
        cwd: "/w".into(),
        add_dirs: Vec::new(),
        tools: Vec::new(),
        deferred: Vec::new(),
        max_output: None,
        mode_of_session: false,
        sandbox: SandboxWish::Auto,
        fallback: Vec::new(),
        output_schema: None,
        tree: None,
    }
}
