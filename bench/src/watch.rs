//! A process that is watched while it runs: its CPU time and the most memory it held.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// What a process took.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    pub wall: f64,
    pub cpu: f64,
    pub peak_mb: f64,
}

/// Runs it to its end. Its output goes nowhere; it must succeed.
pub fn watched(command: &mut Command) -> Result<Taken> {
    let started = Instant::now();
    let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
    let (mut peak_mb, pid) = (0.0_f64, child.id());
    let cpu = loop {
        if let Some(peak) = peak_of(&read(pid, "status")) {
            peak_mb = peak_mb.max(peak);
        }
        // Nobody has waited for it yet, so its times are there when it has ended, too.
        if let Some(cpu) = ended(&read(pid, "stat")) {
            break cpu;
        }
        std::thread::sleep(Duration::from_micros(500));
    };
    let wall = started.elapsed().as_secs_f64();
    let status = child.wait()?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(Taken { wall, cpu, peak_mb })
}

/// Megabytes that this process holds now.
pub fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    kilobytes(&status, "VmRSS:").unwrap_or(f64::NAN) / 1_024.0
}

pub fn read(pid: u32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

pub fn peak_of(status: &str) -> Option<f64> {
    Some(kilobytes(status, "VmHWM:")? / 1_024.0)
}

fn kilobytes(status: &str, name: &str) -> Option<f64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// Seconds in user and kernel, of a process that has ended and was not waited for.
fn ended(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit(')').next()?.split_whitespace();
    (fields.next()? == "Z").then_some(())?;
    let ticks: f64 = fields.skip(10).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    // A tick is 10 ms on every Linux that we know.
    Some(ticks / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_process_that_has_ended() {
        let stat = |state: &str| format!("42 (a b) c) {state} 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0");
        assert_eq!(ended(&stat("Z")), Some(1.75));
        assert_eq!(ended(&stat("R")), None);
        assert_eq!(ended(""), None);
    }

    #[test]
    fn the_most_memory_that_it_held() {
        assert_eq!(peak_of("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1024 kB\n"), Some(2.0));
        assert_eq!(peak_of("Name:\tx\n"), None);
    }
}
