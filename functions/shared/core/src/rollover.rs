//! A fleet's way from one root to the next: what is done next, when the new root signs, and what its record says.

pub mod generation;
pub mod plan;
pub mod restore;
pub mod rollout;
pub mod survey;
pub mod transition;
