//! Differences to other readers of certificates, and their reasons.

use self::Reader::{OpenSsl, Python, SomeOpenSsl};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reader {
    OpenSsl,
    /// Some releases of OpenSSL since 3.0.
    SomeOpenSsl,
    Python,
}

const NO_NAMES: &str = "without -verify_hostname OpenSSL looks at no name, except for name constraints";
const SAN: &str = "the web's profile wants a SAN; devices of a rack are known by their CN";
const EXTENDED: &str = "it is good for a TLS client, which is what some devices are";
const IDENTIFIERS: &str = "Python ignores key identifiers, and finds the issuer by name and signature";
const STRICT: &str = "the strict profiles want what RFC 5280 asks of who issues, not of who reads: nobody is misled";
const ML_DSA: &str = "OpenSSL knows ML-DSA from 3.5 on";
const LEAF_KEY: &str = "Python checks the keys of issuers, not the leaf's";
const OURS: &str = "a limit of ours, so that hostile input ends early";
const FIRST_KEY: &str = "it takes the first key and leaves the rest, which may be the one that is meant";

const LABEL: &str = "Python goes by the label; OpenSSL goes by the content, as we do";
const SAME_POINT: &str = "neither reads a point outside of the key; it is the key's own, which is checked";

const SIGNING: &str =
    "a key that is not RSA can only sign in TLS (RFC 8446 §4.4.2.2): browsers refuse it once it is deployed";
const EMPTY: &str =
    "RFC 5280 §4.2.1.10 wants a subtree in each list; what an empty list means, no two readers agree on";
const CLOSED: &str = "what cannot be compared with a constraint is refused";
const DIRECTORY: &str = "Python does no directory names in constraints";
const MAIL: &str = "Python compares only the names that TLS asks for";
const POLICIES: &str = "no policy is required here, and what is critical and not known is refused";
const BYTES: &str = "RFC 5280 §7.1 folds case and spaces, and OpenSSL does; Python compares bytes, as rustls and Go do";
const BER: &str = "OpenSSL reads BER; signatures are over DER";
const PSS: &str = "few devices take such a key, and AWS-LC signs with none; Python takes it for any RSA key";

const ANCHOR: &str =
    "Python takes any certificate for an anchor; ours are roots, and an issuing authority leads to one";

/// The case in the corpus, the reader that differs from us, and the reason.
pub(super) const DIFFERENCES: &[(&str, Reader, &str)] = &[
    ("own issuing authority whose root is ours no more", Python, ANCHOR),
    // Names.
    ("CN is a host name, no SAN", Python, SAN),
    ("CN is a wildcard, no SAN", Python, SAN),
    ("CN is an IPv4 address, no SAN", Python, SAN),
    ("CN is an IPv6 address, no SAN", Python, SAN),
    ("CN has an underscore, no SAN", Python, SAN),
    ("only a CN, and it is inside", Python, SAN),
    ("CN is no host name, no SAN", OpenSsl, NO_NAMES),
    ("CN has a wildcard in the middle, no SAN", OpenSsl, NO_NAMES),
    ("CN is empty, no SAN", OpenSsl, NO_NAMES),
    ("no CN, no SAN", OpenSsl, NO_NAMES),
    ("SAN of an e-mail address only, CN is no host name", OpenSsl, NO_NAMES),
    ("SAN with an address of five octets", OpenSsl, NO_NAMES),
    ("a subject of forty thousand letters", OpenSsl, NO_NAMES),
    ("a subject of control characters", OpenSsl, NO_NAMES),
    ("a host name with a NUL in it", OpenSsl, NO_NAMES),
    ("a host name that is no ASCII", OpenSsl, NO_NAMES),
    ("names differ in case only", Python, BYTES),
    ("names differ in spaces and in the type of a string", Python, BYTES),
    ("CN as PrintableString, no SAN", Python, SAN),
    ("CN as IA5String, no SAN", Python, SAN),
    ("two CNs, the last a host name, no SAN", Python, SAN),
    ("CN as BMPString, no SAN", Python, SAN),
    ("TeletexString in the issuer, UTF8String in the leaf", Python, BYTES),
    ("BMPString in the issuer, UTF8String in the leaf", Python, BYTES),
    ("two CNs, only the first a host name, no SAN", OpenSsl, NO_NAMES),
    ("the SAN has a name with a dot at its end", OpenSsl, NO_NAMES),
    ("the SAN has a bare wildcard", OpenSsl, NO_NAMES),
    ("the SAN has an IPv4 address as a host name", OpenSsl, NO_NAMES),
    (
        "the SAN has an IPv4 address as a host name",
        Python,
        "Python looks only at the name that is asked for; no client finds an address there",
    ),
    ("an empty SAN, CN is a host name", OpenSsl, STRICT),
    ("an empty SAN, CN is a host name", Python, SAN),
    ("an address as a DNS name beside another address", OpenSsl, NO_NAMES),
    (
        "an address as a DNS name beside another address",
        Python,
        "Python looks only at the name that is asked for; no client finds an address there",
    ),
    // What the leaf is.
    ("valid until this second", OpenSsl, "for OpenSSL notAfter is over when it comes; RFC 5280 §4.1.2.5 includes it"),
    ("a certificate authority as the leaf", OpenSsl, "OpenSSL lets an authority be a server"),
    ("leaf for clients only", OpenSsl, EXTENDED),
    ("leaf for clients only", Python, EXTENDED),
    ("RSA that signs, for clients", OpenSsl, EXTENDED),
    ("RSA that signs, for clients", Python, EXTENDED),
    ("an issuer that leaves one purpose of two", OpenSsl, EXTENDED),
    ("an issuer that leaves one purpose of two", Python, EXTENDED),
    ("EC that may only encipher keys", OpenSsl, SIGNING),
    ("EC that may only encipher keys", Python, SIGNING),
    ("EC that may only agree on keys", OpenSsl, SIGNING),
    ("EC that may only agree on keys", Python, SIGNING),
    ("Ed25519 that may only encipher keys", OpenSsl, SIGNING),
    ("Ed25519 that may only encipher keys", Python, SIGNING),
    ("dates before 2050 as GeneralizedTime", Python, STRICT),
    ("leaf whose key may only sign CRLs", Python, "Python does not look at a leaf's keyUsage"),
    ("leaf of X.509 version 1", OpenSsl, "OpenSSL has no opinion of versions"),
    ("leaf with an unknown extension twice", OpenSsl, "OpenSSL counts only the extensions that it knows"),
    (
        "leaf with critical certificatePolicies",
        Python,
        "Python does no policies; a policy limits nobody who asks for none",
    ),
    ("critical certificatePolicies with the address of a statement", Python, POLICIES),
    ("critical certificatePolicies with an unknown qualifier", OpenSsl, POLICIES),
    ("certificatePolicies with an unknown qualifier", Python, "Python wants to know each qualifier's type"),
    ("critical policyConstraints", OpenSsl, POLICIES),
    ("critical cRLDistributionPoints", Python, "Python reads no distribution points; whoever checks revocation does"),
    ("a critical SKI", Python, "RFC 5280 §4.2.1.2 forbids it, and rustls refuses it; Python ignores key identifiers"),
    ("a serial number of a thousand octets", Python, STRICT),
    // Keys and signatures.
    ("leaf with 1024 bits of RSA", Python, LEAF_KEY),
    ("leaf on secp256k1", Python, LEAF_KEY),
    ("leaf on secp256k1", OpenSsl, "OpenSSL knows the curve; AWS-LC's TLS, and rustls, do not"),
    ("P-521 above Ed25519 above P-256", Python, "the web's profile has no Ed25519 in issuers"),
    ("ML-DSA-44", SomeOpenSsl, ML_DSA),
    ("ML-DSA-65", SomeOpenSsl, ML_DSA),
    ("ML-DSA-87", SomeOpenSsl, ML_DSA),
    (
        "the root's own signature is broken",
        Python,
        "Python trusts an anchor as it is; who sends a broken one should know",
    ),
    // Identifiers and extensions.
    ("leaf with another AKI", Python, IDENTIFIERS),
    ("intermediate with another AKI", Python, IDENTIFIERS),
    ("leaf without AKI", OpenSsl, STRICT),
    ("leaf without AKI", Python, STRICT),
    ("authorities without SKI", OpenSsl, STRICT),
    ("authorities without SKI", Python, STRICT),
    ("basicConstraints not critical", OpenSsl, STRICT),
    ("basicConstraints not critical", Python, STRICT),
    ("intermediate without keyUsage", OpenSsl, STRICT),
    ("intermediate without keyUsage", Python, STRICT),
    ("AKI without an identifier", OpenSsl, STRICT),
    ("no extensions, but a field for them", OpenSsl, STRICT),
    ("no extensions, but a field for them", Python, SAN),
    ("a leaf with a pathLen", OpenSsl, STRICT),
    ("a leaf with a pathLen", Python, STRICT),
    (
        "AKI with another issuer and serial number",
        OpenSsl,
        "OpenSSL compares them as well; an issuer that was cross-signed has several, and RFC 5280 §4.2.1.1 leaves it open",
    ),
    ("keyUsage of nothing", Python, "Python does not look at a leaf's keyUsage"),
    ("a pathLen of eight octets", OpenSsl, "it is no length of any path, and ours has four octets"),
    ("a pathLen of eight octets", Python, "it is no length of any path, and ours has four octets"),
    ("cA is neither true nor false", OpenSsl, BER),
    ("bytes behind basicConstraints", OpenSsl, "OpenSSL ignores what follows a value, and others may not"),
    // Paths.
    (
        "cross-signed intermediate, only the second leads to a root",
        OpenSsl,
        "OpenSSL does not step back from an issuer that leads nowhere",
    ),
    (
        "pathLen 0 above a self-issued certificate, which does not count",
        Python,
        "Python counts self-issued certificates as well; RFC 5280 §4.2.1.9 does not",
    ),
    ("root of X.509 version 1", OpenSsl, "without -x509_strict OpenSSL takes it as an anchor, as RFC 5280 §6.1.1 does"),
    ("root of X.509 version 1", Python, STRICT),
    (
        "two issuers of one key, and the one that the AKI names is expired",
        OpenSsl,
        "OpenSSL insists on the issuer and serial number of the AKI; RFC 5280 §4.2.1.1 leaves it open",
    ),
    ("a chain of twelve", OpenSsl, OURS),
    ("a chain of forty", OpenSsl, OURS),
    // Name constraints.
    ("permitted: everything", Python, "Python finds an empty DNS name malformed; RFC 5280 adds labels to it"),
    (
        "excluded: what a wildcard covers",
        OpenSsl,
        "OpenSSL compares the wildcard as if it were a name, and the excluded host would be served",
    ),
    ("permitted: the organisation of the subject", Python, DIRECTORY),
    (
        "CN is an address outside the permitted ones, no SAN",
        OpenSsl,
        "OpenSSL compares a CN with constraints of host names only; who connects to the address takes it",
    ),
    (
        "permitted: a domain with a dot before it",
        Python,
        "Python wants RFC 5280's form; many authorities write the dot",
    ),
    (
        "permitted: a mask with holes",
        OpenSsl,
        "OpenSSL compares bit by bit; RFC 5280 wants a mask as RFC 4632 has them",
    ),
    ("constraints of nothing", OpenSsl, EMPTY),
    ("constraints that permit no subtree", OpenSsl, EMPTY),
    ("constraints that exclude no subtree beside a permitted one", OpenSsl, EMPTY),
    ("constraints that exclude no subtree beside a permitted one", Python, EMPTY),
    ("permitted: the organisation in other letters and another string", Python, DIRECTORY),
    ("permitted: the same organisation, which cannot be read", Python, DIRECTORY),
    ("excluded: a mail address, and the leaf's is quoted", OpenSsl, CLOSED),
    ("excluded: the host of a mail address with two signs", OpenSsl, CLOSED),
    ("excluded: a domain with a dot at its end", OpenSsl, CLOSED),
    ("excluded: the mail address of the subject", Python, MAIL),
    ("excluded: a mail address, and the subject's cannot be read", Python, MAIL),
    ("excluded: a mail address, and the leaf's is internationalized", Python, MAIL),
    ("permitted: a domain, and the CN beside an address is another's", Python, SAN),
    ("excluded: the domain of the CN beside an address", Python, SAN),
    // Writing.
    (
        "Ed25519 with its public key tagged explicitly, as ring wrote it",
        SomeOpenSsl,
        "OpenSSL does not read version 2 of PKCS #8",
    ),
    (
        "Ed25519 with its public key tagged explicitly, as ring wrote it",
        Python,
        "Python does not read version 2 of PKCS #8",
    ),
    (
        "RSA in PKCS #8 with something else than NULL",
        OpenSsl,
        "OpenSSL ignores the parameters; RFC 8017 A.1 wants NULL",
    ),
    ("a scalar without its leading zero", Python, "Python wants RFC 5915's length; old OpenSSL wrote others"),
    ("a scalar with a zero in front", Python, "Python wants RFC 5915's length; mbed TLS wrote others"),
    ("a length without end", OpenSsl, BER),
    ("SEC 1 whose curve is only in EC PARAMETERS", OpenSsl, "OpenSSL writes that block and does not read it"),
    ("SEC 1 whose curve is only in EC PARAMETERS", Python, "Python wants the curve in the key"),
    ("RSA that may only sign with PSS", Python, PSS),
    ("the leaf's RSA key may only sign with PSS", Python, PSS),
    ("PKCS #8 of version 7", OpenSsl, "OpenSSL does not look at the version; there are two (RFC 5958 §2)"),
    (
        "a compressed point",
        OpenSsl,
        "it writes the key's point uncompressed: the same key in other bytes, which we compare",
    ),
    ("bytes behind the key", OpenSsl, "OpenSSL ignores what follows a key; we do not store what nobody has read"),
    ("PKCS #8 of a curve that calls itself PKCS #1", Python, LABEL),
    ("PKCS #8 of RSA that calls itself PKCS #1", Python, LABEL),
    ("PKCS #1 that calls itself PKCS #8", Python, LABEL),
    ("SEC 1 that calls itself PKCS #8", Python, LABEL),
    ("PKCS #8 of version 2 without a public key", Python, "Python does not read version 2 of PKCS #8"),
    ("PKCS #8 with a compressed point outside of the key", OpenSsl, SAME_POINT),
    ("PKCS #8 with a compressed point outside of the key", Python, SAME_POINT),
    (
        "a scalar with two zeros in front",
        OpenSsl,
        "one zero is how some wrote an INTEGER; what wrote two is not known, and may have lost octets",
    ),
    ("Ed25519 with its public key (RFC 5958)", SomeOpenSsl, "OpenSSL does not read version 2 of PKCS #8"),
    ("Ed25519 with its public key (RFC 5958)", Python, "Python does not read version 2 of PKCS #8"),
    ("two keys", OpenSsl, FIRST_KEY),
    ("two keys", Python, FIRST_KEY),
    // Sizes.
    ("a key of a byte more than 16 KiB", OpenSsl, OURS),
    ("a key of a byte more than 16 KiB", Python, OURS),
    ("three thousand names", OpenSsl, OURS),
    ("three thousand names", Python, OURS),
    ("a thousand names against a thousand constraints", OpenSsl, OURS),
    ("a thousand names against a thousand constraints", Python, OURS),
];
