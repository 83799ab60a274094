//! Cold starts: the time from the start of a bootstrap to its first request for an invocation, compared with a
//! minimal function in the same run. Also prints each bootstrap's size.
//!
//! `cargo bench --bench cold_start`, on an idle machine, after `cargo build --release --bins`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark prints, and breaks off where something is missing"
)]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Starts per program. The programs alternate, so that all run under the same conditions.
const ROUNDS: usize = 40;
const FUNCTIONS: [&str; 10] =
    ["regenerate", "conduct", "worker", "issue", "catalog", "import", "retry", "access", "console", "rotate"];

struct Program {
    name: &'static str,
    path: PathBuf,
    starts: Vec<Duration>,
    /// KiB, the peak until then.
    resident: u64,
}

fn main() {
    let release = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release");
    let built = Command::new(env!("CARGO")).args(["build", "--release", "--example", "hello"]).status().unwrap();
    assert!(built.success());
    let program = |name, path| Program { name, path, starts: Vec::new(), resident: 0 };
    let mut programs = vec![program("hello", release.join("examples/hello"))];
    programs.extend(FUNCTIONS.map(|name| program(name, release.join(name))));
    for _ in 0..ROUNDS {
        for program in &mut programs {
            start(program);
        }
    }
    let hello = median(&programs[0].starts);
    println!("program      to /next   ratio   resident   bootstrap");
    for program in &programs {
        let to_next = median(&program.starts);
        let ratio = to_next.as_secs_f64() / hello.as_secs_f64();
        let size = std::fs::metadata(&program.path).unwrap().len();
        println!(
            "{:<11} {:>6.2} ms {ratio:>6.2}× {:>7.1} MB {:>8.1} MB",
            program.name,
            to_next.as_secs_f64() * 1000.0,
            program.resident as f64 / 1024.0,
            size as f64 / 1e6,
        );
    }
}

/// Acts as Lambda's runtime API up to the first request.
fn start(program: &mut Program) {
    let api = TcpListener::bind("127.0.0.1:0").unwrap();
    let begun = Instant::now();
    let mut child = Command::new(&program.path)
        .env_clear()
        .env("AWS_LAMBDA_RUNTIME_API", api.local_addr().unwrap().to_string())
        .env("AWS_LAMBDA_FUNCTION_NAME", program.name)
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
        .env("AWS_LAMBDA_LOG_FORMAT", "JSON")
        .env("AWS_REGION", "eu-central-1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (connection, _) = api.accept().unwrap();
    let mut line = String::new();
    BufReader::new(connection).read_line(&mut line).unwrap();
    program.starts.push(begun.elapsed());
    assert!(line.starts_with("GET /2018-06-01/runtime/invocation/next"), "{line}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let resident =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    program.resident = program.resident.max(resident.unwrap_or(0));
    child.kill().unwrap();
    child.wait().unwrap();
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}
