//! The output of `rootcast-pki`, checked with OpenSSL and rustls-webpki, and properties that hold for any input. The
//! keys are local, and sign digests as KMS does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test fails by panicking

mod anchors;
mod chains;
mod constraints;
mod crls;
mod fleet;
mod hierarchy;
mod issuance;
mod issuing;
mod jws;
mod keys;
mod notary;
mod openssl;
mod requests;
mod roots;
