//! The sandbox as a person's work meets it: builds, git, the network by domain, ends, and what is told.

#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::sandbox::{World, helper, quoted, read, world};
use common::{alive, eventually};
use rustix::process::{Pid, Signal, kill_process};
use sterna_shell::sandbox::{Confinement, DomainRule, Gap, Level, Network, Places, Prober, Report, Source};
use sterna_shell::shim::{Cause, Exit, How, Input, Screen, State};
use sterna_shell::{Confined, Limits, ShellError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const LEVELS: [Level; 2] = [Level::Bubblewrap, Level::Landlock];

async fn good(world: &World, line: &str, confine: Confinement) -> String {
    let (exit, output) = world.run(line, Some(confine)).await;
    assert_eq!(exit.how, How::Code(0), "{line}: {output}");
    output
}

/// Runs outside of any sandbox.
fn outside(folder: &Path, line: &str) -> String {
    let output = Command::new("bash").args(["-c", line]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const GIT: &str = "export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b \
                   GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b; ";

#[tokio::test]
async fn a_person_can_work_inside() {
    let world = world().await;
    for level in LEVELS {
        let Some(confinement) = world.confinement(level) else { continue };
        let lines = [
            format!("{GIT} git init -q repo-{level} && cd repo-{level} && echo a >f && git add f && git commit -qm one"),
            format!("{GIT} cd repo-{level} && git checkout -qb other && echo b >f && git commit -qam two && git gc -q"),
            "printf '#include <stdio.h>\\nint main(void){puts(\"built\");}' >m.c && cc -o m m.c && ./m".into(),
            "python3 -c 'import tempfile,subprocess as s; tempfile.TemporaryFile(); print(s.check_output([\"true\"]))'"
                .into(),
            "mkfifo p && (echo x >p & cat p) && rm p".into(),
            "echo $TMPDIR && touch $TMPDIR/x && mktemp && cat <<<here".into(),
            "ls /proc/self/fd >/dev/null && echo >/dev/null && head -c1 /dev/urandom | wc -c".into(),
        ];
        for line in &lines {
            good(&world, line, confinement.clone()).await;
        }
    }
}

#[tokio::test]
async fn cargo_builds_inside() {
    let world = world().await;
    let project = world.at("work");
    std::fs::create_dir(project.join("src")).unwrap();
    std::fs::write(project.join("src/main.rs"), "fn main() { println!(\"built by cargo\"); }").unwrap();
    std::fs::write(project.join("build.rs"), "fn main() { println!(\"cargo:rerun-if-changed=build.rs\"); }")
        .unwrap();
    std::fs::write(
        project.join("Cargo.toml"),
        "[package]\nname = \"inside\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n",
    )
    .unwrap();
    for level in LEVELS {
        let Some(held) = world.confinement(level) else { continue };
        // As a person has it: with caches, and with secrets hidden.
        let env: std::collections::BTreeMap<String, String> = std::env::vars().collect();
        let places = Places {
            home: env.get("HOME").map(Into::into),
            workspace: vec![project.clone()],
            tmp: world.at("tmp"),
            env: env.clone(),
            ..Places::default()
        };
        let confinement = places.confinement(&world.report, Some(level), Network::None).unwrap();
        assert_eq!(confinement.bwrap, held.bwrap);
        let line = format!(
            "cargo build --offline --quiet --target-dir target-{level} && target-{level}/debug/inside"
        );
        let mut plan = world.plan(&line, Some(confinement));
        // rustup and cargo find their folders by these.
        for name in ["HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
            plan.env.extend(env.get(name).map(|value| (name.to_owned(), value.clone())));
        }
        let (exit, output) = read(&mut world.start(&plan).await).await;
        assert_eq!(
            (exit.how, output.ends_with("built by cargo\n")),
            (How::Code(0), true),
            "{level}: {output}"
        );
    }
}

#[tokio::test]
async fn worktrees_and_submodules_work_and_keep_their_hooks() {
    let world = world().await;
    let git = |folder: &Path, line: &str| outside(folder, &format!("{GIT} {line}"));
    let base = world.at("outside");
    git(&base, "git init -q lib && cd lib && echo l >l && git add l && git commit -qm lib");
    git(&base, "git init -q main && cd main && echo m >m && git add m && git commit -qm main");
    for level in LEVELS {
        if world.confinement(level).is_none() {
            continue;
        }
        let main = base.join("main");
        let tree = base.join(format!("tree-{level}"));
        git(&main, &format!("git worktree add -q ../tree-{level}"));
        git(
            &main,
            &format!(
                "git -c protocol.file.allow=always submodule --quiet add ../lib sub-{level} && git commit -qm s"
            ),
        );
        for workspace in [tree, main.join(format!("sub-{level}"))] {
            let places =
                Places { workspace: vec![workspace.clone()], tmp: world.at("tmp"), ..Places::default() };
            let mut confinement = places.confinement(&world.report, Some(level), Network::None).unwrap();
            // The tests' folder is below /tmp, which Landlock closes.
            confinement.readable = vec![base.clone()];
            let mut plan = world.plan(
                &format!("{GIT} echo new >n && git add n && git commit -qm inside"),
                Some(confinement.clone()),
            );
            plan.cwd = workspace.clone();
            let (exit, output) = read(&mut world.start(&plan).await).await;
            assert_eq!(exit.how, How::Code(0), "{level} {}: {output}", workspace.display());
            assert_eq!(git(&workspace, "git log -1 --format=%s"), "inside\n");
            let dir = git(&workspace, "git rev-parse --git-path hooks").trim().to_owned();
            plan.run = sterna_shell::shim::Run::Shell {
                line: format!(
                    "for f in {0}/pre-commit .git; do echo x >$f || echo kept; done",
                    quoted(Path::new(&dir))
                ),
            };
            if level == Level::Bubblewrap {
                let (_, output) = read(&mut world.start(&plan).await).await;
                assert_eq!(output.matches("kept").count(), 2, "{level} {}: {output}", workspace.display());
            }
        }
    }
}

#[tokio::test]
async fn temporary_files_are_the_sessions_own_and_stay() {
    let world = world().await;
    for level in LEVELS {
        let Some(confinement) = world.confinement(level) else { continue };
        let name = format!("kept-by-{level}-{}", std::process::id());
        good(&world, &format!("echo mine >$TMPDIR/{name}"), confinement.clone()).await;
        assert_eq!(good(&world, &format!("cat $TMPDIR/{name}"), confinement.clone()).await, "mine\n");
        assert!(world.at("tmp").join(&name).exists());
        assert!(!std::env::temp_dir().join(&name).exists());
        let other = Confinement { tmp: world.at("tmp-of-another"), ..confinement };
        assert_eq!(good(&world, "ls $TMPDIR", other).await, "");
        assert_eq!(
            std::fs::metadata(world.at("tmp-of-another")).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }
}

/// A web server on this machine that greets with what it was asked.
async fn web() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = [0; 2048];
            let read = stream.read(&mut bytes).await.unwrap_or(0);
            let asked = String::from_utf8_lossy(&bytes[..read]).lines().next().unwrap_or_default().to_owned();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{asked}", asked.len());
            drop(stream.write_all(answer.as_bytes()).await);
        }
    });
    port
}

#[tokio::test]
async fn the_network_is_open_by_domain_and_refusals_are_told() {
    let world = world().await;
    let port = web().await;
    let listed = [format!("localhost:{port}"), "*.example.com".to_owned()];
    let rules: Vec<DomainRule> = listed.iter().map(|rule| rule.parse().unwrap()).collect();
    let unlisted = web().await;
    for level in LEVELS {
        let Some(mut confinement) = world.confinement(level) else { continue };
        confinement.network = Network::Domains(rules.clone());
        let curl = "curl -sS --max-time 10";
        let plain = format!("{curl} http://localhost:{port}/plain; {curl} -p http://localhost:{port}/tunnel");
        assert_eq!(
            good(&world, &plain, confinement.clone()).await,
            "GET /plain HTTP/1.1GET /tunnel HTTP/1.1",
            "{level}"
        );

        let refused = format!(
            "{curl} http://other.example/; {curl} https://other.example/; {curl} http://0.0.0.0:{port}/; \
             {curl} http://169.254.169.254/latest; exit 0"
        );
        let (exit, output) = world.run(&refused, Some(confinement.clone())).await;
        assert!(output.contains("other.example:80 is not in the list of allowed domains"), "{output}");
        let told: Vec<&str> = exit.denied.iter().map(|denied| denied.what.as_str()).collect();
        let not_listed = |place: &str| format!("network: {place} is not in the list of allowed domains");
        let want =
            ["other.example:80", "other.example:443", &format!("0.0.0.0:{port}"), "169.254.169.254:80"];
        assert_eq!(told, want.map(not_listed), "{level}: {output}");
        assert!(exit.denied.iter().all(|denied| denied.source == Source::Fact));

        // Without the proxy there is no way.
        let helper = quoted(&std::fs::canonicalize(common::sandbox::helper_program()).unwrap());
        let line = format!(
            "{helper} try tcp {unlisted}; {helper} try udp {unlisted}; {curl} --noproxy '*' http://localhost:{unlisted}/"
        );
        let (exit, output) = world.run(&line, Some(confinement.clone())).await;
        assert!(output.starts_with("errno "), "{level}: {output}");
        assert_ne!(exit.how, How::Code(0), "{level}: {output}");
        let left = outside(&world.at("tmp"), "ls -A");
        assert!(!left.contains("proxy"), "{level}: {left}");
    }
}

/// Programs that know of no proxy, such as clients of databases, find a listed service of this machine where they look for it.
#[tokio::test]
async fn a_listed_service_of_this_machine_is_on_its_port_inside() {
    let world = world().await;
    let Some(mut confinement) = world.confinement(Level::Bubblewrap) else { return };
    let (listed, unlisted) = (web().await, web().await);
    // Nobody listens there: it is the command's own.
    let own = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let rules = [format!("localhost:{listed}"), format!("127.0.0.1:{own}")];
    confinement.network = Network::Domains(rules.iter().map(|rule| rule.parse().unwrap()).collect());
    let plain = "curl -sS --max-time 10 --noproxy '*'";
    let lines = [
        (
            format!("{plain} http://localhost:{listed}/a; {plain} http://127.0.0.1:{listed}/b"),
            "GET /a HTTP/1.1GET /b HTTP/1.1",
        ),
        (format!("curl -sS --max-time 10 http://localhost:{listed}/c"), "GET /c HTTP/1.1"),
        (
            format!(
                "python3 -c \"import socket; here = socket.create_server(('127.0.0.1', {own})); \
                 socket.create_connection(('127.0.0.1', {own})); print('own', end='')\""
            ),
            "own",
        ),
    ];
    for (line, want) in lines {
        assert_eq!(good(&world, &line, confinement.clone()).await, want, "{line}");
    }
    let (exit, output) = world.run(&format!("{plain} http://localhost:{unlisted}/"), Some(confinement)).await;
    assert_ne!(exit.how, How::Code(0), "{output}");
}

/// What Landlock cannot hold with a domain list: it knows ports, and no addresses.
#[tokio::test]
async fn landlock_knows_only_the_proxys_port() {
    let world = world().await;
    let Some(mut confinement) = world.confinement(Level::Landlock) else { return };
    confinement.network = Network::Domains(vec!["*.example.com".parse().unwrap()]);
    let line = "p=${http_proxy##*:}; echo $p >port.new; mv port.new port; until [ -e go ]; do sleep 0.01; done; \
                python3 -c \"import socket; socket.create_connection(('127.0.0.2', $p)); print('through')\"; \
                python3 -c \"import socket; socket.create_connection(('127.0.0.2', $p + 1))\"";
    let mut handle = world.start(&world.plan(line, Some(confinement))).await;
    let file = world.at("work").join("port");
    eventually(|| file.exists(), "the port").await;
    let port: u16 = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
    let _other = std::net::TcpListener::bind(("127.0.0.2", port)).unwrap();
    std::fs::write(world.at("work").join("go"), "").unwrap();
    let (_, output) = read(&mut handle).await;
    assert!(output.starts_with("through\n") && output.contains("PermissionError"), "{output}");
    assert!(world.gaps(Level::Landlock, &Network::Domains(vec![])).contains(&Gap::ProxyPort));
}

#[tokio::test]
async fn limits_hold_inside() {
    let world = world().await;
    for level in LEVELS {
        let Some(confinement) = world.confinement(level) else { continue };
        let line = "ulimit -t; ulimit -v; ulimit -n; ulimit -f; ulimit -Hc";
        let mut plan = world.plan(line, Some(confinement.clone()));
        plan.limits = Limits {
            cpu_seconds: Some(9),
            address_space_bytes: Some(4 << 30),
            open_files: Some(99),
            file_bytes: Some(1 << 20),
            ..Limits::default()
        };
        let (_, output) = read(&mut world.start(&plan).await).await;
        assert_eq!(output, "9\n4194304\n99\n1024\n0\n", "{level}");
        let mut plan = world.plan("ulimit -u", Some(confinement));
        plan.limits.processes = Some(500);
        let (_, output) = read(&mut world.start(&plan).await).await;
        assert_eq!(output, "500\n", "{level}");
    }
}

#[tokio::test]
async fn a_fork_bomb_is_bound_by_the_commands_own_count() {
    let world = world().await;
    let Some(confinement) = world.confinement(Level::Bubblewrap) else { return };
    if rustix::process::getuid().is_root() {
        // The system does not limit root's processes.
        return common::sandbox::as_nobody(&["a_fork_bomb_is_bound_by_the_commands_own_count"]);
    }
    let line = "python3 -c 'import subprocess\nfor n in range(60): subprocess.Popen([\"sleep\", \"30\"])'";
    let mut plan = world.plan(line, Some(confinement));
    plan.limits.processes = Some(20);
    let (_, output) = read(&mut world.start(&plan).await).await;
    assert!(output.contains("Resource temporarily unavailable"), "{output}");
}

#[tokio::test]
async fn ends_are_told_as_without_a_sandbox() {
    let world = world().await;
    for level in LEVELS {
        let Some(confinement) = world.confinement(level) else { continue };
        let code = world.run("exit 7", Some(confinement.clone())).await.0;
        assert_eq!((code.how, code.cause), (How::Code(7), Cause::Itself), "{level}");
        let (exit, output) = world.run("no-such-program-here", Some(confinement.clone())).await;
        assert_eq!(exit.how, How::Code(127), "{level}: {output}");
        // A command that cleans up when it is asked to end is given the time to.
        let line = "trap 'echo cleaned; exit 5' TERM; echo >up; while :; do sleep 0.05; done";
        let (exit, output) = ended(&world, line, &confinement, Duration::from_secs(60)).await;
        assert_eq!((&exit.how, exit.cause), (&How::Code(5), Cause::Killed), "{level}: {output}");
        // The shell may say that its sleep was ended too.
        assert!(output.ends_with("cleaned\n"), "{level}: {output}");
        // One that does not is killed, with all it started.
        let line = "trap '' TERM; setsid sleep 600 & echo >up; sleep 600";
        let (exit, _) = ended(&world, line, &confinement, Duration::from_millis(50)).await;
        assert_eq!((exit.cause, exit.left_behind), (Cause::Killed, 0), "{level}");
        let mut input = world.plan("cat", Some(confinement));
        input.input = Some(sterna_shell::shim::Input { text: "given".into(), open: false });
        assert_eq!(read(&mut world.start(&input).await).await.1, "given", "{level}");
    }
}

/// Runs a line that makes the file `up` when it is ready, and ends it then.
async fn ended(world: &World, line: &str, confinement: &Confinement, grace: Duration) -> (Exit, String) {
    let mut handle = world.start(&world.plan(line, Some(confinement.clone()))).await;
    let up = world.at("work").join("up");
    eventually(|| up.exists(), "the command").await;
    std::fs::remove_file(&up).unwrap();
    handle.control().kill(grace).await.unwrap();
    read(&mut handle).await
}

#[tokio::test]
async fn nothing_outlives_a_killed_shim() {
    let world = world().await;
    for level in LEVELS {
        let Some(mut confinement) = world.confinement(level) else { continue };
        confinement.network = Network::Domains(vec!["example.com".parse().unwrap()]);
        let handle = world.start(&world.plan("echo >up; sleep 600", Some(confinement))).await;
        let up = world.at("work").join("up");
        eventually(|| up.exists(), "the command").await;
        std::fs::remove_file(&up).unwrap();
        let State::Running(Some(started)) = handle.spool().state().unwrap() else { panic!() };
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", started.pid)).unwrap();
        assert!(!children.trim().is_empty());
        kill_process(Pid::from_raw(started.pid).unwrap(), Signal::KILL).unwrap();
        for child in children.split_whitespace() {
            eventually(|| !alive(child), "the end of the command").await;
        }
    }
}

#[tokio::test]
async fn a_confined_command_may_have_a_terminal() {
    let world = world().await;
    for level in LEVELS {
        let Some(confinement) = world.confinement(level) else { continue };
        let line = "stty -echo; test -t 0 && stty size; echo x >/etc/sterna-test; read a; echo got $a";
        let mut plan = world.plan(line, Some(confinement));
        plan.terminal = Some(Screen { cols: 100, rows: 30 });
        plan.input = Some(Input { text: "one\n".into(), open: false });
        let (exit, output) = read(&mut world.start(&plan).await).await;
        assert_eq!(exit.how, How::Code(0), "{level}: {output}");
        assert!(output.contains("30 100\r\n") && output.ends_with("got one\r\n"), "{level}: {output}");
        assert!(!Path::new("/etc/sterna-test").exists(), "{level}");
    }
}

#[tokio::test]
async fn a_refusal_is_told_in_words() {
    let world = world().await;
    let cases = [
        ("echo x >/etc/sterna-test", "writ", "nothing"),
        ("cat ../hidden/key", "secrets cannot be read", "nothing"),
        ("curl -sS http://example.com/", "has no network", "nothing"),
    ];
    std::fs::write(world.at("hidden").join("key"), "secret").unwrap();
    for level in LEVELS {
        let Some(confinement) = world.confinement(level) else { continue };
        for (line, told, _) in cases {
            let (exit, output) = world.run(line, Some(confinement.clone())).await;
            assert!(!output.contains("secret\n") && exit.how != How::Code(0), "{level} {line}: {output}");
            let hints: Vec<String> = exit.denied.iter().map(|denied| denied.told()).collect();
            let hint = hints.iter().find(|hint| hint.contains(told)).unwrap_or_else(|| {
                panic!("{level} {line}: {hints:?} after {output}");
            });
            assert!(
                hint.starts_with("sandbox_denied (perhaps): ") && hint.contains(level.as_str()),
                "{hint}"
            );
        }
        let quiet: Exit = world.run("echo Permission denied; true", Some(confinement)).await.0;
        assert_eq!(quiet.denied, [], "{level}: a command that succeeded was refused nothing");
    }
}

#[tokio::test]
async fn a_command_without_a_shim_is_confined_too() {
    let world = world().await;
    for level in LEVELS {
        let Some(confinement) = world.confinement(level) else { continue };
        let mut command = common::command("echo in >in; echo out >../outside/out; exit 3");
        command.cwd = world.at("work");
        command.confine = Some(Confined { confinement: confinement.clone(), helper: helper() });
        let ended = sterna_shell::run(command).await.unwrap();
        assert_eq!(ended.exit_code, Some(3), "{level}");
        assert!(world.at("work").join("in").exists() && !world.at("outside").join("out").exists(), "{level}");
        assert_eq!(ended.denied.len(), 1, "{level}: {:?}", ended.denied);
        let mut slow = common::command("trap 'exit 4' TERM; echo >up; while :; do sleep 0.05; done");
        slow.cwd = world.at("work");
        slow.grace = Duration::from_secs(60);
        slow.confine = Some(Confined { confinement, helper: helper() });
        let (cancel, up) = (slow.cancel.clone(), world.at("work").join("up"));
        let running = tokio::spawn(sterna_shell::run(slow));
        eventually(|| up.exists(), "the command").await;
        std::fs::remove_file(&up).unwrap();
        cancel.cancel();
        let ended = running.await.unwrap().unwrap();
        assert_eq!((ended.exit_code, ended.cancelled), (Some(4), true), "{level}");
    }
}

/// A folder with a `bwrap` that does what `script` says.
fn fake_bwrap(world: &World, name: &str, script: &str, mode: u32) -> std::path::PathBuf {
    let folder = world.at(name);
    std::fs::create_dir(&folder).unwrap();
    let program = folder.join("bwrap");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(mode)).unwrap();
    folder
}

#[tokio::test]
async fn the_ladder_goes_down_by_name_and_never_in_silence() {
    let world = world().await;
    let nested = "echo 'bwrap: Creating new namespace failed: Operation not permitted' >&2; exit 1";
    let fakes = [
        (world.at("nowhere"), "there is no program bwrap in"),
        (
            fake_bwrap(&world, "nested", nested, 0o755),
            "Creating new namespace failed: Operation not permitted",
        ),
        (fake_bwrap(&world, "loose", nested, 0o757), "can be changed by other users"),
        // One that runs the command and holds nothing.
        (
            fake_bwrap(&world, "open", "while [ \"$1\" != -- ]; do shift; done; shift; exec \"$@\"", 0o755),
            "it does not hold",
        ),
    ];
    for (folder, why) in fakes {
        let state = folder.with_extension("state");
        let report = Prober::new(helper(), &state).folders([&folder]).report().await;
        let tried = report.tried(Level::Bubblewrap).unwrap();
        let fault = tried.fault.as_deref().unwrap_or("it holds");
        assert!(fault.contains(why), "{}: {fault}", folder.display());
        assert_ne!(report.best(), Level::Bubblewrap);
        if world.confinement(Level::Landlock).is_some() {
            assert_eq!(report.best(), Level::Landlock, "{report:?}");
        }
        let told = report.told();
        assert!(told[0].starts_with("bubblewrap: no: ") && told[0].contains(why), "{told:?}");
        assert_eq!(told.len(), 3);
        let error = report.at(Level::Bubblewrap, Confinement::new(Level::None, "/tmp/x")).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}

/// As in a container that forbids namespaces.
#[tokio::test]
async fn nested_it_degrades_by_name() {
    let world = world().await;
    let program = quoted(&std::fs::canonicalize(common::sandbox::helper_program()).unwrap());
    for level in LEVELS {
        let Some(confinement) = world.confinement(level) else { continue };
        let output = good(&world, &format!("{program} report nested-in-{level}"), confinement).await;
        let report: Report = serde_json::from_str(&output).unwrap();
        let inner = report.tried(Level::Bubblewrap).unwrap();
        let fault = inner.fault.as_deref().unwrap_or("it holds");
        assert!(
            world.report.bwrap().is_none() || fault.to_lowercase().contains("permi"),
            "in {level}: {fault}"
        );
        // Landlock within a namespace works; within Landlock, what it would open cannot be listed.
        let landlock = world.report.tried(Level::Landlock).unwrap().fault.is_none();
        let want = if landlock && level == Level::Bubblewrap { Level::Landlock } else { Level::None };
        assert_eq!(report.best(), want, "in {level}: {:?}", report.told());
        assert!(report.told()[0].starts_with("bubblewrap: no: "), "{:?}", report.told());
    }
}

#[tokio::test]
async fn a_report_is_kept_until_the_machine_changes() {
    let world = world().await;
    let kept = world.at("state").join("sandbox.json");
    let first = std::fs::read_to_string(&kept).unwrap();
    let prober = Prober::new(helper(), world.at("state"));
    // What is kept is believed, not probed again.
    std::fs::write(&kept, first.replace("\"landlock\"", "\"none\"")).unwrap();
    assert_eq!(prober.report().await.tried(Level::Landlock), None);
    for broken in [first.replace(" kernel ", " kernel 0-"), "{".into(), String::new()] {
        std::fs::write(&kept, broken).unwrap();
        assert_eq!(prober.report().await, world.report);
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), first);
    }
    let names: Vec<_> =
        std::fs::read_dir(world.at("state")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["sandbox.json"], "the probe leaves nothing");
}

/// A level that worked when it was probed, and does not any more, runs nothing.
#[tokio::test]
async fn a_level_that_breaks_fails_closed() {
    let world = world().await;
    let broken =
        fake_bwrap(&world, "broken", "echo 'bwrap: No permissions' >&2; exit 1", 0o755).join("bwrap");
    let mut confinement = Confinement::new(Level::Bubblewrap, world.at("tmp"));
    confinement.writable = vec![world.at("work")];
    confinement.bwrap = Some(broken);
    let (exit, _) = world.run("echo ran >ran", Some(confinement.clone())).await;
    match &exit.how {
        How::NotStarted(why) => {
            assert!(why.contains("bubblewrap could not set up the sandbox: bwrap: No perm"), "{why}")
        }
        other => panic!("{other:?}"),
    }
    confinement.bwrap = Some(world.at("gone"));
    assert!(matches!(world.run("echo ran >ran", Some(confinement.clone())).await.0.how, How::NotStarted(_)));
    confinement.bwrap = None;
    let (exit, _) = world.run("echo ran >ran", Some(confinement.clone())).await;
    assert!(matches!(exit.how, How::NotStarted(_)), "{exit:?}");
    let mut command = common::command("echo ran >ran");
    command.cwd = world.at("work");
    command.confine = Some(Confined { confinement, helper: helper() });
    assert!(matches!(sterna_shell::run(command).await, Err(ShellError::Sandbox(_))));
    assert!(!world.at("work").join("ran").exists());
}
