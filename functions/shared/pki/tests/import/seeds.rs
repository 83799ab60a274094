//! The fuzzer's seeds. They are committed, and also run here with the ordinary compiler.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rootcast_pki::import::check;

use crate::corpus::{Bundle, Case, Input, cases};
use crate::input::{self, DER, DER_BELOW_OWN_ROOT, KEY_LABELS, PKCS12, TEXT};
use crate::table::told;

/// Largest seed, in bytes: long cases teach the fuzzer nothing more.
const LARGEST: usize = 2500;
/// Most seeds with the same form, key and result: more of them teach the fuzzer nothing.
const ALIKE: usize = 4;
const TOGETHER: usize = 320 * 1024;

#[test]
fn every_seed_is_imported_or_refused() {
    let (mut imported, mut refused) = (0, 0);
    for path in seeds() {
        let bytes = std::fs::read(&path).unwrap();
        let Some(input) = input::Input::decode(&bytes) else { continue };
        match check(&input.material(), &input.own_roots(), input::NOW) {
            Ok(_) => imported += 1,
            Err(problems) => {
                refused += 1;
                for problem in &problems {
                    told(&problem.to_string()).unwrap_or_else(|reason| panic!("{}: {reason}", path.display()));
                }
            }
        }
    }
    assert!(imported > 20 && refused > 60, "{imported} imported and {refused} refused");
}

#[test]
fn the_seeds_stay_small() {
    let sizes: Vec<_> = seeds().iter().map(|path| path.metadata().unwrap().len() as usize).collect();
    assert!(sizes.iter().sum::<usize>() <= TOGETHER, "{} bytes", sizes.iter().sum::<usize>());
}

#[test]
#[ignore = "writes seeds/: to be run where the corpus has changed"]
fn write_the_seeds() {
    std::fs::remove_dir_all(folder()).ok();
    std::fs::create_dir_all(folder()).unwrap();
    let mut alike: HashMap<_, usize> = HashMap::new();
    for case in cases() {
        let seed = seed(case);
        let key = case.bundle.as_ref().map(|bundle| &bundle.key);
        let seen = alike.entry((seed[0], format!("{:?}", case.expected), key)).or_default();
        if seed.len() <= LARGEST && *seen < ALIKE {
            *seen += 1;
            let name: String = case.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
            std::fs::write(folder().join(name), seed).unwrap();
        }
    }
}

/// As DER for cases about certificates, since the fuzzer should change that part; otherwise as sent.
fn seed(case: &Case) -> Vec<u8> {
    match (&case.bundle, &case.input) {
        (Some(bundle), _) if key_der(bundle).is_some() => {
            let (label, key) = key_der(bundle).unwrap();
            let own_root = bundle.own_roots.last();
            let form = if own_root.is_some() { DER_BELOW_OWN_ROOT } else { DER };
            let certificates = std::iter::once(&bundle.leaf).chain(&bundle.others).chain(own_root);
            let mut seed = vec![form + 4 * label];
            for part in std::iter::once(&key).chain(certificates) {
                seed.extend_from_slice(&u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
                seed.extend_from_slice(part);
            }
            seed
        }
        (_, Input::Pem { certificate, certificate_chain, private_key }) => {
            let mut fields = vec![certificate.as_bytes(), private_key.as_bytes()];
            fields.extend(certificate_chain.as_ref().map(String::as_bytes));
            [&[TEXT], &fields.join(&0)[..]].concat()
        }
        (_, Input::Pkcs12 { der, password }) => [&[PKCS12], password.as_bytes(), &[0], der].concat(),
    }
}

/// The key's label and DER, if the key is exactly one PEM block.
fn key_der(bundle: &Bundle) -> Option<(u8, Vec<u8>)> {
    let block = pem::parse(&bundle.key).ok()?;
    let label = KEY_LABELS.iter().position(|label| *label == block.tag())?;
    (bundle.key == crate::corpus::key::pem(block.tag(), block.contents())).then(|| (label as u8, block.into_contents()))
}

fn seeds() -> Vec<PathBuf> {
    let mut seeds: Vec<_> = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    assert!(!seeds.is_empty());
    seeds
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/import")
}
