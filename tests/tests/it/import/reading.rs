//! Lists and pages in the vendor's API.

use serde_json::{Value, json};
use time::Duration;

use super::pki::{Bundle, new_key};
use super::{CERTIFICATES, body, path, refused};
use crate::stack::Stack;

#[tokio::test]
async fn a_certificate_is_shown_with_the_vendors_fields() {
    Stack::run(0, async |stack| {
        let bundle = Bundle::new("web.example.com");
        let id = stack.import("web", &bundle).await;
        let shown = stack.api.get(&path(id)).await.json();
        let expected = [
            ("id", json!(id.to_string())),
            ("name", json!("web")),
            ("status", json!("UPLOAD")),
            ("domain", json!("web.example.com")),
            ("push_support", json!("OFF")),
            ("signature_algorithm", json!("SHA256withECDSA")),
        ];
        for (field, value) in expected {
            assert_eq!(shown[field], value, "{shown}");
        }
        assert!(shown["sans"].as_str().unwrap().contains("127.0.0.1"), "{shown}");
        let sha1 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &bundle.leaf_der);
        let shown: String = shown["fingerprint"].as_str().unwrap().to_lowercase().replace(':', "");
        assert_eq!(shown, sha1.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        refused(&stack.api.get("/v3/scm/certificates/scs0000000000000").await, 404, "SCM.0404");
        refused(&stack.api.get("/v3/scm/certificates/7").await, 404, "SCM.0404");
        refused(&stack.api.get("/v3/scm/nowhere").await, 404, "SCM.0404");
    })
    .await;
}

/// 23 certificates, so that the last page is never full and every shard is merged.
#[tokio::test]
async fn every_paging_shows_each_certificate_once_in_order() {
    Stack::run(0, async |stack| {
        let key = new_key();
        for number in 0..23 {
            let bundle = Bundle::made(&format!("h{number}.example.com"), Duration::days(90 + (number * 7) % 23), &key);
            stack.import(&format!("cert-{number:02}"), &bundle).await;
        }
        let list = async |query: &str| stack.api.get(&format!("{CERTIFICATES}?{query}")).await.json();
        let names = |page: &Value, field: &str| -> Vec<String> {
            let items = page["certificates"].as_array().unwrap();
            items.iter().map(|item| item[field].as_str().unwrap().to_owned()).collect()
        };
        for (key, direction) in
            [("certExpiredTime", "ASC"), ("certExpiredTime", "DESC"), ("certUpdateTime", "DESC"), ("certStatus", "ASC")]
        {
            let query = format!("sort_key={key}&sort_dir={direction}&limit=10");
            let mut by_offset = Vec::new();
            for offset in [0, 10, 20] {
                let page = list(&format!("{query}&offset={offset}")).await;
                assert_eq!(page["total_count"], 23);
                by_offset.extend(names(&page, "id"));
            }
            let (mut by_cursor, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = list(&format!("{query}{cursor}")).await;
                by_cursor.extend(names(&page, "id"));
                match page["cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            assert_eq!(by_offset, by_cursor, "{key} {direction}");
            assert_eq!(by_offset.iter().collect::<std::collections::BTreeSet<_>>().len(), 23);
        }
        let mut ends = Vec::new();
        for offset in [0, 20] {
            ends.extend(names(
                &list(&format!("sort_key=certExpiredTime&sort_dir=DESC&limit=20&offset={offset}")).await,
                "expire_time",
            ));
        }
        assert!(ends.is_sorted_by(|a, b| a >= b), "{ends:?}");

        let found = list("content=h7.example").await;
        assert_eq!((names(&found, "name"), &found["total_count"]), (vec!["cert-07".to_owned()], &json!(1)));
        assert_eq!(list("status=EXPIRED").await["total_count"], 0);
        assert_eq!(list("status=UPLOAD&limit=50").await["certificates"].as_array().unwrap().len(), 23);
        for wrong in ["limit=7", "offset=-1", "sort_key=name", "sort_dir=up", "status=GONE", "cursor=zzz"] {
            let message = refused(&stack.api.get(&format!("{CERTIFICATES}?{wrong}")).await, 400, "SCM.0400");
            let field = wrong.split('=').next().unwrap();
            assert!(message.contains(field), "{wrong}: {message}");
        }
    })
    .await;
}

/// Nothing is written when a certificate expires: readers compare with the clock.
#[tokio::test]
async fn a_certificate_past_its_end_is_shown_as_expired() {
    Stack::run(0, async |stack| {
        let short = stack.import("short", &Bundle::lasting("short.example.com", Duration::seconds(8))).await;
        let long = stack.import("long", &Bundle::new("long.example.com")).await;
        assert_eq!(stack.api.get(&path(short)).await.json()["status"], "UPLOAD");
        tokio::time::sleep(std::time::Duration::from_secs(9)).await;
        assert_eq!(stack.api.get(&path(short)).await.json()["status"], "EXPIRED");
        let of = async |status: &str| {
            let page = stack.api.get(&format!("{CERTIFICATES}?status={status}")).await.json();
            assert_eq!(page["total_count"], 1);
            page["certificates"][0]["id"].as_str().unwrap().to_owned()
        };
        assert_eq!((of("EXPIRED").await, of("UPLOAD").await), (short.to_string(), long.to_string()));
        let late = body("late", &Bundle::lasting("late.example.com", -Duration::HOUR));
        assert!(stack.api.post(&format!("{CERTIFICATES}/import"), late).await.text.contains("expired"));
        let deployment = json!({"service_name": "DEVICE", "resources": [{"id": "bmc-1"}]});
        assert_eq!(stack.api.post(&format!("{}/deploy", path(short)), deployment).await.status, 400);
    })
    .await;
}
