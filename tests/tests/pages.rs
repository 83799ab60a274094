//! What the files say of each other: every link in the pages, its section, and every path that they name, exist; what a Cargo.toml
//! says to have no tests has none.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

const FOLDERS: [&str; 4] = [".github", "functions", "infra", "tests"];

/// Files below the folder whose name ends so, except for what is built or downloaded there.
fn files(folder: &Path, end: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            if entry.file_name() != "target" {
                files(&path, end, found);
            }
        } else if entry.file_name().to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
}

/// The texts between `open` and `close`.
fn between<'t>(text: &'t str, open: &'static str, close: char) -> impl Iterator<Item = &'t str> {
    text.split(open).skip(1).filter_map(move |rest| rest.split_once(close)).map(|(inside, _)| inside)
}

/// `a/{b,c}.rs` names two paths.
fn expanded(path: &str) -> Vec<String> {
    let Some((before, (choices, after))) = path.split_once('{').and_then(|(b, rest)| Some((b, rest.split_once('}')?)))
    else {
        return vec![path.to_owned()];
    };
    choices.split(',').map(|choice| format!("{before}{choice}{after}")).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A page without the blocks of code between fences.
fn prose(page: &Path) -> String {
    fs::read_to_string(page).unwrap().split("```").step_by(2).collect()
}

/// As GitHub names a page's sections for links.
fn has_section(page: &Path, section: &str) -> bool {
    let name = |title: &str| {
        let kept = title.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    let prose = prose(page);
    prose.lines().filter(|line| line.starts_with('#')).any(|line| name(line.trim_start_matches('#')) == section)
        || between(&prose, "id=\"", '"').any(|id| id == section)
}

/// Cargo would compile a program without tests for each of these targets.
#[test]
fn no_test_is_in_a_target_that_cargo_skips() {
    let mut manifests = Vec::new();
    FOLDERS.iter().for_each(|folder| files(&root().join(folder), "Cargo.toml", &mut manifests));
    let (mut skipped, mut lost) = (0, Vec::new());
    for manifest in manifests {
        let text = fs::read_to_string(&manifest).unwrap();
        let main = manifest.with_file_name("src").join("main.rs");
        for section in text.split("\n[").filter(|section| section.contains("\ntest = false")) {
            let mut sources = vec![main.clone()];
            if section.starts_with("lib]") {
                sources.clear();
                files(&manifest.with_file_name("src"), ".rs", &mut sources);
                sources.retain(|source| *source != main);
            } else if !main.exists() {
                // Of the fuzzer, which is no part of the workspace.
                continue;
            }
            skipped += 1;
            let has_tests = |source: &PathBuf| {
                let text = fs::read_to_string(source).unwrap();
                ["cfg(test)", "#[test]", "::test]"].iter().any(|sign| text.contains(sign))
            };
            lost.extend(sources.into_iter().filter(has_tests));
        }
    }
    assert!(lost.is_empty(), "remove `test = false` from the Cargo.toml of {lost:#?}");
    assert_eq!(skipped, 22, "the targets without tests: ten functions and the command, and eleven libraries");
}

#[test]
fn every_link_and_path_on_a_page_exists() {
    let root = root();
    let mut found = vec![root.join("README.md")];
    FOLDERS.iter().for_each(|folder| files(&root.join(folder), ".md", &mut found));
    let (mut seen, mut dead) = (0, Vec::new());
    for page in &found {
        let prose = prose(page);
        let links = between(&prose, "](", ')').filter(|link| !link.starts_with("http"));
        let links = links.map(|link| {
            let (path, section) = link.split_once('#').unwrap_or((link, ""));
            let path = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            (path, section)
        });
        let named = prose.split('`').skip(1).step_by(2).filter(|path| {
            path.split_once('/')
                .is_some_and(|(first, _)| FOLDERS.contains(&first) && !path.contains(char::is_whitespace))
        });
        for (path, section) in links.chain(named.flat_map(expanded).map(|path| (root.join(path), ""))) {
            seen += 1;
            if !path.exists() || !(section.is_empty() || has_section(&path, section)) {
                dead.push(format!("{}: {}#{section}", page.display(), path.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
    assert!(seen > 80, "{seen} in {} pages", found.len());
}
