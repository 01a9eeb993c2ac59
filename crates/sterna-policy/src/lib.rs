//! Permission: rules, modes, grants and what a command line would do. Only policy says yes.
//!
//! Ring 1. A decision is a function of its arguments. This crate must never know a file system, a clock, an
//! environment, a tool's code or a person: the caller resolves links, tells the time and asks.

mod access;
mod assign;
mod binding;
mod bounds;
mod builtin;
mod characters;
mod compound;
mod decide;
mod effect_set;
mod effects;
mod expansion;
mod feeds;
mod fetches;
mod find;
mod floor;
mod folders;
mod git;
mod git_config;
mod git_index;
mod git_remote;
mod glimpse;
mod hidden;
mod jumps;
mod lower;
mod network;
mod option_tables;
mod outside;
mod paths;
mod patterns;
mod permits;
mod program_lists;
mod programs;
mod readers;
mod redirects;
mod reroutes;
mod rule;
mod runners;
mod shell;
mod syntax;
mod texts;
mod variables;
mod verdict;
mod words;
mod wrappers;

pub use access::{Access, Look};
pub use bounds::bounds_of_rules;
pub use builtin::builtin_rules;
pub use decide::{Ask, decide};
pub use effect_set::{Certainty, EffectSet, Touched};
pub use fetches::fetched_from;
pub use floor::WORKTREES;
pub use git::QUIET_GIT;
pub use git_config::{has_long_names, suspect_setting};
pub use git_index::submodules;
pub use git_remote::{Contacts, contacts, suspect_remote};
pub use rule::{Examples, Rule, RuleError, RuleErrorKind, check_examples};
pub use shell::{Redirect, RedirectKind, ShellPlan, SimpleCommand, Word};
pub use sterna_model::Sandbox;
pub use verdict::{Changes, Met, Need, Verdict};
