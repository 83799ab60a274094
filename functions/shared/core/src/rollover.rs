//! The move of a fleet from one root to the next: the next step, when the new root signs, and the job's record.

pub mod compromise;
pub mod generation;
pub mod plan;
pub mod reissue;
pub mod renewal;
pub mod restore;
pub mod retirement;
pub mod rollout;
pub mod rotation;
pub mod survey;
pub mod template;
pub mod transition;
pub mod windows;
