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
fn sessions_of_development_ask_this_often() {
    for table in [&DAY, &FRESH, &THIRD] {
        table.holds();
    }
}

/// Sessions, and how often they ask in mode `execute` without any rule.
struct Table {
    text: &'static str,
    sessions: usize,
    figures: Figures,
    /// The lines that ask in a sandbox with a network of its own.
    asks: &'static [&'static str],
    /// The shares of lines that ask in a sandbox, and without one, as the page says them.
    percent: [&'static str; 2],
}

impl Table {
    fn holds(&self) {
        let none = rules("");
        let sessions = sessions(self.text);
        assert_eq!(sessions.len(), self.sessions);
        for (name, lines) in &sessions {
            assert!(lines.len() >= 6, "the session `{name}` has only {} lines", lines.len());
        }
        let asks = |sandbox: Sandbox, line: &str| {
            let verdict = judge_in(sandbox, Mode::Execute, &none, &[], &format!("$ {line}"));
            assert_ne!(verdict.decision, Decision::Deny, "{line}: {}", verdict.reason);
            (verdict.decision == Decision::Ask).then_some(verdict.reason)
        };
        let lines: Vec<&str> = sessions.iter().flat_map(|(_, lines)| lines).map(String::as_str).collect();
        let asking = |sandbox: Sandbox| -> Vec<(&str, String)> {
            lines.iter().filter_map(|line| Some((*line, asks(sandbox, line)?))).collect()
        };
        let confined = asking(Sandbox::Bubblewrap);
        let more: Vec<_> = confined.iter().filter(|(line, _)| !self.asks.contains(line)).collect();
        assert!(more.is_empty(), "these ask, too: {more:#?}");
        let missing: Vec<_> =
            self.asks.iter().filter(|line| confined.iter().all(|(c, _)| c != *line)).collect();
        assert!(missing.is_empty(), "these do not ask: {missing:#?}");
        let by_landlock = asking(Sandbox::Landlock);
        // Without a network of its own, what a line starts is to be reached only where all is.
        assert!(confined.iter().all(|one| by_landlock.contains(one)));
        assert!(by_landlock.iter().all(|(line, why)| self.asks.contains(line) || why.contains("localhost")));
        let quiet = |lines: &&Vec<String>| lines.iter().all(|line| asks(Sandbox::Bubblewrap, line).is_none());
        let figures = Figures {
            lines: lines.len(),
            ask_in_bubblewrap: confined.len(),
            ask_in_landlock: by_landlock.len(),
            ask_without_one: asking(Sandbox::None).len(),
            sessions_without_a_question: sessions.iter().map(|(_, lines)| lines).filter(quiet).count(),
            pass_and_need_a_host: lines
                .iter()
                .filter(|line| needs_a_host(line) && asks(Sandbox::Bubblewrap, line).is_none())
                .count(),
        };
        assert_eq!(figures, self.figures);
        for (asking, percent) in
            [figures.ask_in_bubblewrap, figures.ask_without_one].into_iter().zip(self.percent)
        {
            let told = format!("{asking} of {} ({percent})", figures.lines);
            assert!(
                include_str!("../../../docs/permissions.md").contains(&told),
                "the page does not say {told}"
            );
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Figures {
    lines: usize,
    ask_in_bubblewrap: usize,
    ask_in_landlock: usize,
    ask_without_one: usize,
    sessions_without_a_question: usize,
    /// They pass, and the sandbox refuses them the network until somebody gives leave.
    pass_and_need_a_host: usize,
}

/// By a hand that knew the rules, which were then made better on them.
const DAY: Table = Table {
    text: include_str!("corpus/day.txt"),
    sessions: 50,
    figures: Figures {
        lines: 745,
        ask_in_bubblewrap: 12,
        ask_in_landlock: 12,
        ask_without_one: 491,
        sessions_without_a_question: 42,
        pass_and_need_a_host: 41,
    },
    asks: ASKS_OF_THE_DAY,
    percent: ["1.6 %", "66 %"],
};

/// By a hand that did not know them.
const FRESH: Table = Table {
    text: include_str!("corpus/fresh.txt"),
    sessions: 40,
    figures: Figures {
        lines: 504,
        ask_in_bubblewrap: 17,
        ask_in_landlock: 23,
        ask_without_one: 404,
        sessions_without_a_question: 30,
        pass_and_need_a_host: 17,
    },
    asks: ASKS_OF_THE_FRESH,
    percent: ["3.4 %", "80 %"],
};

/// By a third hand that did not know them.
const THIRD: Table = Table {
    text: include_str!("corpus/third.txt"),
    sessions: 30,
    figures: Figures {
        lines: 382,
        ask_in_bubblewrap: 31,
        ask_in_landlock: 33,
        ask_without_one: 294,
        sessions_without_a_question: 20,
        pass_and_need_a_host: 19,
    },
    asks: ASKS_OF_THE_THIRD,
    percent: ["8.1 %", "77 %"],
};

const ASKS_OF_THE_THIRD: &[&str] = &[
    "docker compose up -d db && sleep 3 && python manage.py migrate",
    "git push -u origin HEAD",
    "docker run -d --rm --name redis-test -p 6380:6379 redis:7-alpine",
    "docker exec redis-test redis-cli info keyspace",
    "docker logs --tail 20 redis-test",
    "docker stop redis-test",
    r#"curl -s "http://localhost:3001/api/v1/articles?page=2&per_page=5" | jq '.data | length'"#,
    r#"curl -si "http://localhost:3001/api/v1/articles?page=999" | head -20"#,
    "kill $(cat tmp/pids/server.pid)",
    r#"curl -s localhost:8000/index.html | grep -c "toctree-l1""#,
    "docker compose up -d postgres && docker compose ps",
    r#"psql postgres://dev:dev@localhost:5432/app -c '\d+ orders'"#,
    r#"docker run --rm -v "$PWD":/src -w /src alpine:3.20 sh scripts/install.sh --prefix /tmp/x --dry-run"#,
    "docker build -t inventory:dev . 2>&1 | tail -15",
    "docker images inventory --format '{{.Tag}} {{.Size}}'",
    "docker history --no-trunc inventory:dev | cut -c1-120",
    "docker build -t inventory:slim . && docker images | grep inventory",
    "docker run -d --name inv -p 8081:8080 inventory:slim",
    "curl -fsS http://127.0.0.1:8081/healthz; echo",
    r#"docker logs inv | jq -c 'select(.level=="error")'"#,
    "docker rm -f inv && docker image prune -f",
    "cd envs/staging && terraform plan -out=/tmp/staging.tfplan -var-file=staging.tfvars | tail -40",
    "cd ../shop-hotfix && cp ../shop/.env.local . && npm ci --prefer-offline",
    r#"cd ../shop-hotfix && rg -n "cartTotal" app lib components --glob '!*.test.*'"#,
    "cd ../shop-hotfix && cat lib/cart.ts | head -70",
    r#"cd ../shop-hotfix && npx jest lib/cart.test.ts -t "applies discount once""#,
    r#"cd ../shop-hotfix && git log -S"discountRate" --oneline -- lib/cart.ts"#,
    "cd ../shop-hotfix && npm run lint && npm run typecheck",
    "cd ../shop-hotfix && npx next build 2>&1 | tail -25",
    "cd ../shop-hotfix && npx playwright test e2e/cart.spec.ts --project=chromium --reporter=line",
    r#"cd ../shop-hotfix && git commit -am "fix: apply cart discount only once" && git push -u origin hotfix/cart-total"#,
];

const ASKS_OF_THE_DAY: &[&str] = &[
    r#"curl -s -X POST localhost:3000/teams -H 'content-type: application/json' -d '{"name":"a"}' | jq ."#,
    r#"pkill -f "tsx watch""#,
    "curl -sS -F file=@README.md http://127.0.0.1:8001/uploads | python3 -m json.tool",
    r#"psql postgres://app@localhost:5432/app_dev -Atc "select count(*) from events""#,
    "cp .env.example .env && php artisan key:generate",
    "git push -u origin feature/button",
    "ln -s ../a.txt b.txt",
    "curl -s http://localhost:3000/health",
    "docker ps",
    "docker build -t app:slim . 2>&1 | tail -20",
    "docker images app --format '{{.Tag}} {{.Size}}'",
    r#"curl -sIL -o /dev/null -w '%{http_code}\n' https://example.com/old-page"#,
];

const ASKS_OF_THE_FRESH: &[&str] = &[
    "git push -u origin feat/list-json",
    r#"sleep 2; curl -s "http://localhost:8001/items?limit=5&cursor=abc" | python3 -m json.tool"#,
    r#"curl -s -o /dev/null -w "%{http_code}\n" "http://127.0.0.1:8001/items?limit=0""#,
    r#"kill %1 2>/dev/null || pkill -f "uvicorn app.main:app""#,
    r#"curl -s http://localhost:3000/pricing | grep -o 'data-price="[^"]*"' | sort -u"#,
    "lsof -ti:3000 | xargs kill",
    r#"sleep 5 && curl -s -X POST http://localhost:5080/orders -H 'Content-Type: application/json' -d '{"lines":[]}' | jq ."#,
    "kill $(lsof -t -i:5080)",
    "cp .env.example .env.testing && php artisan key:generate --env=testing",
    r#"docker run --rm -v "$PWD":/src -w /src swift:5.10 swift test 2>&1 | tail -10"#,
    "AWS_PROFILE=staging terraform -chdir=infra/envs/staging plan -out=/tmp/tf.plan -no-color | tail -40",
    "docker compose up -d db && docker compose ps",
    r#"psql postgres://app:app@localhost:5432/app -c '\d+ accounts'"#,
    "pytest tests/migrations -q && docker compose down -v",
    "stty -F /dev/ttyACM0 115200 raw -echo && timeout 5 cat /dev/ttyACM0 | xxd | head",
    "kubectl -n prod get pods -l app=api -o wide",
    r#"kubectl -n prod logs deploy/api --since=12h --tail=200 | grep -i "too many" | head"#,
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

/// What was to be done in each session, and its lines.
fn sessions(text: &'static str) -> Vec<(&'static str, Vec<String>)> {
    let mut sessions: Vec<(&str, Vec<String>)> = Vec::new();
    for text in text.lines().filter(|l| !l.is_empty() && !l.starts_with("# ")) {
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
