//! The life of a root generation, from the reserved record to the scheduled deletion of its key.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::deployment::lifecycle::{Lifecycle, Stage};

/// State of a root generation. RFC 9810 §4.4 names the certificates; the `phase` of a job names the steps between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GenerationState {
    /// Serial, dates and algorithm are recorded. There may be a key, but no certificate yet.
    Reserved,
    /// The certificate is in the bundle and on its way to the devices. It signs no certificates yet.
    Published,
    /// The root that signs certificates.
    Signing,
    /// Signed before. Still trusted, but signs only its last CRL.
    Superseded,
    /// Removed from the bundle and from the devices.
    Distrusted,
    /// Its key is disabled and scheduled for deletion.
    Retired,
    /// Its rollover was aborted before it signed anything. Its key is scheduled for deletion.
    Abandoned,
}

impl GenerationState {
    /// Whether devices should trust this generation. The live generations are the bundle's anchors, and sign the
    /// published bundle.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Published | Self::Signing | Self::Superseded)
    }

    /// Whether it signed once, and devices should no longer trust it.
    pub const fn has_left(self) -> bool {
        matches!(self, Self::Distrusted | Self::Retired)
    }
}

/// The part of a root's record that changes during its life. Every step is idempotent: a step that was done before a
/// crash is neither done nor recorded again.
#[derive(Debug)]
pub struct RootLife<'a> {
    pub state: &'a mut GenerationState,
    /// The work until the root signs.
    pub lifecycle: &'a mut Lifecycle,
}

impl RootLife<'_> {
    /// Records that all stages before `stage` are done.
    pub fn reach(self, stage: Stage, status: &str, at: OffsetDateTime) {
        if let Ok(next) = self.lifecycle.advance(self.lifecycle.attempt, stage, status, at) {
            *self.lifecycle = next;
        }
    }

    /// The root is in the bundle, and a job installs it on the devices.
    pub fn publish(self, at: OffsetDateTime) {
        *self.state = GenerationState::Published;
        self.reach(Stage::UpdateTrustStore, "It is published, and on its way to the devices.", at);
    }

    fn sign(self, at: OffsetDateTime) {
        *self.state = GenerationState::Signing;
        if let Ok(next) = self.lifecycle.finish(self.lifecycle.attempt, "The root signs.", at) {
            *self.lifecycle = next;
        }
    }

    /// The root will never sign.
    pub fn abandon(self, at: OffsetDateTime) {
        *self.state = GenerationState::Abandoned;
        if let Ok(given_up) = self.lifecycle.reset("Its rollover was aborted before it signed anything.", at) {
            *self.lifecycle = given_up;
        }
    }
}

/// Switches the records: `new`, of this generation, signs from now on; `old` signs no more certificates.
pub fn activate(
    signing: &mut Option<u32>,
    generation: u32,
    new: RootLife<'_>,
    old: Option<RootLife<'_>>,
    at: OffsetDateTime,
) {
    *signing = Some(generation);
    new.sign(at);
    if let Some(old) = old {
        *old.state = GenerationState::Superseded;
    }
}

/// Switches back: `old`, of this generation, signs again. `new` signs no more certificates, and stays trusted.
pub fn roll_back(signing: &mut Option<u32>, generation: u32, old: RootLife<'_>, new: RootLife<'_>, at: OffsetDateTime) {
    *signing = Some(generation);
    old.sign(at);
    *new.state = GenerationState::Superseded;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::lifecycle::Work;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    /// The part of a root's record that changes.
    #[derive(Debug, Clone, PartialEq)]
    struct Root(GenerationState, Lifecycle);

    impl Root {
        /// A root whose certificate was just signed.
        fn signed() -> Self {
            let lifecycle = Lifecycle::idle(Work::Root, "").begin(Work::Root, "Its key is to be made.", NOW);
            let mut root = Self(GenerationState::Reserved, lifecycle);
            root.life().reach(Stage::RetrieveCertificate, "What is to be signed is on record.", NOW);
            root
        }

        fn life(&mut self) -> RootLife<'_> {
            RootLife { state: &mut self.0, lifecycle: &mut self.1 }
        }

        fn stands(&self) -> (GenerationState, Option<Stage>, &str) {
            (self.0, self.1.stage, &self.1.status)
        }
    }

    /// Takes the step twice, and checks that the second time changes nothing.
    fn twice(mut root: Root, step: impl Fn(RootLife<'_>)) -> Root {
        step(root.life());
        let once = root.clone();
        step(root.life());
        assert_eq!(root, once);
        root
    }

    #[test]
    fn a_published_root_is_on_its_way_to_the_devices() {
        let root = twice(Root::signed(), |root| root.publish(NOW));
        let status = "It is published, and on its way to the devices.";
        assert_eq!(root.stands(), (GenerationState::Published, Some(Stage::UpdateTrustStore), status));
    }

    #[test]
    fn the_switch_moves_the_pointer_and_supersedes_the_old_root() {
        let first = twice(Root::signed(), |root| activate(&mut None, 1, root, None, NOW));
        assert_eq!(first.stands(), (GenerationState::Signing, None, "The root signs."));
        let published = twice(Root::signed(), |root| root.publish(NOW));
        // With a job and without one: without a job, the root was never published.
        for new in [published, Root::signed()] {
            let (mut new, mut old, mut signing) = (new, first.clone(), Some(1));
            activate(&mut signing, 2, new.life(), Some(old.life()), NOW);
            assert_eq!((signing, new.stands()), (Some(2), (GenerationState::Signing, None, "The root signs.")));
            assert_eq!((old.0, &old.1), (GenerationState::Superseded, &first.1));
        }
    }

    #[test]
    fn a_switch_back_supersedes_the_new_root() {
        let mut old = twice(Root::signed(), |root| activate(&mut None, 1, root, None, NOW));
        let (mut new, mut signing) = (Root::signed(), Some(1));
        activate(&mut signing, 2, new.life(), Some(old.life()), NOW);
        for _ in 0..2 {
            roll_back(&mut signing, 1, old.life(), new.life(), NOW);
            assert_eq!((signing, old.0, new.0), (Some(1), GenerationState::Signing, GenerationState::Superseded));
        }
    }

    #[test]
    fn an_abandoned_root_has_no_work_left() {
        let published = twice(Root::signed(), |root| root.publish(NOW));
        let root = twice(published, |root| root.abandon(NOW));
        let status = "Its rollover was aborted before it signed anything.";
        assert_eq!(root.stands(), (GenerationState::Abandoned, None, status));
        assert!(!root.0.is_live());
    }
}
