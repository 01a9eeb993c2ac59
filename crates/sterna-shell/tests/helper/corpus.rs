//! Attempts to break out of a sandbox, one a start. Each says `ok` when the kernel let it, or the error's number.
//!
//! An attempt that would harm the machine if it were let has arguments that the kernel refuses for another reason
//! (a bad magic number, no pointer): then another number than `EPERM` says that the call itself was let through.

// System calls by their numbers are unsafe by nature. Pointers here are null, or to values that live through the call.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::ExitCode;

use libc::{c_long, c_void};

/// `NAME [ARGUMENT]`
pub fn attempt(args: Vec<String>) -> ExitCode {
    let name = args.first().map(String::as_str).unwrap_or_default();
    let arg = args.get(1).map(String::as_str).unwrap_or_default();
    let line = match run(name, arg) {
        Some(Ok(())) => "ok".to_owned(),
        Some(Err(error)) => format!("errno {}", error.raw_os_error().unwrap_or(-1)),
        None => format!("unknown attempt {name}"),
    };
    let mut out = io::stdout().lock();
    drop(io::Write::write_all(&mut out, format!("{line}\n").as_bytes()));
    ExitCode::SUCCESS
}

fn run(name: &str, arg: &str) -> Option<io::Result<()>> {
    let number = || arg.parse::<i32>().unwrap_or(-1);
    let port = || arg.parse::<u16>().unwrap_or(0);
    let path = || CString::new(arg).unwrap_or_default();
    let null = std::ptr::null::<c_void>();
    Some(match name {
        "write" => fs::write(arg, "x"),
        "append" => OpenOptions::new().append(true).open(arg).map(drop),
        "read" => fs::read(arg).map(drop),
        "list" => fs::read_dir(arg).map(|_| ()),
        "remove" => fs::remove_file(arg),
        "make_folder" => fs::create_dir(arg),
        "truncate" => call(libc::SYS_truncate, [path().as_ptr() as c_long, 0, 0, 0, 0]),
        "chmod" => fs::set_permissions(arg, fs::Permissions::from_mode(0o600)),
        "open_device" => File::open(arg).map(drop),
        "open_for_writing" => OpenOptions::new().write(true).open(arg).map(drop),
        "link_into" => fs::hard_link(arg, "linked"),
        "through_link" => {
            drop(std::os::unix::fs::symlink(arg, "leads-out"));
            fs::write("leads-out", "x")
        }
        "rename" => fs::rename(arg, format!("{arg}-moved")),

        "tcp" => TcpStream::connect((Ipv4Addr::LOCALHOST, port())).map(drop),
        "udp" => UdpSocket::bind("0.0.0.0:0")
            .and_then(|socket| socket.send_to(b"x", (Ipv4Addr::LOCALHOST, port())).map(drop)),
        "listen" => TcpListener::bind("127.0.0.1:0").map(drop),
        "abstract_socket" => {
            SocketAddr::from_abstract_name(arg).and_then(|to| UnixStream::connect_addr(&to)).map(drop)
        }
        "socket_file" => UnixStream::connect(arg).map(drop),
        "socket_pair" => UnixStream::pair().map(drop),
        "raw_socket" => call(libc::SYS_socket, [2, 3, 1, 0, 0]),
        "packet_socket" => call(libc::SYS_socket, [17, 3, 0, 0, 0]),
        "vsock" => call(libc::SYS_socket, [40, 1, 0, 0, 0]),
        "audit_socket" => call(libc::SYS_socket, [16, 3, 9, 0, 0]),

        "ptrace" => {
            let attached =
                call(libc::SYS_ptrace, [i64::from(libc::PTRACE_SEIZE as i32), number().into(), 0, 0, 0]);
            if attached.is_ok() {
                drop(call(
                    libc::SYS_ptrace,
                    [i64::from(libc::PTRACE_DETACH as i32), number().into(), 0, 0, 0],
                ));
            }
            attached
        }
        "trace_me" => call(libc::SYS_ptrace, [i64::from(libc::PTRACE_TRACEME as i32), 0, 0, 0, 0]),
        // Without anything to copy it says only whether it may.
        "read_memory" => {
            call(libc::SYS_process_vm_readv, [number().into(), null as c_long, 0, null as c_long, 0])
        }
        "steal_descriptor" => call(libc::SYS_pidfd_open, [number().into(), 0, 0, 0, 0])
            .and_then(|()| call(libc::SYS_pidfd_getfd, [3, 0, 0, 0, 0])),
        "signal" => call(libc::SYS_kill, [number().into(), 0, 0, 0, 0]),
        "limits_of" => {
            let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            let old = std::ptr::from_mut(&mut old) as c_long;
            call(libc::SYS_prlimit64, [number().into(), libc::RLIMIT_NOFILE.into(), 0, old, 0])
        }
        "environment_of" => fs::read(format!("/proc/{arg}/environ")).map(drop),
        "memory_of" => File::open(format!("/proc/{arg}/mem")).map(drop),
        "root_of" => fs::read_dir(format!("/proc/{arg}/root/")).map(drop),
        "command_of" => fs::read(format!("/proc/{arg}/cmdline")).map(drop),

        "shared_memory" => call(libc::SYS_shmget, [0, 4096, 0o600, 0, 0]),
        "mount" => {
            let kind = c"tmpfs";
            call(
                libc::SYS_mount,
                [kind.as_ptr() as c_long, path().as_ptr() as c_long, kind.as_ptr() as c_long, 0, 0],
            )
        }
        "unmount" => call(libc::SYS_umount2, [path().as_ptr() as c_long, 0, 0, 0, 0]),
        "mount_new" => call(libc::SYS_fsopen, [c"tmpfs".as_ptr() as c_long, 0, 0, 0, 0]),
        "copy_mounts" => {
            call(libc::SYS_open_tree, [i64::from(libc::AT_FDCWD), c"/".as_ptr() as c_long, 1, 0, 0])
        }
        "user_namespace" => call(libc::SYS_unshare, [i64::from(libc::CLONE_NEWUSER), 0, 0, 0, 0]),
        "mount_namespace" => call(libc::SYS_unshare, [i64::from(libc::CLONE_NEWNS), 0, 0, 0, 0]),
        "enter_namespace" => File::open("/proc/self/ns/uts")
            .and_then(|file| call(libc::SYS_setns, [file.as_raw_fd().into(), 0, 0, 0, 0])),
        "chroot" => call(libc::SYS_chroot, [c"/".as_ptr() as c_long, 0, 0, 0, 0]),
        "by_handle" => call(libc::SYS_open_by_handle_at, [-1, 0, 0, 0, 0]),

        "keyring" => call(libc::SYS_keyctl, [0, -3, 0, 0, 0]),
        "add_key" => {
            let text = c"user".as_ptr() as c_long;
            call(libc::SYS_add_key, [text, c"sterna-test".as_ptr() as c_long, text, 4, -2])
        }
        "request_key" => call(
            libc::SYS_request_key,
            [c"user".as_ptr() as c_long, c"sterna-none".as_ptr() as c_long, 0, 0, 0],
        ),

        "io_uring" => {
            let mut parameters = [0_u8; 120];
            call(libc::SYS_io_uring_setup, [1, parameters.as_mut_ptr() as c_long, 0, 0, 0])
        }
        "bpf" => call(libc::SYS_bpf, [-1, 0, 0, 0, 0]),
        "userfaultfd" => call(libc::SYS_userfaultfd, [1, 0, 0, 0, 0]),
        "perf" => call(libc::SYS_perf_event_open, [0, 0, -1, -1, 0]),
        "load_kernel" => call(libc::SYS_kexec_load, [0, -1, 0, -1, 0]),
        "load_kernel_file" => call(libc::SYS_kexec_file_load, [-1, -1, 0, 0, -1]),
        "load_module" => call(libc::SYS_finit_module, [-1, 0, 0, 0, 0]),
        "reboot" => call(libc::SYS_reboot, [0, 0, 0, 0, 0]),
        "set_clock" => call(libc::SYS_clock_settime, [-1, 0, 0, 0, 0]),
        "host_name" => call(libc::SYS_sethostname, [0, -1, 0, 0, 0]),
        "kernel_log" => call(libc::SYS_syslog, [10, 0, 0, 0, 0]),
        "type_into_terminal" => File::open("/dev/null")
            .and_then(|file| call(libc::SYS_ioctl, [file.as_raw_fd().into(), 0x5412, 0, 0, 0])),

        "set_user_id" => fs::set_permissions(arg, fs::Permissions::from_mode(0o4755)),
        "set_group_id" => fs::set_permissions(arg, fs::Permissions::from_mode(0o2755)),
        "make_set_user_id" => {
            OpenOptions::new().write(true).create_new(true).mode(0o4755).open(arg).map(drop)
        }
        "set_user_id_by_name" => {
            call(452, [i64::from(libc::AT_FDCWD), path().as_ptr() as c_long, 0o4755, 0, 0])
        }
        "make_by_open2" => {
            let how = [(libc::O_CREAT | libc::O_WRONLY) as u64, 0o4755, 0];
            call(
                libc::SYS_openat2,
                [i64::from(libc::AT_FDCWD), path().as_ptr() as c_long, how.as_ptr() as c_long, 24, 0],
            )
        }
        "has_capabilities" => {
            let status = fs::read_to_string("/proc/self/status").ok()?;
            let none = status.lines().filter(|line| line.starts_with("Cap") && !line.starts_with("CapBnd"));
            let none = none
                .filter_map(|line| line.split_whitespace().nth(1))
                .all(|set| set.trim_matches('0').is_empty());
            if none { Err(io::Error::from_raw_os_error(libc::EPERM)) } else { Ok(()) }
        }
        "can_gain_privileges" => {
            let status = fs::read_to_string("/proc/self/status").ok()?;
            if status.contains("NoNewPrivs:\t1") {
                Err(io::Error::from_raw_os_error(libc::EPERM))
            } else {
                Ok(())
            }
        }
        "inherited" => {
            // The three streams, and the folder that is being read.
            let count = fs::read_dir("/proc/self/fd").ok()?.count();
            if count <= 4 { Err(io::Error::from_raw_os_error(libc::EPERM)) } else { Ok(()) }
        }
        _ => return None,
    })
}

fn call(number: c_long, args: [c_long; 5]) -> io::Result<()> {
    let [a, b, c, d, e] = args;
    // SAFETY: see the head of this file.
    let result = unsafe { libc::syscall(number, a, b, c, d, e) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
