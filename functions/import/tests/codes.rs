//! CODES.md lists every code of the checks.
#![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

use rootcast_pki::import::CODES;

#[test]
fn codes_md_lists_the_codes_of_the_checks() {
    let page = include_str!("../CODES.md");
    let checks = page.split("## ").find(|section| section.starts_with("Of an import's checks")).unwrap();
    let told: Vec<(&str, &str)> = checks
        .lines()
        .filter(|line| line.contains("SCM."))
        .map(|line| {
            let mut cells = line.split('|').map(str::trim).skip(1);
            (cells.next().unwrap().trim_matches('*'), cells.next().unwrap())
        })
        .collect();
    assert_eq!(told, CODES);
}
