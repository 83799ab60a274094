//! The wire between one process and AWS: it counts the calls, and can be cut at any call to simulate a crash.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// Where the process dies. Calls are counted from 1, over all its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Cut {
    #[default]
    Never,
    /// Before it sends this call.
    Request(usize),
    /// After it sends this call: the call takes effect, and the answer is lost.
    Answer(usize),
}

/// Shared by all clients of one process.
#[derive(Clone, Default)]
pub(crate) struct Wire {
    cut: Cut,
    sent: Arc<Mutex<Vec<String>>>,
    died: Arc<AtomicBool>,
}

impl Wire {
    pub(crate) fn cut_at(cut: Cut) -> Self {
        Self { cut, ..Self::default() }
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut != Cut::Never
    }

    /// Whether the cut was reached.
    pub(crate) fn has_died(&self) -> bool {
        self.died.load(Ordering::Relaxed)
    }

    fn die(&self, when: &'static str) -> Result<(), BoxError> {
        self.died.store(true, Ordering::Relaxed);
        Err(when.into())
    }

    /// The operations that were sent, in order.
    pub(crate) fn sent(&self) -> Vec<String> {
        self.sent.lock().unwrap().clone()
    }
}

impl Intercept for Wire {
    fn name(&self) -> &'static str {
        "Wire"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let mut sent = self.sent.lock().unwrap();
        let number = sent.len() + 1;
        match self.cut {
            Cut::Request(at) if number >= at => return self.die("the process died before it sent this"),
            Cut::Answer(at) if number > at => return self.die("the process died before it sent this"),
            _ => {}
        }
        sent.push(config.load::<Metadata>().map(|call| call.name().to_owned()).unwrap_or_default());
        Ok(())
    }

    fn read_after_transmit(
        &self,
        _: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        match self.cut {
            Cut::Answer(at) if self.sent.lock().unwrap().len() >= at => {
                self.die("the process died before it heard the answer")
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} after {:?}", self.cut, self.sent())
    }
}
