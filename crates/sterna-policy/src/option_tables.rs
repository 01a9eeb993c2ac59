//! What the options of programs take that reach hosts or run others, and how a command line gives them: tables from the
//! programs' own manuals, and the one reader of them. What is in no table is not understood.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::shell::{Hidden, Word};

/// What an option does to the hosts and files of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// No value, and nothing to us.
    Nothing,
    /// No value; it leads to hosts that are not named.
    Anywhere,
    /// A value that is nothing to us.
    Text,
    /// The same, and only in the word of the option itself.
    Joined,
    /// A file that is read.
    Reads,
    /// Text in which a file may be named: `@file`, `name=@file`.
    Data,
    /// A file or folder that is written.
    Writes,
    /// A URL or a host.
    Host,
    /// What says where the traffic goes: a proxy, an address for a name.
    Elsewhere,
    /// A file that says which hosts there are, and more.
    Settings,
    /// A program, a library or a file of commands.
    Runs,
}

/// One kind of options: their letters, and their long names between spaces.
type Row = (Takes, &'static str, &'static str);

/// The options of one program.
pub(crate) struct Table {
    rows: &'static [Row],
    /// Operands after which no word is an option any more.
    operands: usize,
}

/// An option as it was given.
#[derive(Debug)]
pub(crate) struct Given {
    pub takes: Takes,
    /// The letter, or the whole long name.
    pub name: String,
    pub value: Option<Word>,
}

/// A command line's words, told apart.
#[derive(Debug, Default)]
pub(crate) struct Line<'a> {
    pub options: Vec<Given>,
    pub operands: Vec<&'a Word>,
    /// The first option that is not in the table.
    pub unknown: Option<String>,
}

impl Line<'_> {
    pub(crate) fn has(&self, names: &[&str]) -> bool {
        self.options.iter().any(|option| names.contains(&option.name.as_str()))
    }
}

impl Table {
    /// Tells the words apart. Behind an option that is not in the table, what is a value is not known.
    pub(crate) fn read<'a>(&self, args: &'a [Word]) -> Line<'a> {
        let mut line = Line::default();
        let mut words = args.iter();
        let mut names = None;
        while let Some(word) = words.next() {
            let text = word.text.as_str();
            let option = if line.operands.len() >= self.operands {
                line.operands.push(word);
                continue;
            } else if text == "--" {
                line.operands.extend(words.by_ref());
                break;
            } else if let Some(long) = text.strip_prefix("--") {
                let (name, value) = long.split_once('=').map_or((long, None), |(n, v)| (n, Some(v)));
                let found = long_option(names.get_or_insert_with(|| self.names()), name);
                found.map(|(takes, name)| vec![(takes, name, value.map(str::to_owned))])
            } else if let Some(letters) = text.strip_prefix('-').filter(|letters| !letters.is_empty()) {
                self.letters(letters)
            } else {
                line.operands.push(word);
                continue;
            };
            // What the shell makes of it must not be another option.
            let fixed = text.split(['$', '`', '*', '?', '[']).next().unwrap_or_default().len();
            let has_value = |option: &Vec<(Takes, String, Option<String>)>| {
                let joined = option.last().and_then(|(_, _, value)| value.as_ref()).map_or(0, String::len);
                joined > 0 && fixed >= text.len() - joined
            };
            let open = word.glob || word.hidden != Hidden::No;
            let sure = |option: &Vec<_>| !open || word.hidden != Hidden::Many && has_value(option);
            let Some(option) = option.filter(sure) else {
                line.unknown.get_or_insert_with(|| text.to_owned());
                continue;
            };
            for (takes, name, joined) in option {
                let value = match joined {
                    _ if !takes.has_a_value() => None,
                    Some(text) => Some(Word { glob: word.glob, hidden: word.hidden, ..Word::literal(text) }),
                    None if takes == Takes::Joined => None,
                    None => words.next().cloned(),
                };
                line.options.push(Given { takes, name, value });
            }
        }
        line
    }

    /// The letters of one word: each alone, until one takes what is left as its value.
    fn letters(&self, letters: &str) -> Option<Vec<(Takes, String, Option<String>)>> {
        let mut all = Vec::new();
        for (at, letter) in letters.char_indices() {
            let (takes, _, _) = *self.rows.iter().find(|row| row.1.contains(letter))?;
            let rest = &letters[at + letter.len_utf8()..];
            let value = Some(rest.to_owned()).filter(|rest| takes.has_a_value() && !rest.is_empty());
            all.push((takes, letter.to_string(), value));
            if takes.has_a_value() {
                break;
            }
        }
        Some(all)
    }

    /// Its long options in their order.
    fn names(&self) -> BTreeMap<&'static str, Takes> {
        let mut names = BTreeMap::new();
        for (takes, _, long) in self.rows {
            for name in long.split_whitespace() {
                names.entry(name).or_insert(*takes);
            }
        }
        names
    }
}

/// A long option by its name or by the beginning of one, in any case; `no-` before what takes no value takes it back.
fn long_option(names: &BTreeMap<&'static str, Takes>, written: &str) -> Option<(Takes, String)> {
    let written = written.to_ascii_lowercase();
    if let Some(takes) = names.get(written.as_str()) {
        return Some((*takes, written));
    }
    let begin = |with: &str| -> Vec<(&'static str, Takes)> {
        let from = names.range::<str, _>((Bound::Included(with), Bound::Unbounded));
        from.take_while(|(name, _)| name.starts_with(with)).map(|(name, takes)| (*name, *takes)).collect()
    };
    if let [(name, takes), more @ ..] = &begin(&written)[..] {
        return more.iter().all(|(_, other)| other == takes).then(|| (*takes, (*name).to_owned()));
    }
    let off = written.strip_prefix("no-").filter(|rest| !rest.is_empty())?;
    begin(off).iter().any(|(_, takes)| !takes.has_a_value()).then_some((Takes::Nothing, written))
}

impl Takes {
    fn has_a_value(self) -> bool {
        !matches!(self, Takes::Nothing | Takes::Anywhere)
    }
}

/// The table of a program that has one.
pub(crate) fn table(name: &str) -> Option<&'static Table> {
    Some(match name {
        "curl" => &CURL,
        "wget" => &WGET,
        "ssh" => &SSH,
        "scp" => &SCP,
        "sftp" => &SFTP,
        "rsync" => &RSYNC,
        "nc" | "netcat" | "nc.openbsd" | "nc.traditional" => &NC,
        "ncat" => &NCAT,
        "ftp" => &FTP,
        _ => return None,
    })
}

use Takes::{Anywhere, Data, Elsewhere, Host, Joined, Nothing, Reads, Runs, Settings, Text, Writes};

const ANY: usize = usize::MAX;

/// curl 8.11.
const CURL: Table = Table {
    operands: ANY,
    rows: &[
        (
            Nothing,
            "sSfIivgkOJRqGnpNjlaBMVh#0123469Z:",
            "silent show-error fail head include verbose globoff insecure remote-name remote-name-all \
             remote-header-name remote-time disable get netrc netrc-optional proxytunnel no-buffer buffer \
             junk-session-cookies list-only append use-ascii manual version help progress-bar progress-meter \
             no-progress-meter http0.9 http1.0 http1.1 http2 http2-prior-knowledge http3 http3-only tlsv1 tlsv1.0 \
             tlsv1.1 tlsv1.2 tlsv1.3 sslv2 sslv3 ipv4 ipv6 parallel parallel-immediate next anyauth basic digest ntlm \
             ntlm-wb negotiate compressed compressed-ssh cert-status create-dirs crlf disable-eprt disable-epsv eprt \
             epsv disallow-username-in-url doh-cert-status doh-insecure fail-early fail-with-body false-start \
             form-escape ftp-create-dirs ftp-pasv ftp-pret ftp-skip-pasv-ip ftp-ssl-ccc ftp-ssl-control ftp-ssl \
             ftp-ssl-reqd haproxy-protocol ignore-content-length keepalive no-keepalive mail-rcpt-allowfails \
             no-clobber clobber alpn no-alpn npn no-npn sessionid no-sessionid path-as-is post301 post302 post303 \
             proxy-anyauth proxy-basic proxy-digest proxy-http2 proxy-insecure proxy-negotiate proxy-ntlm \
             proxy-ssl-allow-beast proxy-ssl-auto-client-cert proxy-ca-native proxy-tlsv1 ca-native raw remove-on-error \
             retry-all-errors retry-connrefused sasl-ir skip-existing socks5-basic socks5-gssapi socks5-gssapi-nec ssl \
             ssl-allow-beast ssl-auto-client-cert ssl-no-revoke ssl-reqd ssl-revoke-best-effort styled-output \
             suppress-connect-headers tcp-fastopen tcp-nodelay tftp-no-options tr-encoding trace-ids trace-time \
             tls-earlydata mptcp xattr",
        ),
        (Anywhere, "L", "location location-trusted metalink"),
        (
            Text,
            "AmeXuUrCQtyYzP",
            "user-agent max-time referer request user proxy-user range continue-at quote telnet-option speed-time \
             speed-limit time-cond ftp-port aws-sigv4 cert-type ciphers connect-timeout create-file-mode curves \
             delegation dns-interface dns-ipv4-addr dns-ipv6-addr expect100-timeout form-string ftp-account \
             ftp-alternative-to-user ftp-method ftp-ssl-ccc-mode happy-eyeballs-timeout-ms haproxy-clientip hostpubmd5 \
             hostpubsha256 interface ip-tos keepalive-cnt keepalive-time key-type krb limit-rate local-port \
             login-options mail-auth mail-from mail-rcpt max-filesize max-redirs noproxy oauth2-bearer parallel-max \
             pass data-raw proto proto-redir proxy-cert-type proxy-ciphers proxy-key-type proxy-pass \
             proxy-service-name proxy-tls13-ciphers proxy-tlsauthtype proxy-tlspassword proxy-tlsuser rate \
             request-target retry retry-delay retry-max-time sasl-authzid service-name socks5-gssapi-service \
             tftp-blksize tls-max tls13-ciphers tlsauthtype tlspassword tlsuser trace-config vlan-priority",
        ),
        (
            Reads,
            "ETb",
            "cert upload-file cookie cacert capath crlfile egd-file key netrc-file pinnedpubkey proxy-cacert \
             proxy-capath proxy-cert proxy-crlfile proxy-key proxy-pinnedpubkey pubkey random-file etag-compare",
        ),
        (
            Data,
            "dFHw",
            "data data-ascii data-binary data-urlencode form header json proxy-header url-query write-out variable ech",
        ),
        (
            Writes,
            "ocD",
            "output cookie-jar dump-header output-dir etag-save hsts libcurl stderr trace trace-ascii",
        ),
        (Host, "", "url doh-url ipfs-gateway"),
        (
            Elsewhere,
            "x",
            "proxy preproxy proxy1.0 socks4 socks4a socks5 socks5-hostname connect-to resolve dns-servers unix-socket \
             abstract-unix-socket proto-default",
        ),
        (Settings, "K", "config alt-svc"),
        (Runs, "", "engine"),
    ],
};

/// GNU wget 1.24.
const WGET: Table = Table {
    operands: ANY,
    rows: &[
        (
            Nothing,
            "VhbdqvFcNSxEkKmrpL46",
            "version help background debug quiet verbose no-verbose force-html config-off continue timestamping \
             no-clobber clobber no-config no-parent parent show-progress spider random-wait inet4-only inet6-only \
             ask-password unlink xattr force-directories protocol-directories directories host-directories \
             adjust-extension html-extension htmlify ignore-length ignore-case save-headers keep-session-cookies \
             content-disposition content-on-error auth-no-challenge https-only check-certificate ftps-implicit \
             ftps-resume-ssl ftps-clear-data-connection ftps-fallback-to-ftp ftp-stmlf preserve-permissions \
             retr-symlinks warc-cdx warc-compression warc-digests warc-keep-log recursive delete-after convert-links \
             convert-file-only backups backup-converted mirror page-requisites strict-comments follow-ftp relative \
             trust-server-names retry-connrefused retry-on-host-error server-response if-modified-since \
             use-server-timestamps netrc dns-cache iri cache cookies hsts http-keep-alive glob passive-ftp \
             remove-listing dont-remove-listing proxy keep-badhash",
        ),
        (Anywhere, "H", "span-hosts metalink-over-http"),
        (
            Text,
            "ntTwQlARDIXU",
            "no tries timeout dns-timeout connect-timeout read-timeout wait waitretry quota level accept reject \
             accept-regex reject-regex regex-type domains exclude-domains follow-tags ignore-tags include-directories \
             exclude-directories user-agent report-speed start-pos progress bind-address bind-dns-address limit-rate \
             restrict-file-names prefer-family user password local-encoding remote-encoding cut-dirs http-user \
             http-password http-passwd default-page header compression max-redirect proxy-user proxy-password \
             proxy-passwd referer post-data method body-data secure-protocol certificate-type private-key-type ciphers \
             ftp-user ftp-password ftp-passwd warc-header warc-max-size dot-style retry-on-http-error \
             preferred-location metalink-index",
        ),
        (
            Reads,
            "",
            "load-cookies post-file body-file certificate private-key ca-certificate ca-directory crl-file \
             pinnedpubkey warc-dedup random-file egd-file",
        ),
        (
            Writes,
            "oaOP",
            "output-file append-output output-document directory-prefix rejected-log save-cookies hsts-file warc-file \
             warc-tempdir",
        ),
        (Host, "B", "base"),
        (Elsewhere, "", "dns-servers"),
        (Settings, "i", "input-file input-metalink"),
        (Runs, "e", "execute config use-askpass"),
    ],
};

/// OpenSSH 9.9. What stands behind the host and its options is for the other machine.
const SSH: Table = Table {
    operands: 2,
    rows: &[
        (Nothing, "46AaCfGgKkMNnqsTtVvXxYy", ""),
        (Text, "BbceilmOpQ", ""),
        (Writes, "E", ""),
        (Elsewhere, "JLRWw", ""),
        (Data, "o", ""),
        (Runs, "FSDI", ""),
    ],
};
const SCP: Table = Table {
    operands: ANY,
    rows: &[
        (Nothing, "346ABCOpqRrsTv", ""),
        (Text, "cilPX", ""),
        (Elsewhere, "J", ""),
        (Data, "o", ""),
        (Runs, "FSD", ""),
    ],
};
const SFTP: Table = Table {
    operands: ANY,
    rows: &[
        (Nothing, "46AaCfNpqrv", ""),
        (Text, "BcilPRX", ""),
        (Elsewhere, "J", ""),
        (Data, "o", ""),
        // The subsystem is the other machine's, or a program there.
        (Text, "s", ""),
        (Runs, "FSDb", ""),
    ],
};

/// rsync 3.4.
const RSYNC: Table = Table {
    operands: ANY,
    rows: &[
        (
            Nothing,
            "vqcarRbuldLkKHpEXAogtUONJDSnWxyCIzmhP8046siVF",
            "verbose quiet no-motd checksum archive recursive relative no-implied-dirs implied-dirs backup update inplace \
             append append-verify dirs old-dirs mkpath links copy-links copy-unsafe-links safe-links munge-links \
             copy-dirlinks keep-dirlinks hard-links perms executability acls xattrs owner group devices copy-devices \
             write-devices specials times atimes open-noatime crtimes omit-dir-times omit-link-times super fake-super \
             sparse preallocate dry-run whole-file one-file-system existing ignore-existing remove-source-files del \
             delete delete-before delete-during delete-delay delete-after delete-excluded ignore-errors \
             ignore-missing-args delete-missing-args force partial delay-updates prune-empty-dirs numeric-ids \
             ignore-times size-only fuzzy compress cvs-exclude from0 old-args secluded-args protect-args trust-sender \
             blocking-io stats 8-bit-output human-readable progress itemize-changes list-only fsync ipv4 ipv6 version \
             help msgs2stderr inc-recursive i-r no-i-r",
        ),
        (
            Text,
            "fB@M",
            "info debug stderr suffix chmod checksum-choice cc block-size max-size min-size max-delete max-alloc \
             timeout contimeout modify-window compress-choice zc compress-level zl skip-compress usermap groupmap chown \
             filter exclude include address port sockopts out-format log-file-format bwlimit stop-after time-limit \
             stop-at checksum-seed iconv protocol outbuf remote-option rsync-path",
        ),
        (
            Reads,
            "",
            "exclude-from include-from password-file files-from read-batch compare-dest copy-dest link-dest early-input",
        ),
        (Writes, "T", "backup-dir partial-dir temp-dir log-file write-batch only-write-batch"),
        (Runs, "e", "rsh daemon config copy-as dparam"),
    ],
};

/// The letters of both kinds of nc: those that run a program in one of them do so here.
const NC: Table = Table {
    operands: ANY,
    rows: &[
        (Nothing, "46bCDdFhklnNrStuUvzZ", ""),
        (Text, "iIMmOPpqsTVwWXoR", ""),
        (Elsewhere, "xgGHK", ""),
        (Runs, "ec", ""),
    ],
};
/// Ncat 7.95.
const NCAT: Table = Table {
    operands: ANY,
    rows: &[
        (
            Nothing,
            "46UlknutvhCz",
            "unixsock vsock sctp crlf listen keep-open nodns telnet udp verbose version help zero append-output \
             recv-only send-only no-shutdown ssl ssl-verify broker chat allow-off",
        ),
        (
            Text,
            "mdipsw",
            "max-conns delay idle-timeout source-port source wait proxy-auth proxy-type proxy-dns allow deny ssl-ciphers \
             ssl-alpn ssl-servername",
        ),
        (Reads, "", "allowfile denyfile ssl-cert ssl-key ssl-trustfile"),
        (Writes, "ox", "output hex-dump"),
        (Elsewhere, "gG", "proxy"),
        (Runs, "ec", "exec sh-exec lua-exec"),
    ],
};
const FTP: Table = Table {
    operands: ANY,
    rows: &[
        (Nothing, "46AadefginpRtvV", ""),
        (Text, "kPqrsTwx", ""),
        (Writes, "o", ""),
        (Host, "u", ""),
        (Runs, "N", ""),
    ],
};
/// fd 10.
pub(crate) const FD: Table = Table {
    operands: ANY,
    rows: &[
        (
            Nothing,
            "HIuLalsiFpg0q1hV",
            "hidden no-hidden no-ignore ignore no-ignore-vcs ignore-vcs no-ignore-parent ignore-parent \
             no-global-ignore-file global-ignore-file no-require-git require-git unrestricted case-sensitive ignore-case \
             glob regex fixed-strings absolute-path relative-path list-details follow no-follow full-path print0 prune \
             quiet has-results show-errors one-file-system mount xdev help version strip-cwd-prefix hyperlink",
        ),
        (
            Text,
            "dtEcjoeS",
            "and max-depth maxdepth min-depth exact-depth exclude type extension size changed-within change-newer-than newer \
             changed-after changed-before change-older-than older owner format batch-size color threads max-results \
             max-buffer-time path-separator ignore-contain",
        ),
        (Reads, "", "ignore-file base-directory search-path"),
        (Runs, "xX", "exec exec-batch"),
    ],
};
/// GNU xargs 4.9.
pub(crate) const XARGS: Table = Table {
    operands: ANY,
    rows: &[
        (
            Nothing,
            "0rtxpo",
            "null no-run-if-empty verbose exit interactive open-tty show-limits version help",
        ),
        (Text, "nPILdsE", "max-args max-procs delimiter max-chars process-slot-var"),
        (Joined, "ile", "replace max-lines eof"),
        (Reads, "a", "arg-file"),
    ],
};
