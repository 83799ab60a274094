//! Material that only the `openssl` command (3.0 or later) makes: weak keys, signatures with broken hashes, encrypted
//! keys, and PKCS #12 as people export it.

use std::io::Write;
use std::process::{Command, Stdio};

/// Its output for `input`.
pub(crate) fn run(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("openssl");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the openssl command, 3.0 or later");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

pub(crate) fn sign(key_pem: &str, hash: &str, message: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    std::fs::write(&path, key_pem).unwrap();
    run(&["dgst", &format!("-{hash}"), "-sign", path.to_str().unwrap()], message)
}

/// `EncryptedPrivateKeyInfo` (RFC 5958 §3).
pub(crate) fn encrypted(key_pem: &str) -> String {
    let options = ["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-iter", "1000", "-passout", "pass:secret"];
    String::from_utf8(run(&options, key_pem.as_bytes())).unwrap()
}

/// OpenSSL's older format, with `Proc-Type` and `DEK-Info` (RFC 1421 §4.6).
pub(crate) fn encrypted_traditional(command: &str, key_pem: &str) -> String {
    let options = ["-aes128", "-traditional", "-passout", "pass:secret"];
    let options: Vec<_> = match command {
        "rsa" => [&["rsa"], &options[..]].concat(),
        _ => [&["ec"], &options[..1], &options[2..]].concat(),
    };
    String::from_utf8(run(&options, key_pem.as_bytes())).unwrap()
}

/// A key and its certificates, the leaf first.
pub(crate) fn pkcs12(pem: &str, password: &str, options: &[&str]) -> Vec<u8> {
    let password = format!("pass:{password}");
    run(&[&["pkcs12", "-export", "-passout", &password], options].concat(), pem.as_bytes())
}
