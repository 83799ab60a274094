//! The error class of each failure, and whether the device is tried again.

use rootcast_core::device::Pin;
use rootcast_core::job::task::ErrorClass;
use rootcast_ledger::Unapproved;
use rootcast_pki::fingerprint::Fingerprint;

use crate::World;
use crate::fake::{Reply, error};

/// The fault, its class, and how often the password is sent to the device.
type Case = (fn(&World), ErrorClass, usize);

fn refuses(world: &World, status: u16) {
    world.fake.fault(move |request, state| request.is("POST", state.collection()).then(|| error(status, "No.")));
}

fn move_to(world: &World, address: &str) {
    let mut device = world.device();
    device.address = address.parse().unwrap();
    world.aws.set_device(&device);
}

/// The device names another parameter, which does not say for which addresses it is.
fn named(world: &World, credential: &str) {
    let mut device = world.device();
    device.credential = credential.to_owned();
    world.aws.set_device(&device);
}

/// Somebody has changed the device, and nobody has approved it.
fn unapproved(world: &World) {
    let mut device = world.device();
    device.unapproved = Some(Unapproved { by: "eve".to_owned(), at: crate::now(), formerly: None });
    world.aws.set_device(&device);
}

#[tokio::test]
async fn permanent_failures_fail_the_task_at_once() {
    let cases: [Case; 7] = [
        (|world| named(world, "/rootcast/devices/bmc-2"), ErrorClass::Credential, 0),
        (|world| unapproved(world), ErrorClass::Unapproved, 0),
        (|world| world.password("tr0ub4dor-and-3"), ErrorClass::Unauthorized, 1),
        (|world| world.aws.state().parameter.clear(), ErrorClass::Credential, 0),
        (|world| move_to(world, "https://192.0.2.1"), ErrorClass::AddressRefused, 0),
        (|world| refuses(world, 400), ErrorClass::Rejected, 1),
        (
            |world| {
                let mut device = world.device();
                device.pins = vec![Pin::Key(Fingerprint::from_bytes([1; 32]))];
                world.aws.set_device(&device);
            },
            ErrorClass::PinMismatch,
            0,
        ),
    ];
    for (spoil, class, log_ins) in cases {
        let world = World::new().await;
        spoil(&world);
        assert!(world.deliver().await, "{class:?}");
        world.assert_failed(class);
        assert_eq!(crate::log_ins(&world.fake.requests()), log_ins, "{class:?}");
        assert_eq!(world.device().lease, None, "{class:?}");
    }
}

#[tokio::test]
async fn transient_failures_are_tried_again() {
    let cases: [Case; 4] = [
        (|world| move_to(world, "https://127.0.0.1:1"), ErrorClass::Connect, 0),
        (|world| refuses(world, 503), ErrorClass::Throttled, 1),
        (|world| refuses(world, 500), ErrorClass::ServerError, 1),
        (
            |world| {
                world.fake.fault(|request, state| request.is("POST", state.collection()).then(|| Reply::status(204)))
            },
            ErrorClass::NotStored,
            1,
        ),
    ];
    for (spoil, class, log_ins) in cases {
        let world = World::new().await;
        spoil(&world);
        assert!(!world.deliver().await, "{class:?}");
        let tries = world.tries().unwrap();
        assert_eq!((tries.failure.class, tries.count), (class, 1));
        assert_eq!(world.task(), None, "{class:?}");
        assert_eq!(crate::log_ins(&world.fake.requests()), log_ins, "{class:?}");
    }
}
