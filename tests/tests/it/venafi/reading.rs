//! List, show and retrieve; and renewals that are refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rootcast_pki::certificate::{Certificate, split_pem_bundle};
use serde_json::json;

use super::{details, done, listed, refused};
use crate::import::pki::Bundle;
use crate::stack::Stack;

#[tokio::test]
async fn certificates_are_listed_shown_and_retrieved() {
    Stack::run(0, async |stack| {
        let bundles =
            [Bundle::new("one.example.com"), Bundle::new("two.example.com"), Bundle::new("three.example.com")];
        let mut ids = Vec::new();
        for (name, bundle) in ["one", "two", "three"].iter().zip(&bundles) {
            ids.push(stack.import(name, bundle).await);
        }
        let mut all = listed(stack, "").await;
        all.sort();
        assert_eq!(all, ["one", "three", "two"]);
        let mut paged = Vec::new();
        for offset in 0..4 {
            paged.extend(listed(stack, &format!("?Limit=1&Offset={offset}")).await);
        }
        paged.sort();
        assert_eq!(paged, all);
        assert_eq!(listed(stack, "?CN=TWO.example.com").await, ["two"]);
        assert_eq!(listed(stack, r"?ParentDn=%5CVED%5CPolicy%5CCertificates&Name=one").await, ["one"]);
        assert_eq!(listed(stack, r"?ParentDn=%5CVED%5CPolicy%5CElsewhere").await, [""; 0]);
        assert_eq!(listed(stack, "?InError=1").await, [""; 0]);

        let leaf = Certificate::from_der(bundles[1].leaf_der.clone()).unwrap();
        assert_eq!(listed(stack, &format!("?Thumbprint={}", leaf.thumbprint())).await, ["two"]);
        let page = stack.api.get("/vedsdk/certificates?Name=two").await.json();
        let one = &page["Certificates"][0];
        assert_eq!(page["DataRange"], "Certificates 1 - 1");
        let link = one["_links"][0]["Details"].as_str().unwrap();
        let linked = stack.api.get(link).await.json();
        assert_eq!(linked, details(stack, ids[1]).await);
        assert_eq!((&linked["Guid"], &linked["DN"]), (&one["Guid"], &one["DN"]));
        assert_eq!(linked["CertificateDetails"]["Thumbprint"], leaf.thumbprint());
        assert_eq!(linked["ProcessingDetails"], json!({ "InError": false, "Stage": null, "Status": "" }));
        let nothing = stack.api.get("/vedsdk/certificates/%7B726f6f74-6361-8000-8000-000000000000%7D").await;
        assert_eq!(nothing.status, 400, "{nothing:?}");

        let chain = json!({ "Format": "Base64", "IncludeChain": true, "RootFirstOrder": true, "FriendlyName": "" });
        let given = done(stack, "Retrieve", "two", chain).await;
        assert_eq!((&given["Filename"], &given["Format"]), (&json!("two.cer"), &json!("Base64")));
        let pem = String::from_utf8(STANDARD.decode(given["CertificateData"].as_str().unwrap()).unwrap()).unwrap();
        let certificates = split_pem_bundle(&pem).unwrap();
        assert_eq!((certificates.len(), certificates.last()), (3, Some(&leaf)));
        let path = r"/vedsdk/Certificates/Retrieve?CertificateDN=%5CVED%5CPolicy%5CCertificates%5Ctwo&Format=Base64";
        let file = stack.api.get(path).await;
        assert_eq!(file.headers["content-type"], "application/x-pem-file");
        assert_eq!(split_pem_bundle(file.raw()).unwrap(), [leaf]);

        let text = refused(stack, "Retrieve", "two", json!({ "Format": "PKCS #12" })).await;
        assert!(text.contains("export-key"), "{text}");
        let text = refused(stack, "Renew", "two", json!({})).await;
        assert!(text.contains("import"), "{text}");
        let text = refused(stack, "Revoke", "two", json!({ "Reason": 1 })).await;
        assert!(text.contains("was not signed by one of our authorities"), "{text}");
    })
    .await;
}
