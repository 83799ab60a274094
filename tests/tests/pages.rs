//! Every link in the pages, and every path that they name, exists.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

const FOLDERS: [&str; 4] = [".github", "functions", "infra", "tests"];

/// Pages below the folder, except for what is built or downloaded there.
fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            if entry.file_name() != "target" {
                pages(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
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

#[test]
fn every_link_and_path_on_a_page_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = vec![root.join("README.md")];
    FOLDERS.iter().for_each(|folder| pages(&root.join(folder), &mut found));
    let (mut seen, mut dead) = (0, Vec::new());
    for page in &found {
        let text = fs::read_to_string(page).unwrap();
        // Skip blocks of code between fences.
        let prose: String = text.split("```").step_by(2).collect();
        let links = between(&prose, "](", ')').filter(|link| !link.starts_with("http"));
        let links = links.map(|link| page.parent().unwrap().join(link.split('#').next().unwrap()));
        let named = prose.split('`').skip(1).step_by(2).filter(|path| {
            path.split_once('/')
                .is_some_and(|(first, _)| FOLDERS.contains(&first) && !path.contains(char::is_whitespace))
        });
        for path in links.chain(named.flat_map(expanded).map(|path| root.join(path))) {
            seen += 1;
            if !path.exists() {
                dead.push(format!("{}: {}", page.display(), path.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
    assert!(seen > 80, "{seen} in {} pages", found.len());
}
