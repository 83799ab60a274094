//! Links from a device's answers: only to the device itself, and only under `/redfish/`.

use std::fmt;

use rootcast_core::device::Slot;
use rootcast_core::job::task::{ErrorClass, Failure};
use url::Url;

/// A path under `/redfish/` of the connected device, with an optional query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link(String);

/// In bytes; Redfish's own URIs are well below.
const LONGEST: usize = 1024;

impl Link {
    /// A path from the standard or a profile.
    pub(super) fn known(path: &str) -> Self {
        Self(path.to_owned())
    }

    /// Parses a link of the device at `origin`: a path, or an absolute URL with the same origin. It is checked after
    /// the URL parser has resolved dot segments, including encoded ones.
    pub(super) fn parse(text: &str, origin: &Url) -> Result<Self, Failure> {
        let foreign = || {
            let shown: String = text.chars().take(120).collect();
            let message = format!("The device links to {shown:?}, which is not a resource of its own under /redfish/.");
            Failure::new(ErrorClass::Unsupported, message)
        };
        let url = origin.join(text).map_err(|_| foreign())?;
        let own = url.origin() == origin.origin() && url.username().is_empty() && url.password().is_none();
        let absolute = text.starts_with('/') || text.starts_with("https://");
        if !own || !absolute || text.len() > LONGEST || !url.path().starts_with("/redfish/") {
            return Err(foreign());
        }
        Ok(Self(match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        }))
    }

    /// This resource's other spelling, with or without a slash at its path's end, if the device at `origin` redirects to
    /// just that.
    pub(super) fn respelt(&self, location: &str, origin: &Url) -> Option<Self> {
        let here = origin.join(&self.0).ok()?;
        let there = Self::parse(here.join(location).ok()?.as_str(), origin).ok()?;
        let there = there.path();
        let is_it = there != self.path() && there.trim_end_matches('/') == self.path().trim_end_matches('/');
        is_it.then(|| match here.query() {
            Some(query) => Self(format!("{there}?{query}")),
            None => Self(there.to_owned()),
        })
    }

    fn path(&self) -> &str {
        self.0.split('?').next().unwrap_or_default()
    }

    pub(super) fn child(&self, name: &str) -> Self {
        Self(format!("{}/{name}", self.0.trim_end_matches('/')))
    }

    /// Managers are compared: some devices write a slash at the end here, and none there.
    pub(super) fn without_slash(self) -> Self {
        Self(self.0.trim_end_matches('/').to_owned())
    }

    /// The resource above, or `None` for what only the service root is above of.
    pub(super) fn parent(&self) -> Option<Self> {
        let (above, _) = self.0.trim_end_matches('/').rsplit_once('/')?;
        (above.split('/').count() > 3).then(|| Self(above.to_owned()))
    }

    pub(super) fn with_query(&self, query: &str) -> Self {
        Self(format!("{}?{query}", self.0))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment: the id of a member.
    pub(super) fn name(&self) -> &str {
        self.0.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
    }
}

impl From<&Slot> for Link {
    fn from(slot: &Slot) -> Self {
        Self(slot.as_str().to_owned())
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn origin() -> Url {
        Url::parse("https://10.0.0.7:8443").unwrap()
    }

    #[test]
    fn own_links_are_accepted() {
        for (text, path) in [
            ("/redfish/v1/Managers/bmc", "/redfish/v1/Managers/bmc"),
            ("/redfish/v1/x?$skip=50", "/redfish/v1/x?$skip=50"),
            ("https://10.0.0.7:8443/redfish/v1/x", "/redfish/v1/x"),
            ("/redfish/v1/x/../y", "/redfish/v1/y"),
        ] {
            assert_eq!(Link::parse(text, &origin()).unwrap().as_str(), path);
        }
    }

    #[test]
    fn a_parent_lies_below_the_service_root() {
        let parent = |path| Link::known(path).parent();
        assert_eq!(parent("/redfish/v1/UpdateService/Certificates/"), Some(Link::known("/redfish/v1/UpdateService")));
        assert_eq!((parent("/redfish/v1/UpdateService"), parent("/redfish/v1")), (None, None));
    }

    #[test]
    fn foreign_links_are_refused() {
        let long = format!("/redfish/{}", "x".repeat(2000));
        for text in [
            "",
            "x",
            "redfish/v1/x",
            "/",
            "/redfish",
            "/admin",
            "//evil.example/redfish/v1",
            "https://evil.example/redfish/v1",
            "https://10.0.0.7/redfish/v1",
            "http://10.0.0.7:8443/redfish/v1",
            "https://u@10.0.0.7:8443/redfish/v1",
            "/redfish/../admin",
            "/redfish/%2e%2e/admin",
            "/redfish/..\\admin",
            "\\\\evil\\redfish\\",
            "/\\evil/redfish/",
            "javascript:alert(1)",
            "file:///redfish/x",
            &long,
        ] {
            assert!(Link::parse(text, &origin()).is_err(), "{text}");
        }
    }

    #[test]
    fn only_a_slash_may_differ_in_a_redirect() {
        let respelt = |from: &str, to: &str| Link::known(from).respelt(to, &origin()).map(|link| link.0);
        for (from, to, link) in [
            ("/redfish/v1/x", "/redfish/v1/x/", "/redfish/v1/x/"),
            ("/redfish/v1/x/", "/redfish/v1/x", "/redfish/v1/x"),
            ("/redfish/v1/x", "https://10.0.0.7:8443/redfish/v1/x/", "/redfish/v1/x/"),
            ("/redfish/v1/x", "x/", "/redfish/v1/x/"),
            ("/redfish/v1/x?$expand=.", "/redfish/v1/x/", "/redfish/v1/x/?$expand=."),
        ] {
            assert_eq!(respelt(from, to).as_deref(), Some(link), "{from} {to}");
        }
        for to in [
            "/redfish/v1/x",
            "/redfish/v1/y/",
            "/redfish/v1/x/y",
            "https://10.9.9.9/redfish/v1/x/",
            "http://10.0.0.7:8443/redfish/v1/x/",
            "//10.9.9.9:8443/redfish/v1/x/",
            "https://u@10.0.0.7:8443/redfish/v1/x/",
            "",
        ] {
            assert_eq!(respelt("/redfish/v1/x", to), None, "{to}");
        }
    }

    proptest! {
        #[test]
        fn accepted_links_stay_on_the_device(text in "(/|https:|//|\\\\|\\.\\.|redfish|%2e|@|10\\.0\\.0\\.7|:8443|[a-z?#]){0,12}") {
            if let Ok(link) = Link::parse(&text, &origin()) {
                let url = origin().join(link.as_str()).unwrap();
                prop_assert_eq!(url.origin(), origin().origin());
                prop_assert!(url.path().starts_with("/redfish/"));
            }
        }
    }
}
