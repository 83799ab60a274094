//! Passwords, kept as Argon2id (RFC 9106) in PHC string format.
//!
//! Hashing takes tens of milliseconds of CPU time on purpose: do not call it on an async executor's thread.

use std::fmt;

use argon2::password_hash::phc::PasswordHash as Phc;
use argon2::password_hash::{Error, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// In characters: NIST SP 800-63B-4 §3.1.1.2, for a password as the only factor.
const SHORTEST: usize = 15;
/// In bytes: enough for any passphrase.
const LONGEST: usize = 1024;
/// Memory in KiB, passes, lanes: the first choice for Argon2id in OWASP's Password Storage Cheat Sheet.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// Verified against when the name is unknown, so that the answer takes the same time. The hash is all zero bits; no
/// password is known for it.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A password's hash, with salt and cost.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PasswordHash(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NoPassword {
    #[error("a password has {SHORTEST} characters at least, and {LONGEST} bytes at most")]
    Length,
    #[error("the password could not be hashed")]
    Hashing(#[source] Error),
}

/// The text is not a password hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this is no Argon2id hash in PHC string format")]
pub struct NotAPasswordHash;

impl PasswordHash {
    /// Hashes a new password. `salt` must be random.
    pub fn of(password: &str, salt: [u8; 16]) -> Result<Self, NoPassword> {
        if password.chars().count() < SHORTEST || password.len() > LONGEST {
            return Err(NoPassword::Length);
        }
        let (memory, passes, lanes) = COST;
        let params = Params::new(memory, passes, lanes, None).map_err(|error| NoPassword::Hashing(error.into()))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hash: Phc = argon2.hash_password_with_salt(password.as_bytes(), &salt).map_err(NoPassword::Hashing)?;
        Ok(Self(hash.to_string()))
    }

    /// Verifies a password in constant time. Without a stored hash the answer is `false`, after the same time.
    pub fn matches(stored: Option<&Self>, password: &str) -> Result<bool, NoPassword> {
        let hash = stored.map_or(NOBODY, |stored| stored.0.as_str());
        match Argon2::default().verify_password(password.as_bytes(), hash) {
            Ok(()) => Ok(stored.is_some()),
            Err(Error::PasswordInvalid) => Ok(false),
            Err(error) => Err(NoPassword::Hashing(error)),
        }
    }
}

impl TryFrom<String> for PasswordHash {
    type Error = NotAPasswordHash;

    fn try_from(text: String) -> Result<Self, NotAPasswordHash> {
        let hash = Phc::new(&text).map_err(|_| NotAPasswordHash)?;
        let whole = hash.algorithm == argon2::ARGON2ID_IDENT && hash.salt.is_some() && hash.hash.is_some();
        whole.then_some(Self(text)).ok_or(NotAPasswordHash)
    }
}

impl From<PasswordHash> for String {
    fn from(hash: PasswordHash) -> Self {
        hash.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

    use super::*;

    const PASSWORD: &str = "correct horse battery staple";

    #[test]
    fn a_password_matches_its_own_hash_alone() {
        let hash = PasswordHash::of(PASSWORD, [7; 16]).unwrap();
        assert_eq!(PasswordHash::matches(Some(&hash), PASSWORD), Ok(true));
        for other in ["", "correct horse battery stapl", "Correct horse battery staple"] {
            assert_eq!(PasswordHash::matches(Some(&hash), other), Ok(false), "{other}");
        }
        assert_ne!(hash, PasswordHash::of(PASSWORD, [8; 16]).unwrap());
        assert!(hash.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && format!("{hash:?}") == "PasswordHash");
        assert_eq!(PasswordHash::try_from(hash.0.clone()), Ok(hash));
    }

    #[test]
    fn an_unknown_names_hash_costs_the_same_and_never_matches() {
        let costs = |text: &str| text.split('$').take(4).map(str::to_owned).collect::<Vec<_>>();
        let hash = PasswordHash::of(PASSWORD, [7; 16]).unwrap();
        assert_eq!((costs(NOBODY), NOBODY.len()), (costs(&hash.0), hash.0.len()));
        for password in ["", PASSWORD] {
            assert_eq!(PasswordHash::matches(None, password), Ok(false));
        }
    }

    #[test]
    fn too_short_and_too_long_passwords_are_refused() {
        let of = |length: usize| PasswordHash::of(&"ä".repeat(length), [0; 16]).map(|_| ());
        assert_eq!((of(14), of(15)), (Err(NoPassword::Length), Ok(())));
        assert_eq!((of(512), of(513)), (Ok(()), Err(NoPassword::Length)));
    }

    #[test]
    fn only_a_complete_argon2id_hash_is_accepted() {
        for text in
            ["", "secret", "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA", &NOBODY.replace("2id", "2i")]
        {
            assert_eq!(PasswordHash::try_from(text.to_owned()), Err(NotAPasswordHash), "{text}");
        }
    }
}
