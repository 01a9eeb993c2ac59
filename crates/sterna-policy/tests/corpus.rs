//! The public tables: what each command line would do, and what ordinary sessions ask.

#![allow(clippy::unwrap_used)]

mod world;

use std::path::Path;

use sterna_model::{Decision, Mode};
use sterna_policy::{Certainty, EffectSet, Sandbox, ShellPlan, Touched};
use world::{HOME, ROOT, judge, judge_in, rules};

struct Row<'a> {
    section: &'a str,
    text: &'a str,
    verdict: &'a str,
    line: String,
    programs: &'a str,
    effects: Vec<String>,
}

#[test]
fn each_line_has_the_plan_of_the_table() {
    let none = rules("");
    let mut wrong = Vec::new();
    let rows = rows();
    for row in &rows {
        let plan = ShellPlan::read(&row.line);
        let programs: Vec<&str> = plan.commands.iter().map(|c| c.program()).collect();
        let programs = if plan.unknown.is_some() { "?".to_owned() } else { programs.join(" ") };
        let effects = words(&plan.effects(Path::new(ROOT), Some(Path::new(HOME))));
        let verdict = judge(Mode::Execute, &none, &[], &format!("$ {}", row.line)).decision.word();
        let got = (verdict, programs.as_str(), &effects);
        if got != (row.verdict, row.programs, &row.effects) {
            let why = plan.unknown.unwrap_or_default();
            wrong.push(format!(
                "{}\n    got {verdict} ¦ {programs} ¦ {} ({why})",
                row.text,
                effects.join(" ")
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    assert!(rows.len() >= 300, "the table has only {} rows", rows.len());
}

#[test]
fn no_hostile_row_passes_without_asking_and_deny_rules_hold_in_bypass() {
    let (none, shell, removal) = (rules(""), rules("deny Shell; allow Shell(*)"), rules("deny Shell(rm *)"));
    let mut wrong = Vec::new();
    let mut hostile = 0;
    for row in rows().iter().filter(|r| r.section == "hostile") {
        hostile += 1;
        let call = format!("$ {}", row.line);
        for mode in Mode::ALL.into_iter().filter(|m| *m != Mode::Bypass) {
            if judge(mode, &none, &[], &call).decision == Decision::Allow {
                wrong.push(format!("[{}] {}", mode.word(), row.text));
            }
        }
        if judge(Mode::Bypass, &shell, &[], &call).decision != Decision::Deny {
            wrong.push(format!("[bypass, deny Shell] {}", row.text));
        }
        let removes = row.programs.split(' ').any(|p| p.rsplit('/').next() == Some("rm"));
        if removes && judge(Mode::Bypass, &removal, &[], &call).decision != Decision::Deny {
            wrong.push(format!("[bypass, deny Shell(rm *)] {}", row.text));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(hostile >= 150, "the hostile part has only {hostile} rows");
}

/// The figures of docs/permissions.md. Lines that ask in the sandbox are named, so that each change of them is seen.
#[test]
fn fifty_sessions_of_development_ask_this_often() {
    let none = rules("");
    let sessions = sessions();
    assert_eq!(sessions.len(), 50);
    for (name, lines) in &sessions {
        assert!(lines.len() >= 6, "the session `{name}` has only {} lines", lines.len());
    }
    let asks = |sandbox: Sandbox, line: &str| {
        let verdict = judge_in(sandbox, Mode::Execute, &none, &[], &format!("$ {line}"));
        assert_ne!(verdict.decision, Decision::Deny, "{line}: {}", verdict.reason);
        (verdict.decision == Decision::Ask).then_some(verdict.reason)
    };
    let lines: Vec<&str> = sessions.iter().flat_map(|(_, lines)| lines).map(String::as_str).collect();
    let confined: Vec<(&str, String)> =
        lines.iter().filter_map(|line| Some((*line, asks(Sandbox::Bubblewrap, line)?))).collect();
    let more: Vec<_> = confined.iter().filter(|(line, _)| !ASKS_IN_THE_SANDBOX.contains(line)).collect();
    assert!(more.is_empty(), "these ask, too: {more:#?}");
    let missing: Vec<_> =
        ASKS_IN_THE_SANDBOX.iter().filter(|line| confined.iter().all(|(c, _)| c != *line)).collect();
    assert!(missing.is_empty(), "these do not ask: {missing:#?}");
    let by_landlock = lines.iter().filter(|line| asks(Sandbox::Landlock, line).is_some());
    assert!(by_landlock.eq(confined.iter().map(|(line, _)| line)));
    let quiet = |lines: &&Vec<String>| lines.iter().all(|line| asks(Sandbox::Bubblewrap, line).is_none());
    let figures = Figures {
        lines: lines.len(),
        ask_in_the_sandbox: confined.len(),
        ask_without_one: lines.iter().filter(|line| asks(Sandbox::None, line).is_some()).count(),
        sessions_without_a_question: sessions.iter().map(|(_, lines)| lines).filter(quiet).count(),
        pass_and_need_a_host: lines
            .iter()
            .filter(|line| needs_a_host(line) && asks(Sandbox::Bubblewrap, line).is_none())
            .count(),
    };
    assert_eq!(figures, FIGURES);
    for (asking, percent) in [(figures.ask_in_the_sandbox, "8.9 %"), (figures.ask_without_one, "67 %")] {
        let told = format!("{asking} of {} ({percent})", figures.lines);
        assert!(include_str!("../../../docs/permissions.md").contains(&told), "the page does not say {told}");
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Figures {
    lines: usize,
    ask_in_the_sandbox: usize,
    ask_without_one: usize,
    sessions_without_a_question: usize,
    /// They pass, and the sandbox refuses them the network until somebody gives leave.
    pass_and_need_a_host: usize,
}

const FIGURES: Figures = Figures {
    lines: 745,
    ask_in_the_sandbox: 66,
    ask_without_one: 497,
    sessions_without_a_question: 24,
    pass_and_need_a_host: 40,
};

const ASKS_IN_THE_SANDBOX: [&str; 66] = [
    "CARGO_TERM_COLOR=never cargo clippy --workspace --all-targets -- -D warnings 2>&1 | tail -20",
    "hyperfine --warmup 3 './target/release/parse data/big.txt'",
    "for i in 1 2 3; do /usr/bin/time -f '%e s %M KB' ./target/release/parse data/big.txt > /dev/null; done",
    r#"RUSTFLAGS="-C target-cpu=native" cargo bench -p parser -- lines 2>&1 | tail -12"#,
    "cd packages/web && pnpm build && cd .. && ls -la web/dist/assets | sort -k5 -n | tail -5",
    "NODE_OPTIONS=--max-old-space-size=4096 pnpm -r build 2>&1 | tail -15",
    "cat .env.example",
    "NODE_ENV=test npx jest --coverage --runInBand 2>&1 | tail -25",
    r#"curl -s -X POST localhost:3000/teams -H 'content-type: application/json' -d '{"name":"a"}' | jq ."#,
    r#"pkill -f "tsx watch""#,
    "PYTHONPATH=src python3 -m app.cli --help",
    "source .venv/bin/activate && python -m pytest -q 2>&1 | tail -10",
    "source .venv/bin/activate && pip install 'python-multipart>=0.0.9' && pip freeze | grep -i multipart",
    "source .venv/bin/activate && uvicorn app.main:app --port 8001 > /tmp/uv.log 2>&1 & sleep 3 && tail /tmp/uv.log",
    "curl -sS -F file=@README.md http://127.0.0.1:8001/uploads | python3 -m json.tool",
    "kill %1 2>/dev/null; true",
    "alembic current",
    r#"alembic revision --autogenerate -m "invoice due date""#,
    r#"f=$(ls -t migrations/versions/*.py | head -1); cat "$f""#,
    "poetry run alembic upgrade head && poetry run alembic downgrade -1 && alembic upgrade head",
    "git bisect start HEAD v2.3.0 && git bisect run python -m pytest -q tests/test_queue.py; git bisect reset",
    r#"timeout 300 python -m pytest -q tests 2>&1 | tail -3; echo "exit ${PIPESTATUS[0]}""#,
    r#"psql "$DATABASE_URL" -c '\d events'"#,
    r#"psql postgres://app@localhost:5432/app_dev -Atc "select count(*) from events""#,
    "pg_dump -d app_dev --schema-only --table=events | grep -v '^--' | head -40",
    "diff <(psql -d app_dev -Atc 'select id from a order by 1') <(psql -d app_dev -Atc 'select id from b order by 1') | head",
    "golangci-lint run ./internal/... 2>&1 | head -30",
    "GOFLAGS=-mod=mod go run golang.org/x/vuln/cmd/govulncheck@latest ./... 2>&1 | tail -20",
    r#"go build -ldflags "-X main.commit=$(git rev-parse --short HEAD)" -o dist/app ./cmd/app && ./dist/app --version"#,
    "size hello libx.so",
    "diff <(./tab2csv tests/in1.tsv) tests/out1.csv && echo same",
    "man -l tab2csv.1 | col -b | sed -n '1,30p'",
    "make -C build -j$(nproc) 2>&1 | tail -20",
    "CC=clang CXX=clang++ cmake -S . -B build-clang -DCMAKE_EXPORT_COMPILE_COMMANDS=ON > /dev/null && ls build-clang/compile_commands.json",
    "nm -C build-asan/libcache.a 2>/dev/null | c++filt | grep -c LruCache",
    r#"grep -rn "interface InvoiceRepository" --include=*.java src"#,
    "JAVA_HOME=/usr/lib/jvm/java-21 ./gradlew check -x integrationTest 2>&1 | tail -20",
    "ls ~/.gradle/caches/modules-2/files-2.1 | grep jackson",
    r#"xmllint --noout pom.xml 2>&1 || python3 -c "import xml.dom.minidom as m; m.parse('pom.xml')""#,
    r#"jar tf core/target/core-2.1.jar | grep -c '\.class$'"#,
    "find ~/.m2/repository/com/google/guava -maxdepth 2 -type d",
    "cp .env.example .env && php artisan key:generate",
    r#"grep -rn "ProjectReference\|PackageReference" --include=*.csproj . | cut -c1-140"#,
    "DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1 dotnet build -c Release 2>&1 | grep -E 'error|warn|Elapsed' | sort -u",
    "git push -u origin feature/button",
    "python3 -m http.server 8000 & sleep 1; kill %1",
    "ln -s ../a.txt b.txt",
    "curl -s http://localhost:3000/health",
    "docker ps",
    "shfmt -d -i 2 scripts/deploy.sh",
    r#"tmp=$(mktemp -d) && cp scripts/deploy.sh "$tmp/" && cd "$tmp" && bash deploy.sh --dry-run; echo "exit $?""#,
    r#"while IFS= read -r line; do case "$line" in \#*) continue ;; esac; printf '%s\n' "$line"; done < scripts/hosts.txt"#,
    "bats test/deploy.bats 2>&1 | tail -15",
    r#"for t in test/*.sh; do bash "$t" > "/tmp/$(basename "$t").log" 2>&1 && echo "ok $t" || echo "FAIL $t"; done"#,
    "git update-index --chmod=+x scripts/rollback.sh",
    "du -sh --exclude=node_modules . 2>/dev/null; du -sh node_modules build 2>/dev/null | sort -h",
    "hadolint Dockerfile",
    "docker build -t app:slim . 2>&1 | tail -20",
    "docker images app --format '{{.Tag}} {{.Size}}'",
    "mkdocs build --strict 2>&1 | tail -5",
    r#"curl -sIL -o /dev/null -w '%{http_code}\n' https://example.com/old-page"#,
    "rg --hidden -n 'uses: actions/' .github | sort -u -t@ -k1,1",
    "actionlint .github/workflows/ci.yml",
    "yamllint -d relaxed .github/workflows",
    "git log $(git describe --tags --abbrev=0)..HEAD --format=%an | sort | uniq -c | sort -rn",
    "cd dist && sha256sum *.tar.gz > SHA256SUMS && sha256sum -c SHA256SUMS",
];

/// Beginnings of commands that do their work only with a network.
const NEED_A_HOST: [&str; 25] = [
    "git fetch",
    "git pull",
    "git push",
    "gh run",
    "gh release",
    "npm ci",
    "npm install",
    "npx --yes",
    "yarn install",
    "pnpm install",
    "pnpm -r up",
    "pip install",
    ".venv/bin/pip install",
    "poetry install",
    "uv sync",
    "uv pip install",
    "cargo add",
    "cargo update",
    "go get",
    "go mod download",
    "bundle install",
    "bundle add",
    "composer install",
    "dotnet restore",
    "dotnet add",
];

fn needs_a_host(line: &str) -> bool {
    ShellPlan::read(line).commands.iter().any(|command| {
        let words: Vec<&str> = command.argv.iter().map(|word| word.text.as_str()).collect();
        NEED_A_HOST.iter().any(|beginning| words.join(" ").starts_with(beginning))
    })
}

/// The sessions of `day.txt`: what was to be done, and the lines.
fn sessions() -> Vec<(&'static str, Vec<String>)> {
    let mut sessions: Vec<(&str, Vec<String>)> = Vec::new();
    for text in include_str!("corpus/day.txt").lines().filter(|l| !l.is_empty() && !l.starts_with("# ")) {
        match text.strip_prefix("## ") {
            Some(name) => sessions.push((name, Vec::new())),
            None => sessions.last_mut().unwrap().1.push(text.replace('␤', "\n")),
        }
    }
    sessions
}

fn rows() -> Vec<Row<'static>> {
    let mut section = "";
    let mut rows = Vec::new();
    for text in include_str!("corpus/plans.txt").lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        if let Some(name) = text.strip_prefix("== ") {
            section = name;
            continue;
        }
        let fields: Vec<&str> = text.split(" ¦").map(str::trim).collect();
        let [verdict, line, programs, effects] = fields[..] else { panic!("bad row: {text}") };
        // No-break space, zero-width space and right-to-left override, which an editor would hide.
        let line = line.replace('␤', "\n").replace('␉', "\t").replace('⍽', "\u{a0}");
        let line = line.replace('⌷', "\u{200b}").replace('⮐', "\u{202e}");
        let mut effects: Vec<String> = effects.split_whitespace().map(|e| e.replace('␠', " ")).collect();
        effects.sort();
        rows.push(Row { section, text, verdict, line, programs, effects });
    }
    rows
}

/// An effect set in the words of the table.
fn words(effects: &EffectSet) -> Vec<String> {
    let path = |touched: &Touched| {
        let path = &touched.path;
        let text = match (path.strip_prefix(ROOT), path.strip_prefix(HOME)) {
            (Ok(rest), _) if rest.as_os_str().is_empty() => ".".to_owned(),
            (Ok(rest), _) => rest.display().to_string(),
            (_, Ok(rest)) if rest.as_os_str().is_empty() => "~".to_owned(),
            (_, Ok(rest)) => format!("~/{}", rest.display()),
            _ => path.display().to_string(),
        };
        if touched.beneath { format!("{text}/**") } else { text }
    };
    let mut words: Vec<String> = Vec::new();
    words.extend(effects.reads.iter().map(|t| format!("r:{}", path(t))));
    words.extend(effects.lists.iter().map(|t| format!("l:{}", path(t))));
    words.extend(effects.writes.iter().map(|t| format!("w:{}", path(t))));
    words.extend(effects.deletes.iter().map(|t| format!("d:{}", path(t))));
    words.extend(effects.hosts.iter().map(|h| format!("h:{h}")));
    words.extend(match effects.certainty {
        Certainty::Known => None,
        Certainty::Arbitrary => Some("any".to_owned()),
        Certainty::Unknown => Some("?".to_owned()),
    });
    words.sort();
    words
}
