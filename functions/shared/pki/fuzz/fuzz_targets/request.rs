//! Any certification request from a device is accepted or refused. An accepted request parses again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rootcast_pki::request::SigningRequest;

fuzz_target!(|bytes: &[u8]| {
    match SigningRequest::parse(&String::from_utf8_lossy(bytes)) {
        Ok(request) => assert_eq!(SigningRequest::parse(&String::from(request.clone())).as_ref(), Ok(&request)),
        Err(refused) => assert!((1..=1024).contains(&refused.to_string().chars().count())),
    }
});
