//! For which purposes a certificate is imported.

use rootcast_pki::import::{LeafKey, Purposes, check};

use crate::corpus::certificate::TODAY;
use crate::corpus::{Input, cases};
use crate::table::material;

const BOTH: Purposes = Purposes { server: true, client: true };
const SERVER: Purposes = Purposes { server: true, client: false };
const CLIENT: Purposes = Purposes { server: false, client: true };

#[test]
fn usages_along_the_path_decide_the_purposes() {
    for (name, expected) in [
        ("leaf, intermediate and root", SERVER),
        ("leaf without extendedKeyUsage", BOTH),
        ("leaf for servers and clients", BOTH),
        ("leaf for clients only", CLIENT),
        ("RSA that may only encipher keys, for servers", SERVER),
        ("RSA that signs, for clients", CLIENT),
        ("an issuer that leaves one purpose of two", CLIENT),
    ] {
        let case = cases().iter().find(|case| case.name == name).unwrap();
        assert!(matches!(case.input, Input::Pem { .. }));
        let checked = check(&material(&case.input), &[], TODAY).unwrap();
        assert_eq!(checked.purposes, expected, "{name}");
        assert_eq!(Purposes::of(&checked.leaf, &checked.chain), expected, "{name}, as it is stored");
    }
    let of = |name| {
        let case = cases().iter().find(|case| case.name == name).unwrap();
        LeafKey::of(&check(&material(&case.input), &[], TODAY).unwrap().leaf).unwrap()
    };
    assert!(of("ML-DSA-65").is_post_quantum() && !of("P-384").is_post_quantum());
    assert_eq!([BOTH, SERVER, CLIENT].map(|each| each.to_string()), ["server and client", "server", "client"]);
}
