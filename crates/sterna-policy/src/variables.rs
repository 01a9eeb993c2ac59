//! Variables set before a command: what may change the code that runs, and what changes only looks.

/// Whether a variable changes which code a program runs.
pub(crate) fn is_loader(variable: &str) -> bool {
    let name = variable.split(['=', '+']).next().unwrap_or_default();
    LOADERS.contains(&name) || LOADER_PREFIXES.iter().any(|p| name.starts_with(p))
}

/// Whether a variable, once set, changes how the shell reads the rest of the line.
pub(crate) fn changes_reading(variable: &str) -> bool {
    READING.contains(&variable)
}

/// Whether a variable, once set, changes what the shell runs or where it goes.
pub(crate) fn changes_running(variable: &str) -> bool {
    RUNNING.contains(&variable) || variable.starts_with("BASH_")
}

/// Whether a variable changes nothing but looks.
pub(crate) fn is_harmless(variable: &str) -> bool {
    HARMLESS.contains(&variable.split('=').next().unwrap_or_default())
}

/// Whether the shell sets a variable by itself, so that its value is not what was assigned.
pub(crate) fn is_kept_by_the_shell(variable: &str) -> bool {
    KEPT.contains(&variable) || variable.starts_with("BASH") || variable.starts_with("EPOCH")
}

const READING: [&str; 9] = [
    "HOME",
    "IFS",
    "GLOBIGNORE",
    "POSIXLY_CORRECT",
    "SHELLOPTS",
    "BASHOPTS",
    "BASH_COMPAT",
    "BASH_ARGV0",
    "FUNCNEST",
];
const RUNNING: [&str; 9] =
    ["PATH", "SHELL", "ENV", "EXECIGNORE", "TMOUT", "HISTFILE", "PS4", "PROMPT_COMMAND", "CDPATH"];
/// Variables to which a shell gives values of its own.
const KEPT: [&str; 24] = [
    "_",
    "PWD",
    "OLDPWD",
    "RANDOM",
    "SRANDOM",
    "SECONDS",
    "LINENO",
    "DIRSTACK",
    "FUNCNAME",
    "GROUPS",
    "PIPESTATUS",
    "PPID",
    "UID",
    "EUID",
    "OPTIND",
    "OPTARG",
    "REPLY",
    "MAPFILE",
    "COPROC",
    "SHLVL",
    "COLUMNS",
    "LINES",
    "HOSTNAME",
    "READLINE_LINE",
];
/// Variables that change which code runs, or where programs find their configuration.
const LOADERS: &[&str] = &[
    "PATH",
    "HOME",
    "SHELL",
    "ENV",
    "BASH_ENV",
    "GLOBIGNORE",
    "EXECIGNORE",
    "FUNCNEST",
    "BASH_COMPAT",
    "BASH_ARGV0",
    "BASH_XTRACEFD",
    "BASH_LOADABLES_PATH",
    "TMOUT",
    "HISTFILE",
    "IFS",
    "PS4",
    "PROMPT_COMMAND",
    "SHELLOPTS",
    "BASHOPTS",
    "CDPATH",
    "PAGER",
    "MANPAGER",
    "EDITOR",
    "VISUAL",
    "BROWSER",
    "LESSOPEN",
    "LESSCLOSE",
    "LESS",
    "GCONV_PATH",
    "LOCPATH",
    "GLIBC_TUNABLES",
    "TMPDIR",
    "RUSTC",
    "RUSTDOC",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "RUSTDOCFLAGS",
    "CC",
    "CXX",
    "LD",
    "AR",
    "MAKEFLAGS",
    "GOFLAGS",
    "TERMINFO",
    "TERMCAP",
    "TAR_OPTIONS",
    "GREP_OPTIONS",
    "RIPGREP_CONFIG_PATH",
    "CURL_HOME",
    "WGETRC",
    "POSIXLY_CORRECT",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "CLASSPATH",
    "HOSTALIASES",
    "SUDO_ASKPASS",
];
const LOADER_PREFIXES: &[&str] = &[
    "LD_",
    "DYLD_",
    "GIT_",
    "PYTHON",
    "PERL",
    "RUBY",
    "NODE_",
    "NPM_",
    "npm_",
    "CARGO_",
    "XDG_",
    "SSH_",
    "BASH_FUNC_",
    "MALLOC_",
    "http",
    "HTTP",
    "https",
    "HTTPS",
    "ALL_PROXY",
    "all_proxy",
    "JAVA_",
    "LUA_",
    "PHP_",
    "DOTNET_",
    "STERNA_",
];
const HARMLESS: &[&str] = &[
    "RUST_BACKTRACE",
    "RUST_LOG",
    "NO_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "FORCE_COLOR",
    "CI",
    "COLUMNS",
    "LINES",
    "LANG",
    "LC_ALL",
    "TERM",
    "DEBIAN_FRONTEND",
];
