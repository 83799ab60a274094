//! Certificates without a key, as PKCS #7.

use cms::cert::CertificateChoices;
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{CertificateSet, EncapsulatedContentInfo, SignedData, SignerInfos};
use const_oid::db::rfc5911::{ID_DATA, ID_SIGNED_DATA};
use der::asn1::{Any, SetOfVec};
use der::{Decode, Encode};

use crate::certificate::Certificate;

/// A degenerate SignedData without content and signers (RFC 5652 §5.1, RFC 7030 §4.1.3). As a set, it has no order.
pub fn certs_only<'a>(certificates: impl IntoIterator<Item = &'a Certificate>) -> Result<Vec<u8>, der::Error> {
    let mut set = SetOfVec::new();
    for certificate in certificates {
        set.insert(CertificateChoices::Certificate(x509_cert::Certificate::from_der(certificate.der())?))?;
    }
    let signed = SignedData {
        version: CmsVersion::V1,
        digest_algorithms: SetOfVec::new(),
        encap_content_info: EncapsulatedContentInfo { econtent_type: ID_DATA, econtent: None },
        certificates: Some(CertificateSet(set)),
        crls: None,
        signer_infos: SignerInfos(SetOfVec::new()),
    };
    ContentInfo { content_type: ID_SIGNED_DATA, content: Any::encode_from(&signed)? }.to_der()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
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
}
