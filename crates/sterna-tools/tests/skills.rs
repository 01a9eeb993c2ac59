//! Skills: a corpus with verdicts by hand, and the tool `skill` on folders.

#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::fs::symlink;
use std::sync::Arc;

use common::World;
use serde_json::{Value, json};
use sterna_model::{EffectClass, ToolStatus};
use sterna_tool::{ChildOp, Output, Placeholders, PlanContext, SharedTool, SpawnChild, ToolReturn};
use sterna_tools::skills::{Place, Shelf, SkillText, Weight};

/// `valid`: nothing to say. `extended`: used here, refused by the specification. `broken`: not used.
#[test]
fn every_skill_of_the_corpus_has_its_verdict() {
    let corpus = include_str!("skills/corpus.jsonl");
    for line in corpus.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let (skill, problems) =
            SkillText::parse(case["text"].as_str().unwrap(), case["folder"].as_str().unwrap());
        let verdict = match (&skill, problems.len()) {
            (Some(_), 0) => "valid",
            (Some(_), _) => "extended",
            (None, _) => "broken",
        };
        assert_eq!(verdict, case["verdict"], "{line}: {problems:?}");
        if let Some(says) = case["says"].as_str() {
            assert!(problems.iter().any(|problem| problem.message.contains(says)), "{line}: {problems:?}");
        }
        let is_error = problems.iter().any(|problem| problem.weight == Weight::Error);
        assert_eq!(is_error, skill.is_none(), "{line}: {problems:?}");
    }
    assert!(corpus.lines().count() >= 70);
}

struct Skills {
    world: World,
    tool: SharedTool,
}

impl Skills {
    /// Skills in `own` of the workspace, which is the person's here.
    fn new() -> Self {
        let world = World::new();
        let dir = world.cwd.join("own");
        let shelf = Shelf { skills: vec![Place::user(dir)], ..Shelf::default() };
        let options = sterna_tools::Options { skills: Some(Arc::new(shelf)), ..Default::default() };
        let tools = sterna_tools::builtin(options);
        let tool = tools.into_iter().find(|tool| tool.spec().name == "skill").unwrap();
        Self { world, tool }
    }

    fn skill(&self, name: &str, more: &str, body: &str) {
        let text = format!("---\nname: {name}\ndescription: About {name}.\n{more}---\n{body}\n");
        self.world.file(&format!("own/{name}/SKILL.md"), text);
    }

    async fn call(&self, args: Value) -> Result<String, (ToolStatus, String)> {
        let cx = PlanContext { cwd: self.world.cwd.clone(), roots: vec![self.world.cwd.clone()] };
        let told = |error: sterna_tool::ToolError| (error.status, error.message);
        let plan = self.tool.plan(&cx, &args).map_err(told)?;
        match self.tool.call(self.world.context(plan), args).await.map_err(told)? {
            ToolReturn::Done(done) => match done.output {
                Output::Text(text) => Ok(text),
                other @ Output::Large { .. } => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_skill_is_loaded_listed_and_its_files_are_read() {
    let skills = Skills::new();
    assert_eq!(skills.call(json!({})).await.unwrap(), "no skills");
    skills.skill(
        "review",
        "allowed-tools: Bash(git *) Read\nwhen_to_use: before a merge\n",
        "Look at $ARGUMENTS.",
    );
    skills.skill("deploy", "disable-model-invocation: true\n", "Deploy.");
    skills.skill("plain", "", "Do it.");
    skills.world.file("own/review/references/more.md", "more");
    skills.world.file("own/broken/SKILL.md", "no front matter");
    let list = "- plain: About plain.\n- review: About review. Use it: before a merge";
    assert_eq!(skills.call(json!({})).await.unwrap(), list);
    assert_eq!(skills.call(json!({"name": " "})).await.unwrap(), list);
    let folder = skills.world.cwd.join("own/review");
    let loaded = format!(
        "Skill `review`, in {}\nIt is meant to be done with these tools only: shell, read\n\
         Its files (read one with `file`): references/more.md\n\nLook at src/a.rs.",
        folder.display()
    );
    assert_eq!(skills.call(json!({"name": "review", "args": "src/a.rs"})).await.unwrap(), loaded);
    let plain = skills.call(json!({"name": "plain", "args": "now"})).await.unwrap();
    assert!(plain.ends_with("\n\nDo it.\n\nnow"), "{plain}");
    let plain = skills.call(json!({"name": "plain", "file": ""})).await.unwrap();
    assert!(plain.ends_with("\n\nDo it."), "{plain}");
    let more = skills.call(json!({"name": "review", "file": "references/more.md"})).await;
    assert_eq!(more.unwrap(), "more");
}

#[tokio::test]
async fn what_is_not_there_or_not_allowed_is_refused() {
    let skills = Skills::new();
    skills.skill("review", "", "Look.");
    skills.skill("deploy", "disable-model-invocation: true\n", "SECRET");
    skills.world.file("secret.txt", "SECRET");
    skills.world.file("own/review/a.bin", [0xff, 0xfe]);
    let folder = skills.world.cwd.join("own/review");
    symlink("../../secret.txt", folder.join("link.md")).unwrap();
    symlink("../..", folder.join("up")).unwrap();
    symlink("/dev/zero", folder.join("zero")).unwrap();
    let out = skills.world.outside().join("out");
    std::fs::create_dir_all(&out).unwrap();
    std::fs::write(out.join("SKILL.md"), "---\nname: linked\ndescription: d\n---\nfine").unwrap();
    symlink(&out, skills.world.cwd.join("own/linked")).unwrap();
    std::fs::create_dir_all(skills.world.cwd.join("own/stolen")).unwrap();
    symlink(skills.world.cwd.join("secret.txt"), skills.world.cwd.join("own/stolen/SKILL.md")).unwrap();
    // A folder of the person's own may be a link; what leads out of it may not.
    assert!(skills.call(json!({"name": "linked"})).await.unwrap().ends_with("fine"));
    let absolute = skills.world.cwd.join("secret.txt");
    let absolute = absolute.to_str().unwrap();
    for (args, word) in [
        (json!({"name": "deploy"}), "only a person"),
        (json!({"name": "deploy", "file": "SKILL.md"}), "only a person"),
        (json!({"name": "reviw"}), "there are: review"),
        (json!({"name": "zzz"}), "there are: linked, review"),
        (json!({"name": "../review"}), "there is no skill"),
        (json!({"name": "stolen"}), "there is no skill"),
        (json!({"file": "a"}), "needs the `name`"),
        (json!({"name": "review", "file": "../deploy/SKILL.md"}), "below the skill's folder"),
        (json!({"name": "review", "file": "a/../../deploy/SKILL.md"}), "below the skill's folder"),
        (json!({"name": "review", "file": absolute}), "below the skill's folder"),
        (json!({"name": "review", "file": "..\\deploy"}), "below the skill's folder"),
        (json!({"name": "review", "file": "./SKILL.md"}), "below the skill's folder"),
        (json!({"name": "review", "file": "a//b"}), "below the skill's folder"),
        (json!({"name": "review", "file": "a\0b"}), "below the skill's folder"),
        (json!({"name": "review", "file": "link.md"}), "leads out"),
        (json!({"name": "review", "file": "up/secret.txt"}), "leads out"),
        (json!({"name": "review", "file": "zero"}), "leads out"),
        (json!({"name": "review", "file": "none.md"}), "No such file"),
        (json!({"name": "review", "file": "a.bin"}), "not text"),
    ] {
        let (status, message) = skills.call(args.clone()).await.unwrap_err();
        assert!(message.contains(word), "{args}: {message}");
        assert!(!message.contains("SECRET"), "{args}: {message}");
        assert!(matches!(status, ToolStatus::Failed | ToolStatus::InvalidArguments), "{args}");
    }
    assert!(!skills.call(json!({})).await.unwrap().contains("deploy"));
}

/// The answer to a skill that another agent does: whom it starts, or why not.
async fn agent_of(skills: &Skills, args: Value) -> Result<SpawnChild, String> {
    let cx = PlanContext { cwd: skills.world.cwd.clone(), roots: vec![skills.world.cwd.clone()] };
    let plan = skills.tool.plan(&cx, &args).unwrap();
    match skills.tool.call(skills.world.context(plan), args).await {
        Ok(ToolReturn::Child(ChildOp::Spawn(spawn))) => Ok(*spawn),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.message),
    }
}

#[tokio::test]
async fn a_skill_may_be_done_by_another_agent() {
    let skills = Skills::new();
    skills.skill(
        "look",
        "context: fork\nagent: explore\nallowed-tools: Bash Read Grep\n",
        "Look at $ARGUMENTS.",
    );
    skills.skill("all", "context: fork\n", "Do all of it.");
    skills.skill("who", "context: fork\nagent: nobody\n", "x");
    skills.skill("none", "context: fork\nagent: explore\nallowed-tools: Bash\n", "x");
    skills.skill("here", "context: inline\n", "Do it here.");
    skills.world.file("own/look/more.md", "more");
    let spawn = agent_of(&skills, json!({"name": "look", "args": "the parser"})).await.unwrap();
    assert_eq!((spawn.agent.as_str(), spawn.max_steps, spawn.fork), ("explore", 12, false));
    // What both the skill and the kind have.
    assert_eq!(spawn.tools, ["grep", "read"]);
    assert!(spawn.task.contains("Look at the parser.") && spawn.task.contains("more.md"), "{}", spawn.task);
    let spawn = agent_of(&skills, json!({"name": "all"})).await.unwrap();
    assert_eq!((spawn.agent.as_str(), spawn.tools.len()), ("general", 0));
    let why = agent_of(&skills, json!({"name": "who"})).await.unwrap_err();
    assert!(why.contains("`nobody`") && why.contains("explore"), "{why}");
    let why = agent_of(&skills, json!({"name": "none"})).await.unwrap_err();
    assert!(why.contains("none of the tools"), "{why}");
    assert_eq!(skills.call(json!({"name": "look", "file": "more.md"})).await.unwrap(), "more");
}

#[tokio::test]
async fn what_a_call_is_stands_in_its_arguments_and_not_on_the_disk() {
    let skills = Skills::new();
    for there in [false, true] {
        if there {
            skills.skill("here", "context: inline\n", "Do it here.");
            skills.skill("fork", "context: fork\n", "Do it there.");
            skills.world.file("own/here/more.md", "more");
        }
        for (args, class) in [
            (json!({"name": "fork"}), EffectClass::Idempotent),
            (json!({"name": "here", "args": "now"}), EffectClass::Idempotent),
            (json!({"name": "here", "file": ""}), EffectClass::Idempotent),
            (json!({"name": "nowhere"}), EffectClass::Idempotent),
            (json!({"name": "here", "file": "more.md"}), EffectClass::Pure),
            (json!({"name": " "}), EffectClass::Pure),
            (json!({}), EffectClass::Pure),
        ] {
            assert_eq!(skills.tool.class(&args), class, "{args}");
        }
    }
    // A secret's placeholder is text for a model here, whoever does the skill.
    let kept = skills.tool.placeholders(&json!({"name": "here", "args": "[secret:KEY:0]"}));
    assert_eq!(kept, Placeholders::Keep);
}

#[test]
fn a_file_kind_replaces_a_built_in_one() {
    let text = "---\nname: explore\ndescription: looks around differently\ntools: read\n---\nLook.";
    let (agent, problems) = sterna_tools::skills::parse_agent(text, "explore");
    assert!(problems.is_empty(), "{problems:?}");
    let options = sterna_tools::Options { agents: agent.into_iter().collect(), ..Default::default() };
    let tools = sterna_tools::builtin(options);
    assert!(!tools.iter().any(|tool| tool.spec().name == "skill"));
    let agent = tools.iter().find(|tool| tool.spec().name == "agent").unwrap();
    let told = &agent.spec().description;
    assert_eq!(told.matches("- explore: ").count(), 1);
    assert!(told.contains("- explore: looks around differently") && told.contains("- general: "), "{told}");
}
