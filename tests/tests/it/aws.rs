//! What AWS is given. template.yaml keeps its rules: AWS's linters, cfn-guard, our own checks, and defects that each check must
//! find. These checks take minutes, so they begin with the first tests, which are in the order of their names.

use std::path::Path;
use std::process::Command;

#[test]
fn the_template_passes_its_checks_which_find_known_defects() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("template/check.py");
    let output = Command::new("python3").arg(script).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.lines().filter(|line| line.starts_with("ok")).count() > 60, "{said}");
}

#[test]
fn packages_are_the_same_twice_with_a_bill_of_materials() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("release/check.py");
    let output = Command::new("python3").arg(script).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.starts_with("ok"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
