//! What policy would say of a call: for people who write rules. Nothing is run, and no model is needed.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use sterna_log::SharedLog;
use sterna_model::{Decision, Given, Mode, Route, RuleText, Sandbox, SandboxWish, TurnStarted};
use sterna_policy::{Rule, Verdict, builtin_rules};
use sterna_runtime::{Env, Levels, Rights, Toolbox};
use sterna_secrets::Redactor;
use sterna_shell::shim::Helper;
use sterna_tools::Sandboxes;

use crate::config::Settings;
use crate::places::Places;
use crate::sandbox::{MachineLevels, grounds};
use crate::{Error, SystemEnv};

/// Whose policy it is.
pub struct PolicyOf {
    pub places: Places,
    pub settings: Settings,
    /// The workspace: absolute, symlinks resolved.
    pub root: PathBuf,
    /// Rules beside those of the configuration.
    pub rules: Vec<RuleText>,
    pub mode: Mode,
    pub sandbox: SandboxWish,
    /// The program that confines commands. `None`: they are judged as without a sandbox.
    pub helper: Option<Helper>,
    /// Holds the grants that are stored.
    pub log: SharedLog,
}

/// The rules of a folder, ready to judge calls.
pub struct PolicyView {
    rights: Rights,
    tools: Toolbox,
}

/// What would become of a call.
pub struct Explained {
    pub verdict: Verdict,
    /// The level that its commands would run on.
    pub level: Sandbox,
}

impl PolicyView {
    /// Errors: a rule of `PolicyOf::rules` that says nothing.
    pub fn new(of: PolicyOf) -> Result<Self, Error> {
        let state_dirs = vec![of.places.config.clone(), of.places.data.clone(), of.places.state.clone()];
        let env: Arc<dyn Env> = Arc::new(SystemEnv::new(&of.settings.env_pass, state_dirs));
        let sandboxes = of.helper.map(|helper| Arc::new(Sandboxes::new(helper, grounds(&of.places, true))));
        let parse = |text: &RuleText| {
            Rule::parse(text)
                .map_err(|error| Error::setup(format!("{}: {error}", text.source), "change the rule"))
        };
        let mut rules = of.settings.parsed;
        rules.extend(of.rules.iter().map(parse).collect::<Result<Vec<_>, _>>()?);
        let texts = rules.iter().map(|rule| rule.written().clone()).collect();
        rules.extend(builtin_rules());
        let root = of.root.display().to_string();
        let nobody = Route { provider: "none".into(), model: "none".into() };
        let given = Given { mode: of.mode, rules: texts, sandbox: of.sandbox, ..Given::new(nobody, root) };
        let turn = TurnStarted { inputs: Vec::new(), given, now: env.now() };
        let options = sterna_tools::Options {
            sandboxes: sandboxes.clone(),
            web: of.settings.web.of_tools(&|name| std::env::var(name).ok()),
            ..sterna_tools::Options::default()
        };
        let mut tools = sterna_tools::builtin(options);
        tools.extend(sterna_tools::for_memory());
        let tools = Toolbox::new(tools);
        let levels = sandboxes.map(|sandboxes| Arc::new(MachineLevels(sandboxes)) as Arc<dyn Levels>);
        let (turn, rules) = (Arc::new(turn), Arc::new(rules));
        let redactor = Redactor::new(sterna_secrets::Config::default())
            .map_err(|bad| Error::setup(bad.to_string(), "report this: built-in patterns are wrong"))?;
        let rights = Rights {
            turn,
            rules,
            grants: Arc::default(),
            env,
            untrusted: Arc::default(),
            view: Arc::default(),
            secrets: redactor.scoped(""),
            levels,
            log: of.log,
        };
        Ok(Self { rights, tools })
    }

    /// Judges a command line for `shell`.
    pub async fn explain_command(&self, line: &str) -> Result<Explained, String> {
        self.explain("shell", &serde_json::json!({ "command": line })).await
    }

    /// Judges a call. An error says why such a call would not come so far.
    pub async fn explain(&self, tool: &str, args: &Value) -> Result<Explained, String> {
        let known = || format!("there is no tool `{tool}`; tools are {}", self.names());
        let found = self.tools.get(tool).ok_or_else(known)?;
        let args = self.tools.arguments(tool, &args.to_string())?;
        let (verdict, level) = sterna_runtime::explain(&found, &args, &self.rights).await?;
        Ok(Explained { verdict, level })
    }

    /// All rules, the built-in ones too, in the order in which a decision goes by them.
    pub fn rules(&self) -> Vec<&Rule> {
        let mut rules: Vec<&Rule> = self.rights.rules.iter().collect();
        let rank = |decision: Decision| match decision {
            Decision::Deny => 0,
            Decision::Ask => 1,
            Decision::Allow => 2,
        };
        rules.sort_by_key(|rule| (rank(rule.decision()), rule.scope()));
        rules
    }

    fn names(&self) -> String {
        self.tools.names().join(", ")
    }
}
