//! Issuance without faults.

use rootcast_core::device::Pin;
use rootcast_core::job::task::ALONE;
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::json;
use time::OffsetDateTime;

use super::{asked, begin, binding, deployed, device, dn};
use crate::authority::openssl;
use crate::fake::Model;
use crate::rollover::signing;
use crate::stack::Stack;

#[tokio::test]
async fn devices_show_our_certificates_for_keys_they_made() {
    Stack::run(0, async |stack| {
        stack.found().await;
        let root = signing(stack).await;
        let suffixes = ["example", "bmc", "standard", "xcc"];
        let rule = json!({ "dnsSuffixes": suffixes, "networks": ["127.0.0.1"], "attributes": ["O=Example Corp,C=DE"] });
        stack.permit(rule).await;
        for (id, model) in [("bmc", Model::OpenBmc), ("standard", Model::Dmtf { expand: false }), ("xcc", Model::Xcc)] {
            let fake = device(stack, id, model).await;
            let name = format!("{id}.example");
            let subject = json!({ "commonName": id, "attributes": "O=Example Corp,C=DE", "dnsNames": [name], "ipAddresses": ["127.0.0.1"] });
            stack.api.patch(&format!("/devices/{id}"), json!({ "subject": subject })).await.response();
            let job = begin(stack, id).await;
            let record = deployed(stack, &job).await;
            assert_eq!(asked(&fake), (1, 1), "{id}");
            assert_eq!((record.key.as_ref(), record.dn()), (None, dn(id)));
            // Said of a device that serves only its leaf, and of no other.
            let told = binding(stack, &job).await.lifecycle;
            assert_eq!(told.status.ends_with(ALONE), id == "xcc", "{id}: {told:?}");
            let shown = stack.api.get(&format!("/devices/{id}/certificate")).await.response();
            assert_eq!(shown["status"], told.status);
            let chain: Vec<_> = record.chain.iter().collect();
            openssl::verify(&[&root], &record.leaf, &chain, OffsetDateTime::now_utc()).unwrap();
            assert_eq!(record.names, [name.as_str(), "127.0.0.1"]);
            let text = openssl::text(&record.leaf);
            for said in [
                format!("Subject: CN={id},O=Example Corp,C=DE\n"),
                format!("DNS:{name}, IP Address:127.0.0.1"),
                "TLS Web Server Authentication\n".to_owned(),
                "URI:".to_owned(),
            ] {
                assert!(text.contains(&said), "{said:?} is missing: {text}");
            }
            assert!(!text.contains("Unspecified") && !text.contains("ZZ"), "the request was believed: {text}");

            // The next certificate has the same id and name, and another key.
            let next = begin(stack, id).await;
            assert_eq!(next.certificate, job.certificate);
            let renewed = deployed(stack, &next).await;
            assert_eq!(asked(&fake), (1, 1), "{id}");
            assert_eq!((renewed.id, &renewed.name), (record.id, &record.name));
            assert_ne!((renewed.spki, renewed.leaf.fingerprint()), (record.spki, record.leaf.fingerprint()));
            let known = stack.ledger.device(&id.parse().unwrap()).await.unwrap().unwrap();
            assert_eq!(known.pins, [Pin::Key(Fingerprint::of(renewed.leaf.spki_der()))]);
        }
        // The next rollover recognises the devices by their new keys.
        let job = stack.put_root("").await;
        stack.ended(job).await;
    })
    .await;
}
