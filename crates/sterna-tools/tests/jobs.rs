//! Background jobs: `shell` with `background`, `job_output`, `job_kill`, `shell_input`.

// Helpers of tests may unwrap too.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{World, text};
use serde_json::{Value, json};
use sterna_model::EffectClass;
use sterna_model::ToolStatus::{Failed, InvalidArguments};
use sterna_shell::shim::{Found, Helper, Shims};
use sterna_tool::{Access, PlanContext, Recovered, SharedTool, ToolContext, ToolError, ToolReturn};

/// A world whose commands run under shims, and the tools of a process in it.
struct Jobs {
    world: World,
    shims: Arc<Shims>,
}

impl Jobs {
    fn new() -> Self {
        let world = World::new();
        let helper = Helper::new(env!("CARGO_BIN_EXE_sterna-tools-shim-test"), [] as [&str; 0]);
        let shims = Arc::new(Shims::new(world.outside().join("spools"), Some(helper)));
        shims.prepare().unwrap();
        Self { world, shims }
    }

    fn tool(&self, name: &str) -> SharedTool {
        let all = sterna_tools::builtin(Some(self.shims.clone()), None);
        all.into_iter().find(|tool| tool.spec().name == name).unwrap()
    }

    fn accesses(&self, name: &str, args: &Value) -> Vec<Access> {
        let cx = PlanContext { cwd: self.world.cwd.clone(), roots: vec![self.world.cwd.clone()] };
        self.tool(name).plan(&cx, args).unwrap().accesses
    }

    fn context(&self, key: &str, name: &str, args: &Value) -> Result<ToolContext, ToolError> {
        let cx = PlanContext { cwd: self.world.cwd.clone(), roots: vec![self.world.cwd.clone()] };
        let plan = self.tool(name).plan(&cx, args)?;
        Ok(ToolContext { key: key.parse().unwrap(), ..self.world.context(plan) })
    }

    async fn try_call(&self, key: &str, name: &str, args: Value) -> Result<String, ToolError> {
        match self.tool(name).call(self.context(key, name, &args)?, args).await? {
            ToolReturn::Done(done) => Ok(text(&done)),
            other => panic!("{other:?}"),
        }
    }

    /// The call's text; an error is its message.
    async fn told(&self, name: &str, args: Value) -> String {
        self.try_call("demo/9/1/tool/0", name, args).await.unwrap_or_else(|error| error.message)
    }

    /// Starts a job under this key, and gives its id.
    async fn start(&self, key: &str, args: Value) -> String {
        let told = self.try_call(key, "shell", args).await.unwrap();
        told.strip_prefix("started ").unwrap().split(':').next().unwrap().to_owned()
    }
}

/// A test that fails leaves nothing running.
impl Drop for Jobs {
    fn drop(&mut self) {
        for listed in self.shims.list().unwrap_or_default() {
            let pid = match listed.state {
                Ok(sterna_shell::shim::State::Running(Some(started))) => started.pid,
                _ => continue,
            };
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

fn job(command: &str) -> Value {
    json!({"command": command, "background": true, "open_stdin": true})
}

#[tokio::test]
async fn a_job_is_read_in_parts_and_whole() {
    let jobs = Jobs::new();
    let id =
        jobs.start("demo/1/1/tool/0", job("printf 'a\\342\\202'; read x; printf '\\254\\n'; exit 3")).await;
    // Half a character waits for the rest.
    let want = format!("a\n[{id} running; bytes 0–1 of 3; offset 1 reads on]");
    let mut told = String::new();
    for _ in 0..1000 {
        told = jobs.told("job_output", json!({"job": id, "wait_s": 1})).await;
        if told == want {
            break;
        }
    }
    assert_eq!(told, want);
    assert_eq!(
        jobs.told("shell_input", json!({"job": id, "text": "\n"})).await,
        format!("gave {id} 1 bytes")
    );
    let shim = jobs.shims.find(&id).unwrap().remove(0);
    jobs.shims.open(&shim.spool).end().await.unwrap();
    let end = format!("[{id} exited with code 3; bytes 1–5, the end]");
    assert_eq!(jobs.told("job_output", json!({"job": id, "offset": 1})).await, format!("€\n{end}"));
    let none = format!("(no new output)\n[{id} exited with code 3; bytes 5–5, the end]");
    assert_eq!(jobs.told("job_output", json!({"job": id, "offset": 5, "wait_s": 60})).await, none);
    let beyond = format!("{id} has written 5 bytes; offset 6 is beyond");
    assert_eq!(jobs.told("job_output", json!({"job": id, "offset": 6})).await, beyond);
    let list = jobs.told("job_output", json!({})).await;
    assert!(list.starts_with(&format!("{id}  exited with code 3  5 bytes of output  printf")), "{list}");
}

#[tokio::test]
async fn a_flood_is_paged_without_a_gap() {
    let jobs = Jobs::new();
    let id = jobs.start("demo/1/1/tool/0", json!({"command": "seq 1 400000", "background": true})).await;
    let listed = jobs.shims.find(&id).unwrap().remove(0);
    jobs.shims.open(&listed.spool).end().await.unwrap();
    let want: String = (1..=400_000).map(|n| format!("{n}\n")).collect();
    let (mut read, mut offset, mut calls) = (String::new(), 0, 0);
    loop {
        let page = jobs.told("job_output", json!({"job": id, "offset": offset})).await;
        let (body, trailer) = page.rsplit_once("\n[").unwrap();
        calls += 1;
        // The line break before the trailer is the page's own only where the page ends with one.
        let end = trailer.split('–').nth(1).unwrap().split([',', ' ', ';']).next().unwrap();
        let end: usize = end.parse().unwrap();
        read.push_str(body);
        if read.len() < end {
            read.push('\n');
        }
        assert_eq!(read.len(), end);
        offset = end;
        if trailer.ends_with("the end]") {
            break;
        }
        assert!(trailer.contains(&format!("of {}; offset {offset} reads on", want.len())), "{trailer}");
    }
    assert!(read == want && calls > 2, "{calls}");
}

#[tokio::test]
async fn recovery_gives_the_answer_of_the_start() {
    let jobs = Jobs::new();
    let key = "demo/1/1/tool/0";
    let args = job("echo x >> made; read x; exit 1");
    let shell = jobs.tool("shell");
    let recovered = async |attempt: u32| {
        let cx = ToolContext { attempt, ..jobs.context(key, "shell", &args).unwrap() };
        match shell.recover(cx, args.clone()).await {
            Recovered::Ended(Ok(ToolReturn::Done(done))) => text(&done),
            Recovered::Ended(other) => panic!("{other:?}"),
            Recovered::NeverRan => "never ran".to_owned(),
            Recovered::Unknown => "unknown".to_owned(),
        }
    };
    let answer = jobs.try_call(key, "shell", args.clone()).await.unwrap();
    assert_eq!(recovered(1).await, answer, "while it runs");
    // The outcome is in the log; the job stays.
    shell.settled(&key.parse().unwrap(), 1);
    let id = answer.strip_prefix("started ").unwrap().split(':').next().unwrap();
    jobs.told("shell_input", json!({"job": id, "text": "", "close": true})).await;
    let listed = jobs.shims.find(id).unwrap().remove(0);
    jobs.shims.open(&listed.spool).end().await.unwrap();
    jobs.shims.settle(&key.parse().unwrap(), 1).unwrap();
    assert_eq!(recovered(1).await, answer, "after its end");
    assert_eq!(recovered(2).await, "never ran");
    // One that never ran leaves nothing when that is in the log.
    assert!(matches!(jobs.shims.attach(&key.parse().unwrap(), 2).unwrap(), Found::Revoked));
    jobs.shims.settle(&key.parse().unwrap(), 2).unwrap();
    assert_eq!(jobs.shims.list().unwrap().len(), 1);
    assert_eq!(jobs.world.text("made"), "x\n");
}

#[tokio::test]
async fn what_input_may_do_is_judged_by_who_reads_it() {
    let jobs = Jobs::new();
    let cwd = jobs.world.cwd.clone();
    let shell = |command: &str| Access::Shell { command: command.into(), cwd: cwd.clone() };
    for (n, command, text, want) in [
        (0, "cat", "rm x\n", vec![Access::Session]),
        (1, "bash", "rm x\n", vec![shell("rm x\n"), Access::Other]),
        (2, "env bash -s", "ls", vec![shell("ls"), Access::Other]),
        (3, "while read x; do echo $x; done", "ls", vec![Access::Other]),
        (4, "bash", "", vec![Access::Session]),
    ] {
        let id = jobs.start(&format!("demo/1/1/tool/{n}"), job(command)).await;
        let args = json!({"job": id, "text": text, "close": true});
        assert_eq!(jobs.accesses("shell_input", &args), want, "{command}");
        assert_eq!(jobs.accesses("job_kill", &json!({"job": id})), [Access::Session]);
        assert_eq!(jobs.accesses("job_output", &json!({"job": id})), [Access::Session]);
    }
    // What was judged before the job was there is not what would happen.
    let args = json!({"job": "job-00000000", "text": "x"});
    assert_eq!(jobs.accesses("shell_input", &args), [Access::Session]);
    let id = jobs.start("demo/2/1/tool/0", job("bash")).await;
    let args = json!({"job": id, "text": "touch made\n"});
    let mut cx = jobs.context("demo/2/2/tool/0", "shell_input", &args).unwrap();
    cx.plan = Arc::new(sterna_tool::Plan { accesses: vec![Access::Session], ..(*cx.plan).clone() });
    let error = jobs.tool("shell_input").call(cx, args).await.unwrap_err();
    assert_eq!(error.message, format!("{id} was not there when this was judged; send it again"));
    assert!(!jobs.world.cwd.join("made").exists());
}

#[tokio::test]
async fn what_cannot_be_is_said() {
    let jobs = Jobs::new();
    let closed = jobs.start("demo/1/1/tool/0", json!({"command": "sleep 100", "background": true})).await;
    let foreign = jobs.start("other/1/1/tool/0", job("cat")).await;
    let own = format!("there is no job `job-12`; jobs of this session: {closed} (running)");
    let theirs = format!("{foreign} belongs to session `other`; a session has only its own jobs");
    for (name, args, status, message) in [
        ("job_output", json!({"job": "job-12"}), InvalidArguments, own.as_str()),
        ("job_output", json!({"job": foreign}), InvalidArguments, &theirs),
        ("job_kill", json!({"job": foreign}), InvalidArguments, &theirs),
        ("shell_input", json!({"job": foreign, "text": "x"}), InvalidArguments, &theirs),
        ("job_output", json!({"wait_s": 1}), InvalidArguments, "offset and wait_s need a job"),
        ("job_output", json!({"job": closed, "wait_s": 61}), InvalidArguments, "wait_s is 0 to 60"),
        ("job_kill", json!({"job": closed, "grace_s": 61}), InvalidArguments, "grace_s is 0 to 60"),
        (
            "shell_input",
            json!({"job": closed, "text": ""}),
            InvalidArguments,
            "text is empty; give some, or close the input",
        ),
        (
            "shell_input",
            json!({"job": closed, "text": "x"}),
            Failed,
            &format!("{closed} takes no input: it was started without `open_stdin`"),
        ),
        (
            "shell",
            json!({"command": "ls", "background": true, "timeout_s": 5}),
            InvalidArguments,
            "a background job has no time limit: leave timeout_s out, and use job_kill",
        ),
        (
            "shell",
            json!({"command": "ls", "open_stdin": true}),
            InvalidArguments,
            "open_stdin is for background jobs; give the input as `stdin`",
        ),
    ] {
        let error = jobs.try_call("demo/9/1/tool/0", name, args.clone()).await.unwrap_err();
        assert_eq!((error.status, error.message.as_str()), (status, message), "{name} {args}");
    }
    let killed = jobs.told("job_kill", json!({"job": closed})).await;
    let note = "its output can still be read with job_output";
    assert_eq!(killed, format!("{closed} ended by signal 15 (killed)\n{note}"));
    let again = jobs.told("job_kill", json!({"job": closed})).await;
    assert_eq!(again, format!("{closed} had ended before: ended by signal 15 (killed)\n{note}"));
    // A command that could not be started is told when it is read.
    let args = json!({"command": "ls", "background": true, "cwd": "no"});
    let id = jobs.start("demo/3/1/tool/0", args).await;
    let told = jobs.told("job_output", json!({"job": id, "wait_s": 60})).await;
    assert!(told.contains("could not be started: cannot run in "), "{told}");
    for (name, class) in [
        ("shell", EffectClass::AtMostOnce),
        ("shell_input", EffectClass::AtMostOnce),
        ("job_kill", EffectClass::Idempotent),
        ("job_output", EffectClass::Pure),
    ] {
        assert_eq!(jobs.tool(name).class(&json!({})), class, "{name}");
    }
}
