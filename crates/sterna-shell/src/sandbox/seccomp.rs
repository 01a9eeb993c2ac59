//! Which system calls a confined command may not make. Everything else is allowed: files are the level's business.
//!
//! A call that is refused fails with `EPERM`. Two newer calls whose arguments a filter cannot read (`clone3`, `openat2`)
//! fail with `ENOSYS`, and libraries then use the older ones. A program of another word size is killed by `SIGSYS`.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    sock_filter,
};

use super::{Confinement, Level, Network};

/// The filters of a confinement, to be applied in this order. Empty for `Level::None`.
pub(crate) fn programs(confinement: &Confinement) -> Result<Vec<BpfProgram>, seccompiler::BackendError> {
    if confinement.level == Level::None {
        return Ok(Vec::new());
    }
    let mut refused: Rules = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    namespaces(&mut refused)?;
    terminals(&mut refused)?;
    set_user_bits(&mut refused)?;
    sockets(&mut refused, confinement)?;
    if confinement.level == Level::Landlock {
        // Namespaces hide other processes; without them, their limits and what they share are in reach.
        refused.extend(SHARED.iter().map(|call| (*call, Vec::new())));
        refused.insert(libc::SYS_prlimit64, vec![rule(vec![is_not(0, 0)?])?]);
    }
    let unknown: Rules = [libc::SYS_clone3, libc::SYS_openat2].map(|call| (call, Vec::new())).into();
    Ok(vec![
        filter(refused, libc::EPERM)?,
        filter(unknown, libc::ENOSYS)?,
        #[cfg(target_arch = "x86_64")]
        other_numbers(),
    ])
}

/// The bytes that `bwrap` reads, as the kernel has them in memory.
pub(crate) fn bytes(program: &BpfProgram) -> Vec<u8> {
    let words = program.iter().flat_map(|word| {
        let [code_a, code_b] = word.code.to_ne_bytes();
        let [a, b, c, d] = word.k.to_ne_bytes();
        [code_a, code_b, word.jt, word.jf, a, b, c, d]
    });
    words.collect()
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;
type Result2<T> = Result<T, seccompiler::BackendError>;

fn filter(rules: Rules, errno: i32) -> Result2<BpfProgram> {
    let arch = std::env::consts::ARCH.try_into()?;
    // Errors of the system are small positive numbers.
    let action = SeccompAction::Errno(errno.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, action, arch)?.try_into()
}

fn namespaces(rules: &mut Rules) -> Result2<()> {
    let flags = [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
    ];
    let any = || flags.iter().map(|flag| rule(vec![has(0, bits(*flag))?])).collect::<Result2<Vec<_>>>();
    rules.insert(libc::SYS_clone, any()?);
    rules.insert(libc::SYS_unshare, any()?);
    Ok(())
}

/// Typing into a terminal that somebody else reads.
fn terminals(rules: &mut Rules) -> Result2<()> {
    let calls = [TIOCSTI, TIOCLINUX].map(|call| rule(vec![is(1, call)?]));
    rules.insert(libc::SYS_ioctl, calls.into_iter().collect::<Result2<_>>()?);
    Ok(())
}

/// Files that run as another user: set-user-ID and set-group-ID.
fn set_user_bits(rules: &mut Rules) -> Result2<()> {
    // Which argument is the mode, and which holds the flags that say whether there is one.
    let mut calls: Vec<(i64, u8, Option<u8>)> = vec![
        (libc::SYS_fchmod, 1, None),
        (libc::SYS_fchmodat, 2, None),
        (FCHMODAT2, 2, None),
        (libc::SYS_mknodat, 2, None),
        (libc::SYS_openat, 3, Some(2)),
    ];
    #[cfg(target_arch = "x86_64")]
    calls.extend([
        (libc::SYS_chmod, 1, None),
        (libc::SYS_mknod, 1, None),
        (libc::SYS_creat, 1, None),
        (libc::SYS_open, 2, Some(1)),
    ]);
    for (call, mode, flags) in calls.drain(..) {
        let mut all = Vec::new();
        for bit in [libc::S_ISUID, libc::S_ISGID] {
            let bit = u64::from(bit);
            match flags {
                None => all.push(rule(vec![has(mode, bit)?])?),
                Some(flags) => {
                    for makes in [bits(libc::O_CREAT), O_TMPFILE] {
                        all.push(rule(vec![has(flags, makes)?, has(mode, bit)?])?);
                    }
                }
            }
        }
        rules.insert(call, all);
    }
    Ok(())
}

fn sockets(rules: &mut Rules, confinement: &Confinement) -> Result2<()> {
    let (unix, inet, inet6, netlink) =
        (bits(libc::AF_UNIX), bits(libc::AF_INET), bits(libc::AF_INET6), bits(libc::AF_NETLINK));
    let mut families = Vec::new();
    let has_namespaces = confinement.level == Level::Bubblewrap;
    if has_namespaces || confinement.unix_sockets {
        families.push(unix);
    }
    if has_namespaces || confinement.network != Network::None {
        families.extend([inet, inet6]);
    }
    if has_namespaces || confinement.network == Network::All {
        families.push(netlink);
    }
    if families.is_empty() {
        rules.insert(libc::SYS_socket, Vec::new());
        return Ok(());
    }
    let none_of = families.iter().map(|family| is_not(0, *family)).collect::<Result2<_>>()?;
    let mut refused = vec![rule(none_of)?, rule(vec![is(0, netlink)?, is_not(2, NETLINK_ROUTE)?])?];
    let only_tcp = !has_namespaces && matches!(confinement.network, Network::Domains(_));
    for family in [inet, inet6] {
        for kind in KINDS {
            if kind != SOCK_STREAM && (only_tcp || kind != SOCK_DGRAM) {
                refused.push(rule(vec![is(0, family)?, masked(1, KIND_MASK, kind)?])?);
            }
        }
        if only_tcp {
            // Landlock's rules are for TCP alone: not for MPTCP, nor for SMC or SCTP.
            refused.push(rule(vec![is(0, family)?, is_not(2, 0)?, is_not(2, bits(libc::IPPROTO_TCP))?])?);
        }
    }
    rules.insert(libc::SYS_socket, refused);
    if only_tcp {
        // It connects without being asked whether it may.
        for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
            rules.insert(call, vec![rule(vec![has(flags, bits(libc::MSG_FASTOPEN))?])?]);
        }
    }
    Ok(())
}

/// The numbers of the x32 interface, which would name the same calls once more.
#[cfg(target_arch = "x86_64")]
fn other_numbers() -> BpfProgram {
    let word = |code: u32, jt: u8, jf: u8, k: u32| sock_filter {
        // Codes are below 256.
        code: code as u16,
        jt,
        jf,
        k,
    };
    vec![
        // The number is the first field of what a filter is given.
        word(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        word(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32),
        word(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs()),
        word(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

fn rule(conditions: Vec<SeccompCondition>) -> Result2<SeccompRule> {
    SeccompRule::new(conditions)
}

fn is(arg: u8, value: u64) -> Result2<SeccompCondition> {
    SeccompCondition::new(arg, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

fn is_not(arg: u8, value: u64) -> Result2<SeccompCondition> {
    SeccompCondition::new(arg, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value)
}

fn masked(arg: u8, mask: u64, value: u64) -> Result2<SeccompCondition> {
    SeccompCondition::new(arg, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value)
}

fn has(arg: u8, bit: u64) -> Result2<SeccompCondition> {
    masked(arg, bit, bit)
}

/// A flag as the kernel sees it in the lower half of a register.
fn bits(flag: i32) -> u64 {
    u64::from(flag.cast_unsigned())
}

/// The largest socket type plus the bits that are not flags.
const KIND_MASK: u64 = 0xf;
const SOCK_STREAM: u64 = 1;
const SOCK_DGRAM: u64 = 2;
/// Every socket type: stream, datagram, raw, RDM, sequenced packets, DCCP, packet.
const KINDS: [u64; 7] = [SOCK_STREAM, SOCK_DGRAM, 3, 4, 5, 6, 10];
const NETLINK_ROUTE: u64 = 0;
const TIOCSTI: u64 = 0x5412;
const TIOCLINUX: u64 = 0x541c;
/// Of `O_TMPFILE`, the bit that is not `O_DIRECTORY`.
const O_TMPFILE: u64 = 0o20_000_000;
/// The same number on all architectures; newer than the library's list.
const FCHMODAT2: i64 = 452;
const OPEN_TREE_ATTR: i64 = 467;
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

/// Refused whatever the arguments are.
const REFUSED: &[i64] = &[
    // Mounts, and roots of other file trees.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_setns,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_perf_event_open,
    // Keys of the user and of the session.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Doors to the kernel that a filter cannot look through, or that break-outs are made of.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    // The machine itself.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
];

/// Memory, semaphores and queues that processes of one user share by number or name. Refused where there is no namespace
/// for them.
const SHARED: &[i64] =
    &[libc::SYS_shmget, libc::SYS_shmat, libc::SYS_semget, libc::SYS_msgget, libc::SYS_mq_open];

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program of these filters as the kernel would, on the calls of a table. The kernel's own word is in the
    /// corpus (`tests/sandbox_corpus.rs`); this one also covers what a test must not try.
    fn verdict(programs: &[BpfProgram], call: i64, args: [u64; 4]) -> u32 {
        let mut data = [0_u8; 64];
        data[..4].copy_from_slice(&(call as u32).to_ne_bytes());
        let arch: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };
        data[4..8].copy_from_slice(&arch.to_ne_bytes());
        for (n, arg) in args.into_iter().enumerate() {
            data[16 + 8 * n..24 + 8 * n].copy_from_slice(&arg.to_ne_bytes());
        }
        let run = |program: &BpfProgram| {
            let (mut at, mut a) = (0, 0_u32);
            loop {
                let sock_filter { code, jt, jf, k } = &program[at];
                let code = u32::from(*code);
                at += 1;
                let jump = |yes: bool| usize::from(if yes { *jt } else { *jf });
                match code & 7 {
                    libc::BPF_LD => {
                        let from = *k as usize;
                        a = u32::from_ne_bytes(data[from..from + 4].try_into().unwrap());
                    }
                    libc::BPF_ALU => a &= k,
                    libc::BPF_RET => return *k,
                    libc::BPF_JMP => match code & 0xf0 {
                        libc::BPF_JA => at += *k as usize,
                        libc::BPF_JEQ => at += jump(a == *k),
                        libc::BPF_JGE => at += jump(a >= *k),
                        libc::BPF_JGT => at += jump(a > *k),
                        other => panic!("jump {other:x}"),
                    },
                    other => panic!("word {other:x}"),
                }
            }
        };
        // The strictest answer counts: errors are smaller numbers than the word for allowed.
        programs.iter().map(run).min().unwrap()
    }

    fn confinement(level: Level, network: Network) -> Confinement {
        Confinement { network, ..Confinement::new(level, "/tmp/demo") }
    }

    const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;
    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | 1;
    const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | 38;

    #[test]
    fn calls_are_refused_by_number_and_by_argument() {
        let programs = programs(&confinement(Level::Bubblewrap, Network::None)).unwrap();
        for call in REFUSED {
            assert_eq!(verdict(&programs, *call, [0; 4]), EPERM, "{call}");
        }
        let cases = [
            (libc::SYS_read, [0; 4], ALLOWED),
            (libc::SYS_clone, [libc::SIGCHLD as u64, 0, 0, 0], ALLOWED),
            (libc::SYS_clone, [libc::SIGCHLD as u64 | 0x1000_0000, 0, 0, 0], EPERM),
            (libc::SYS_unshare, [0x400, 0, 0, 0], ALLOWED),
            (libc::SYS_unshare, [0x4000_0000, 0, 0, 0], EPERM),
            // The kernel looks at the lower half alone.
            (libc::SYS_unshare, [0xdead_0000_0002_0000, 0, 0, 0], EPERM),
            (libc::SYS_clone3, [0; 4], ENOSYS),
            (libc::SYS_openat2, [0; 4], ENOSYS),
            (libc::SYS_ioctl, [0, 0x5412, 0, 0], EPERM),
            (libc::SYS_ioctl, [0, 0x541c, 0, 0], EPERM),
            (libc::SYS_ioctl, [0, 0x5413, 0, 0], ALLOWED),
            (libc::SYS_fchmod, [3, 0o755, 0, 0], ALLOWED),
            (libc::SYS_fchmod, [3, 0o4755, 0, 0], EPERM),
            (libc::SYS_fchmodat, [3, 0, 0o2755, 0], EPERM),
            (FCHMODAT2, [3, 0, 0o4000, 0], EPERM),
            (libc::SYS_openat, [3, 0, libc::O_RDONLY as u64, 0o7777], ALLOWED),
            (libc::SYS_openat, [3, 0, libc::O_CREAT as u64, 0o644], ALLOWED),
            (libc::SYS_openat, [3, 0, libc::O_CREAT as u64, 0o4644], EPERM),
            (libc::SYS_openat, [3, 0, libc::O_TMPFILE as u64, 0o2644], EPERM),
            (libc::SYS_openat, [3, 0, libc::O_DIRECTORY as u64, 0o2644], ALLOWED),
            (libc::SYS_mknodat, [3, 0, 0o104_755, 0], EPERM),
            // The sticky bit runs nothing as another user.
            (libc::SYS_fchmod, [3, 0o1777, 0, 0], ALLOWED),
            (libc::SYS_prlimit64, [77, 0, 0, 0], ALLOWED),
        ];
        for (call, args, want) in cases {
            assert_eq!(verdict(&programs, call, args), want, "{call} {args:x?}");
        }
        #[cfg(target_arch = "x86_64")]
        for (call, want) in [(0x4000_0000, ENOSYS), (0x4000_00a5, ENOSYS), (0x3fff_ffff, ALLOWED)] {
            assert_eq!(verdict(&programs, call, [0; 4]), want, "{call:x}");
        }
    }

    #[test]
    fn sockets_follow_level_and_network() {
        const UNIX: u64 = 1;
        const INET: u64 = 2;
        const INET6: u64 = 10;
        const NETLINK: u64 = 16;
        let (stream, datagram, raw) = (1 | libc::SOCK_CLOEXEC as u64, 2, 3);
        let domains = || Network::Domains(Vec::new());
        let (bubblewrap, landlock) = (Level::Bubblewrap, Level::Landlock);
        // family, type, protocol, and for which confinements it is allowed
        let confinements = [
            (bubblewrap, Network::None),
            (bubblewrap, Network::All),
            (landlock, Network::None),
            (landlock, domains()),
            (landlock, Network::All),
        ];
        let cases = [
            (UNIX, stream, 0, [true, true, false, false, false]),
            (INET, stream, 0, [true, true, false, true, true]),
            (INET6, stream, 6, [true, true, false, true, true]),
            (INET, stream, 262, [true, true, false, false, true]),
            (INET, datagram, 0, [true, true, false, false, true]),
            (INET6, datagram, 17, [true, true, false, false, true]),
            (INET, raw, 1, [false; 5]),
            (INET6, raw, 58, [false; 5]),
            (INET, 10, 0, [false; 5]),
            (NETLINK, raw, 0, [true, true, false, false, true]),
            (NETLINK, raw, 9, [false; 5]),
            // Packets, virtual machines, ciphers of the kernel, Bluetooth.
            (17, raw, 0, [false; 5]),
            (40, stream, 0, [false; 5]),
            (38, 5, 0, [false; 5]),
            (31, raw, 0, [false; 5]),
        ];
        for (n, (level, network)) in confinements.into_iter().enumerate() {
            let programs = programs(&confinement(level, network.clone())).unwrap();
            for (family, kind, protocol, allowed) in cases {
                let want = if allowed[n] { ALLOWED } else { EPERM };
                let got = verdict(&programs, libc::SYS_socket, [family, kind, protocol, 0]);
                assert_eq!(got, want, "{level} {network:?}: {family} {kind} {protocol}");
            }
            let fast = [0, 0, 0, libc::MSG_FASTOPEN as u64];
            let only_tcp = level == landlock && network == domains();
            let want = if only_tcp { EPERM } else { ALLOWED };
            assert_eq!(verdict(&programs, libc::SYS_sendto, fast), want, "{level} {network:?}");
            let limits = if level == landlock { EPERM } else { ALLOWED };
            for call in SHARED {
                assert_eq!(verdict(&programs, *call, [0; 4]), limits, "{call}");
            }
            assert_eq!(verdict(&programs, libc::SYS_prlimit64, [77, 0, 0, 0]), limits);
        }
        let unix = Confinement { unix_sockets: true, ..confinement(landlock, Network::None) };
        let filters = programs(&unix).unwrap();
        assert_eq!(verdict(&filters, libc::SYS_socket, [UNIX, 1, 0, 0]), ALLOWED);
        assert_eq!(verdict(&filters, libc::SYS_socket, [INET, 1, 0, 0]), EPERM);
    }

    #[test]
    fn no_level_has_no_filter() {
        assert_eq!(programs(&confinement(Level::None, Network::None)).unwrap(), Vec::<BpfProgram>::new());
    }
}
