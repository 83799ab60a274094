//! What a message says: the reason, and what to do. A code alone helps nobody.

use crate::corpus::cases;
use crate::table::judge;

/// A case of the corpus, and words of its first message.
const WORDS: [(&str, &str); 19] = [
    ("everything in one line, with spaces", "line breaks are missing"),
    ("a quotation mark before the first header", "line 1: line breaks are missing: other text is in the line"),
    ("a byte order mark that was read as Latin-1", "line 1: line breaks are missing: other text is in the line"),
    ("a chain in UTF-16 behind a leaf that is not", "UTF-16"),
    (
        "TRUSTED CERTIFICATE",
        "line 1: TRUSTED CERTIFICATE where a CERTIFICATE is expected; convert it with `openssl x509 -in",
    ),
    ("PKCS #7", "openssl pkcs7"),
    ("PKCS #7 as a CERTIFICATE", "it is PKCS#7; send the certificates that `openssl pkcs7 -print_certs` extracts"),
    ("a certificate signing request", "send the certificate that the authority issued"),
    ("bytes behind a certificate", "bytes follow it"),
    ("a thirteenth month", "a date of validity in it is malformed"),
    ("GeneralizedTime without Z", "a date of validity in it is malformed"),
    ("a date as PrintableString", "a date of validity in it is malformed"),
    ("RSA of three primes", "more than two primes"),
    ("explicit parameters within a key of a named curve", "parameters are explicit"),
    ("the root's key beside certificates in one field", "not that of CN=bmc-0001.fleet.example, but of CN=Test Root"),
    ("an expired root as the only end", "send a chain that does not lead through it"),
    ("a Java keystore in place of PKCS #12", "keytool -importkeystore"),
    ("PEM in place of PKCS #12", "send PEM in certificate and private_key"),
    ("PKCS #12 whose only key has a password of its own", "a key in it has a password of its own"),
];

#[test]
fn a_message_says_what_is_wrong_and_what_to_do() {
    for (name, words) in WORDS {
        let case = cases().iter().find(|case| case.name == name).unwrap_or_else(|| panic!("{name}"));
        let said = judge(case).err().unwrap_or_else(|| panic!("{name}: imported")).to_string();
        assert!(said.contains(words), "{name}: {said}");
    }
}
