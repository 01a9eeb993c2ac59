//! What a repository's configuration makes git's reading commands run: every setting that is not known to be harmless.

/// The first setting in the text of a configuration file of git's that may make a reading command run a program, read
/// elsewhere or reach a host, or what of the text is not understood. `None`: there is none.
///
/// `main`: the file is of the repository in which the command runs, where `QUIET_GIT` holds. Processes that git starts
/// for submodules do not have it. `worktree_is_here` says whether a value of `core.worktree` leads to where the
/// repository was found.
pub fn suspect_setting(text: &str, main: bool, worktree_is_here: &dyn Fn(&str) -> bool) -> Option<String> {
    let mut suspect = None;
    let parsed = each_setting(text, |setting| {
        let fine = is_harmless(setting)
            || (main && is_quieted(setting))
            || (setting.is("core", "worktree") && worktree_is_here(&setting.value));
        if !fine && suspect.is_none() {
            suspect = Some(setting.shown());
        }
    });
    match (suspect, parsed) {
        (Some(setting), _) => Some(format!("`{setting}`")),
        (None, Err(line)) => Some(format!("line {line}, which is not understood")),
        (None, Ok(())) => None,
    }
}

/// Whether objects have names of 32 bytes, and not of 20, by the text of a configuration file.
pub fn has_long_names(text: &str) -> bool {
    let mut long = false;
    let parsed = each_setting(text, |setting| {
        if setting.is("extensions", "objectformat") {
            long = setting.value.eq_ignore_ascii_case("sha256");
        }
    });
    long && parsed.is_ok()
}

/// `section.sub.name = value`; section and name in lower case.
#[derive(Default)]
pub(crate) struct Setting {
    pub(crate) section: String,
    pub(crate) sub: Option<String>,
    pub(crate) name: String,
    pub(crate) value: String,
}

impl Setting {
    fn is(&self, section: &str, name: &str) -> bool {
        self.sub.is_none() && self.section == section && self.name == name
    }

    pub(crate) fn shown(&self) -> String {
        let Self { section, sub, name, .. } = self;
        let plain = |text: &str| {
            text.chars().map(|c| if c.is_control() { '?' } else { c }).take(SHOWN_CHARS).collect::<String>()
        };
        match sub {
            Some(sub) => format!("{}.{}.{}", plain(section), plain(sub), plain(name)),
            None => format!("{}.{}", plain(section), plain(name)),
        }
    }
}

/// What `QUIET_GIT` sets itself.
fn is_quieted(setting: &Setting) -> bool {
    setting.sub.is_none()
        && matches!(
            (setting.section.as_str(), setting.name.as_str()),
            ("core", "fsmonitor" | "pager" | "hookspath") | ("diff", "external") | ("log", "showsignature")
        )
}

/// Settings that no reading command turns into a program, a file elsewhere or a host.
fn is_harmless(setting: &Setting) -> bool {
    let (section, name) = (setting.section.as_str(), setting.name.as_str());
    let value = setting.value.as_str();
    let off = ["", "false", "no", "off", "0"].iter().any(|word| value.eq_ignore_ascii_case(word));
    match (section, setting.sub.is_some()) {
        ("core", false) => CORE.contains(&name) || (name == "fsmonitor" && off),
        ("diff", false) => DIFF.contains(&name),
        // A driver of that name: how hunks are shown, but for the commands.
        ("diff", true) => ["xfuncname", "funcname", "binary", "wordregex", "algorithm"].contains(&name),
        ("remote", true) => REMOTE.contains(&name),
        ("remote", false) => name == "pushdefault",
        ("submodule", true) => {
            ["url", "active", "branch", "ignore", "path", "fetchrecursesubmodules", "shallow"].contains(&name)
                || (name == "update" && !value.trim_start().starts_with('!'))
        }
        ("submodule", false) => ["recurse", "active", "fetchjobs", "propagatebranches"].contains(&name),
        ("extensions", false) => EXTENSIONS.contains(&name),
        ("log", false) => name != "showsignature" || off,
        ("status", false) => name != "submodulesummary" || off,
        ("blame", false) => name != "ignorerevsfile",
        ("gpg", false) => name == "format",
        ("gc", false) => name != "recentobjectshook",
        ("credential", _) => ["username", "usehttppath", "interactive"].contains(&name),
        ("lfs", false) => name == "repositoryformatversion",
        ("lfs", true) => ["access", "locksverify"].contains(&name),
        ("url", true) => ["insteadof", "pushinsteadof"].contains(&name),
        ("protocol", false) => name == "version",
        ("init", false) => name == "defaultbranch",
        ("merge", false) => name != "tool" && name != "guitool",
        // Where git goes and what it sends there is looked at when it does: `contacts`.
        ("branch" | "color" | "http" | "https", _) => true,
        (section, false) => PLAIN_SECTIONS.contains(&section),
        (_, true) => false,
    }
}

/// Calls `each` with the settings of a text as git reads it. An error is the line that git would not understand.
pub(crate) fn each_setting(text: &str, mut each: impl FnMut(&Setting)) -> Result<(), usize> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let mut reader = Reader { rest: text.chars().peekable(), line: 1 };
    // One for all: a long name of a section with many settings is not copied for each.
    let mut setting = Setting::default();
    while let Some(c) = reader.next() {
        match c {
            c if c.is_ascii_whitespace() => {}
            '#' | ';' => reader.skip_line(),
            '[' => (setting.section, setting.sub) = reader.header().ok_or(reader.line)?,
            c if c.is_ascii_alphabetic() && !setting.section.is_empty() => {
                (setting.name, setting.value) = reader.setting(c).ok_or(reader.line)?;
                each(&setting);
            }
            _ => return Err(reader.line),
        }
    }
    Ok(())
}

struct Reader<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.next();
        self.line += usize::from(c == Some('\n'));
        c
    }

    fn skip_line(&mut self) {
        while self.next().is_some_and(|c| c != '\n') {}
    }

    /// What follows `[`: `name]`, `name.sub]` or `name "sub"]`.
    fn header(&mut self) -> Option<(String, Option<String>)> {
        let mut name = String::new();
        loop {
            match self.next()? {
                ']' => {
                    let (name, sub) = match name.split_once('.') {
                        Some((name, sub)) => (name.to_owned(), Some(sub.to_owned())),
                        None => (name, None),
                    };
                    return (!name.is_empty()).then_some((name, sub));
                }
                ' ' | '\t' => break,
                c if c.is_ascii_alphanumeric() || c == '-' || c == '.' => name.push(c.to_ascii_lowercase()),
                _ => return None,
            }
        }
        while self.rest.next_if(|c| *c == ' ' || *c == '\t').is_some() {}
        (self.next()? == '"').then_some(())?;
        let mut sub = String::new();
        loop {
            match self.next()? {
                '"' => break,
                '\n' => return None,
                '\\' => sub.push(self.next().filter(|c| *c != '\n')?),
                c => sub.push(c),
            }
        }
        // A section with a dot and a text as well is `name.rest.sub`.
        let (name, sub) = match name.split_once('.') {
            Some((name, rest)) => (name.to_owned(), format!("{rest}.{sub}")),
            None => (name, sub),
        };
        (self.next()? == ']' && !name.is_empty()).then_some((name, Some(sub)))
    }

    /// A setting whose name begins with `first`. Without a value it is switched on.
    fn setting(&mut self, first: char) -> Option<(String, String)> {
        let mut name = String::from(first.to_ascii_lowercase());
        while let Some(c) = self.rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '-') {
            name.push(c.to_ascii_lowercase());
        }
        while self.rest.next_if(|c| *c == ' ' || *c == '\t').is_some() {}
        match self.next() {
            None | Some('\n') => return Some((name, "true".to_owned())),
            Some('=') => {}
            Some(_) => return None,
        }
        let (mut value, mut quoted) = (String::new(), false);
        loop {
            match self.next() {
                None | Some('\n') if quoted => return None,
                None | Some('\n') => return Some((name, value.trim().to_owned())),
                Some('#' | ';') if !quoted => {
                    self.skip_line();
                    return Some((name, value.trim().to_owned()));
                }
                Some('"') => quoted = !quoted,
                Some('\\') => match self.next()? {
                    '\n' => {}
                    'n' => value.push('\n'),
                    't' => value.push('\t'),
                    'b' => value.push('\u{8}'),
                    c @ ('"' | '\\') => value.push(c),
                    _ => return None,
                },
                Some(c) => value.push(c),
            }
        }
    }
}

/// Characters of each part of a name that a reason shows.
const SHOWN_CHARS: usize = 60;

// From git's own documentation of its settings (git-config, 2.47).
const CORE: [&str; 45] = [
    "abbrev",
    "autocrlf",
    "bare",
    "bigfilethreshold",
    "checkroundtripencoding",
    "checkstat",
    "commentchar",
    "commentstring",
    "commitgraph",
    "compression",
    "createobject",
    "deltabasecachelimit",
    "eol",
    "filemode",
    "filesreflocktimeout",
    "fscache",
    "fsync",
    "fsyncmethod",
    "fsyncobjectfiles",
    "hidedotfiles",
    "ignorecase",
    "ignorestat",
    "logallrefupdates",
    "longpaths",
    "loosecompression",
    "maxtreedepth",
    "multipackindex",
    "packedgitlimit",
    "packedgitwindowsize",
    "packedrefstimeout",
    "precomposeunicode",
    "prefersymlinkrefs",
    "preloadindex",
    "protecthfs",
    "protectntfs",
    "quotepath",
    "repositoryformatversion",
    "safecrlf",
    "sharedrepository",
    "sparsecheckout",
    "sparsecheckoutcone",
    "splitindex",
    "symlinks",
    "trustctime",
    "untrackedcache",
];
const DIFF: [&str; 26] = [
    "algorithm",
    "autorefreshindex",
    "colormoved",
    "colormovedws",
    "context",
    "dirstat",
    "dstprefix",
    "guitool",
    "ignoresubmodules",
    "indentheuristic",
    "interhunkcontext",
    "mnemonicprefix",
    "noprefix",
    "relative",
    "renamelimit",
    "renames",
    "srcprefix",
    "statgraphwidth",
    "statnamewidth",
    "suppressblankempty",
    "suppressblanksempty",
    "tool",
    "trustexitcode",
    "wordregex",
    "wserrorhighlight",
    "noindex",
];
const REMOTE: [&str; 11] = [
    "url",
    "pushurl",
    "fetch",
    "push",
    "mirror",
    "tagopt",
    "prune",
    "prunetags",
    "skipdefaultupdate",
    "skipfetchall",
    "gh-resolved",
];
const EXTENSIONS: [&str; 7] = [
    "objectformat",
    "compatobjectformat",
    "refstorage",
    "worktreeconfig",
    "preciousobjects",
    "relativeworktrees",
    "noop",
];
/// Sections all of whose settings without a sub-name are harmless to reading commands.
const PLAIN_SECTIONS: [&str; 35] = [
    "add",
    "advice",
    "am",
    "apply",
    "author",
    "checkout",
    "clean",
    "clone",
    "column",
    "commit",
    "commitgraph",
    "committer",
    "feature",
    "fetch",
    "gc",
    "grep",
    "gui",
    "i18n",
    "index",
    "maintenance",
    "pack",
    "pull",
    "push",
    "rebase",
    "receive",
    "repack",
    "rerere",
    "sparse",
    "splitindex",
    "stash",
    "tag",
    "transfer",
    "user",
    "versionsort",
    "worktree",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn suspect(text: &str) -> Option<String> {
        suspect_setting(text, true, &|_| false)
    }

    #[test]
    fn an_ordinary_file_has_nothing() {
        let text = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n\
            [remote \"origin\"]\n\turl = git@example.org:a/b.git\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n\
            [branch \"main\"]\n\tremote = origin\n\tmerge = refs/heads/main\n\tvscode-merge-base = origin/main\n\
            [user]\n\tname = \"A # B\"\n\temail = a@b\n[pull] rebase\n[extensions]\n\tworktreeConfig = true\n\
            [submodule \"x\"]\n\turl = ../x\n\tactive = true\n; a comment with [diff \"x\"] textconv = y\n\
            [diff \"py\"]\n\txfuncname = \"^ *def \"\n[commit]\n\tgpgsign = true\n";
        assert_eq!(suspect(text), None);
        assert_eq!(suspect(&text.replace('\n', "\r\n")), None);
        assert_eq!(suspect(&format!("\u{feff}{text}")), None);
    }

    #[test]
    fn what_may_run_something_is_named() {
        for (text, key) in [
            ("[diff \"x\"]\ntextconv = touch m", "diff.x.textconv"),
            ("[diff \"x\"]\ncommand = touch m", "diff.x.command"),
            ("[DIFF \"X\"] TextConv = touch m", "diff.X.textconv"),
            ("[diff.x]\ntextconv = touch m", "diff.x.textconv"),
            ("[filter \"x\"]\nclean = touch m", "filter.x.clean"),
            ("[filter \"x\"]\nsmudge = touch m", "filter.x.smudge"),
            ("[filter \"x\"]\nprocess = touch m", "filter.x.process"),
            ("[core]\nsshCommand = touch m", "core.sshcommand"),
            ("[core]\nworktree = /home", "core.worktree"),
            ("[gpg]\nprogram = touch m", "gpg.program"),
            ("[gc]\nrecentObjectsHook = touch m", "gc.recentobjectshook"),
            ("[gpg \"ssh\"]\nprogram = touch m", "gpg.ssh.program"),
            ("[credential]\nhelper = !touch m", "credential.helper"),
            ("[include]\npath = /tmp/x", "include.path"),
            ("[includeIf \"gitdir:/\"]\npath = x", "includeif.gitdir:/.path"),
            ("[remote \"o\"]\npromisor = true", "remote.o.promisor"),
            ("[remote \"o\"]\nuploadpack = touch m", "remote.o.uploadpack"),
            ("[extensions]\npartialClone = o", "extensions.partialclone"),
            ("[submodule \"x\"]\nupdate = !touch m", "submodule.x.update"),
            ("[merge \"x\"]\ndriver = touch m", "merge.x.driver"),
            ("[pretty]\nmine = %G?", "pretty.mine"),
            ("[lfs \"customtransfer.x\"]\npath = touch", "lfs.customtransfer.x.path"),
            ("[user] name = a \\\n[x]\n[diff \"y\"] textconv = m", "diff.y.textconv"),
            ("[user] name = \"a\\\"\" # \\\n[diff \"y\"] textconv = m", "diff.y.textconv"),
            ("[some]\nthing = new", "some.thing"),
        ] {
            assert_eq!(suspect(text), Some(format!("`{key}`")), "{text}");
        }
        for (text, line) in [
            ("a = b", 1),
            ("[user]\nname = \"a\nb\"", 3),
            ("[user]\nname = a\\x", 2),
            ("[user\nname = a", 1),
            ("[user]\n1 = a", 2),
            ("[user \"a\n\"]", 2),
        ] {
            let got = suspect(text).unwrap_or_default();
            assert!(got.starts_with("line ") && got.contains("not understood"), "{text}: {got} ({line})");
        }
    }

    #[test]
    fn what_is_switched_off_is_so_in_the_command_s_own_repository_only() {
        let on = |_: &str| true;
        for key in ["[core] fsmonitor = m", "[core] pager = m", "[core] hooksPath = m", "[diff] external = m"]
        {
            assert_eq!(suspect_setting(key, true, &on), None, "{key}");
            assert!(suspect_setting(key, false, &on).is_some(), "{key}");
        }
        assert_eq!(suspect_setting("[core] fsmonitor = false", false, &on), None);
        assert_eq!(suspect_setting("[core] worktree = ../x", true, &|w| w == "../x"), None);
    }
}
