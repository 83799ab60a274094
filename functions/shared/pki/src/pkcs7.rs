//! Certificates without a key, as PKCS #7.

use std::collections::BTreeSet;

use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{EncapsulatedContentInfo, SignerInfos};
use const_oid::db::rfc5911::{ID_DATA, ID_SIGNED_DATA};
use der::asn1::{Any, SetOfVec};
use der::{Encode, Tag, TagNumber};

use crate::certificate::Certificate;

/// A degenerate SignedData without content and signers (RFC 5652 §5.1, RFC 7030 §4.1.3). As a set, it has no order but
/// DER's: by the octets of each certificate (X.690 §11.6). `cms` would order them by their fields.
pub fn certs_only<'a>(certificates: impl IntoIterator<Item = &'a Certificate>) -> Result<Vec<u8>, der::Error> {
    let set: BTreeSet<&[u8]> = certificates.into_iter().map(Certificate::der).collect();
    let certificates = Tag::ContextSpecific { constructed: true, number: TagNumber::N0 };
    let signed = [
        CmsVersion::V1.to_der()?,
        SetOfVec::<Any>::new().to_der()?,
        EncapsulatedContentInfo { econtent_type: ID_DATA, econtent: None }.to_der()?,
        Any::new(certificates, set.into_iter().collect::<Vec<_>>().concat())?.to_der()?,
        SignerInfos(SetOfVec::new()).to_der()?,
    ];
    ContentInfo { content_type: ID_SIGNED_DATA, content: Any::new(Tag::Sequence, signed.concat())? }.to_der()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use cms::signed_data::SignedData;
    use der::Decode;

    use super::*;

    fn anchor(algorithm: &'static rcgen::SignatureAlgorithm) -> Certificate {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        Certificate::from_der(params.self_signed(&key).unwrap().der().to_vec()).unwrap()
    }

    #[test]
    fn certs_only_holds_the_certificates_byte_for_byte() {
        let given = [anchor(&rcgen::PKCS_ECDSA_P256_SHA256), anchor(&rcgen::PKCS_ECDSA_P384_SHA384)];
        let info = ContentInfo::from_der(&certs_only(&given).unwrap()).unwrap();
        assert_eq!(info.content_type, ID_SIGNED_DATA);
        let signed: SignedData = info.content.decode_as().unwrap();
        assert!(signed.signer_infos.0.is_empty() && signed.encap_content_info.econtent.is_none());
        let mut found: Vec<Vec<u8>> = signed.certificates.unwrap().0.iter().map(|one| one.to_der().unwrap()).collect();
        let mut expected: Vec<Vec<u8>> = given.iter().map(|one| one.der().to_vec()).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn certificates_are_in_the_order_of_their_octets() {
        for _ in 0..8 {
            let given: Vec<_> = (0..4).map(|_| anchor(&rcgen::PKCS_ECDSA_P256_SHA256)).collect();
            let der = certs_only(given.iter().rev().chain(&given)).unwrap();
            let mut sorted: Vec<&[u8]> = given.iter().map(Certificate::der).collect();
            sorted.sort_unstable();
            let all = sorted.concat();
            assert!(der.windows(all.len()).any(|part| part == all), "{}", hex::encode(der));
        }
    }
}
