//! Any input to an import is accepted or refused, in bounded time, and its error messages are safe to display.
#![no_main]

mod input;

use libfuzzer_sys::fuzz_target;
use rootcast_pki::import::check;

fuzz_target!(|bytes: &[u8]| {
    let Some(input) = input::Input::decode(bytes) else { return };
    match check(&input.material(), &input.own_roots(), input::NOW) {
        Ok(checked) => {
            assert!(checked.leaf.not_after() >= input::NOW);
            assert!(checked.chain.len() <= rootcast_pki::import::DEPTH);
            checked.warnings.iter().for_each(|warning| tellable(&warning.to_string()));
        }
        Err(problems) => problems.iter().for_each(|problem| tellable(&problem.to_string())),
    }
});

fn tellable(message: &str) {
    assert!((1..=1024).contains(&message.chars().count()), "{message:?}");
    assert!(!message.contains(char::is_control), "{message:?}");
}
