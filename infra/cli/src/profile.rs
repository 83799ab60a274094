//! The API and the user: from arguments, the environment and the profiles that `login` writes.

use std::{
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rootcast_core::access::token::Token;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::arguments::AccessArguments;
use crate::exit::{NotLoggedIn, Usage};

/// What a call to an API needs. Also the content of a profile, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Access {
    pub(crate) url: Url,
    pub(crate) token: Token,
    /// PEM file with the only certificates to trust; without it, the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
}

impl AccessArguments {
    /// # Errors
    /// There is no login, or the profile cannot be read.
    pub(crate) fn resolve(&self) -> Result<Access> {
        let token = std::env::var("ROOTCAST_TOKEN").ok().filter(|token| !token.is_empty()).map(Token::from_text);
        let file = self.file()?;
        let saved = load(&file)?;
        let found = merge(self.url.clone(), token, self.ca.clone(), saved);
        found.map_err(|missing| match missing {
            Missing::Token(what) => {
                let recovery = format!("Run `rootcast login`, which writes {}", file.display());
                NotLoggedIn { what, recovery }.into()
            }
            Missing::Address => Usage("no address of the API: give --url or ROOTCAST_URL".to_owned()).into(),
        })
    }

    /// Where the API is, with or without a login.
    pub(crate) fn address(&self) -> Result<Url> {
        let saved = || anyhow::Ok(load(&self.file()?)?.map(|saved| saved.url));
        let found = match &self.url {
            Some(url) => Some(url.clone()),
            None => saved()?,
        };
        found.ok_or_else(|| Usage("no address of the API: give --url or ROOTCAST_URL, or log in".to_owned()).into())
    }

    /// The profile's file: `$XDG_CONFIG_HOME/rootcast/NAME.json`, or the given path.
    pub(crate) fn file(&self) -> Result<PathBuf> {
        if self.profile.components().count() > 1 {
            return Ok(self.profile.clone());
        }
        let folder = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let config = folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")));
        let config = config.ok_or_else(|| Usage("no folder for profiles: set XDG_CONFIG_HOME to one".to_owned()))?;
        Ok(config.join("rootcast").join(format!("{}.json", self.profile.display())))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Missing {
    Token(String),
    Address,
}

/// A profile's token is only sent to the profile's address.
fn merge(
    url: Option<Url>,
    token: Option<Token>,
    ca: Option<PathBuf>,
    saved: Option<Access>,
) -> Result<Access, Missing> {
    let same = |saved: &Access| url.as_ref().is_none_or(|url| *url == saved.url);
    match (token, saved) {
        (None, Some(saved)) if same(&saved) => Ok(Access { ca: ca.or(saved.ca), ..saved }),
        (None, Some(saved)) => Err(Missing::Token(format!(
            "there is no token for this address: the profile's token is for {}; set ROOTCAST_TOKEN",
            saved.url
        ))),
        (None, None) => Err(Missing::Token("not logged in: there is no token".to_owned())),
        (Some(token), Some(saved)) if same(&saved) => Ok(Access { token, ca: ca.or(saved.ca), ..saved }),
        (Some(token), _) => Ok(Access { url: url.ok_or(Missing::Address)?, token, ca }),
    }
}

impl Access {
    /// Replaces the file atomically, readable by its owner only.
    pub(crate) fn save(&self, file: &Path) -> Result<()> {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let cannot = || format!("the profile {} cannot be written", file.display());
        std::fs::create_dir_all(folder).with_context(cannot)?;
        // Temporary files are created with mode 0600 and keep it when they are renamed.
        let mut half = tempfile::NamedTempFile::new_in(folder).with_context(cannot)?;
        half.write_all(&serde_json::to_vec_pretty(self)?).with_context(cannot)?;
        half.persist(file).with_context(cannot)?;
        Ok(())
    }
}

pub(crate) fn load(file: &Path) -> Result<Option<Access>> {
    match std::fs::read(file) {
        Ok(text) => {
            // serde's error may quote the text, including the token.
            let parsed = serde_json::from_slice(&text).map_err(|error| {
                Usage(format!("{} is not a profile (line {}): log in anew", file.display(), error.line()))
            })?;
            Ok(Some(parsed))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("the profile {} cannot be read", file.display())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use std::os::unix::fs::PermissionsExt;

    use super::{Access, Missing, Token, load, merge};

    fn access(url: &str) -> Access {
        Access { url: url.parse().unwrap(), token: Token::from_text("secret==".to_owned()), ca: Some("/ca.pem".into()) }
    }

    #[test]
    fn a_profile_is_private_and_can_be_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/er/default.json");
        access("https://one.example").save(&file).unwrap();
        access("https://two.example").save(&file).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let back = load(&file).unwrap().unwrap();
        assert_eq!((back.url.as_str(), back.token.expose()), ("https://two.example/", "secret=="));
        assert!(load(&folder.path().join("other.json")).unwrap().is_none());
        std::fs::write(&file, r#"{"url":"x","token":"secret=="}"#).unwrap();
        assert!(!format!("{:?}", load(&file).unwrap_err()).contains("secret"));
    }

    #[test]
    fn a_token_is_only_sent_to_its_own_address() {
        let (one, two) = ("https://one.example".parse().ok(), "https://two.example".parse().ok());
        let saved = || Some(access("https://one.example"));
        let given = || Some(Token::from_text("other==".to_owned()));
        assert_eq!(merge(None, None, None, saved()).unwrap().token.expose(), "secret==");
        assert_eq!(merge(one, None, None, saved()).unwrap().ca.unwrap().to_str(), Some("/ca.pem"));
        let missing = merge(two.clone(), None, None, saved()).unwrap_err();
        assert!(matches!(missing, Missing::Token(what) if what.contains("ROOTCAST_TOKEN")));
        let other = merge(two, given(), None, saved()).unwrap();
        assert_eq!((other.url.as_str(), other.token.expose(), other.ca), ("https://two.example/", "other==", None));
        assert_eq!(merge(None, given(), None, None).unwrap_err(), Missing::Address);
        assert!(merge(None, None, None, None).is_err());
    }
}
