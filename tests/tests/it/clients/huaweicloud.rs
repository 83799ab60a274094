//! PyPI `huaweicloudsdkscm` 3.1.219, which signs each request with its access key.

use serde_json::json;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::{readme, run};
use crate::import::{exporting, pki::Bundle};
use crate::stack::Stack;

/// The vendor's form of a time, as deployers compare it.
const SECONDS: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");

#[tokio::test]
async fn huawei_clouds_own_sdk_works_unchanged() {
    Stack::run(0, async |stack| {
        let bundle = Bundle::new("web.example.com");
        let expires = rootcast_pki::certificate::Certificate::from_der(bundle.leaf_der.clone()).unwrap().not_after();
        let (ak, sk) = stack.access_key("deployer", exporting()).await;
        let given = json!({
            "ak": ak, "sk": sk, "name": "web-2026", "certificate": bundle.leaf, "chain": bundle.chain(), "key": bundle.key,
            "copies": 59, "domain": "WEB.example.com", "expires": expires.format(SECONDS).unwrap(),
        });
        let said = run(stack, "huaweicloudsdkscm", &given).await;
        let id = said["imported"].as_str().unwrap();
        assert!(id.len() == 16 && id.starts_with("scs"), "{id}");
        assert_eq!((&said["found"], &said["left"]), (&json!(0), &json!(0)));
        assert_eq!(said["listed"].as_array().unwrap().len(), 1);
        for view in [&said["listed"][0], &said["shown"]] {
            assert_eq!((&view["id"], &view["name"]), (&json!(id), &json!("web-2026")));
            assert_eq!((&view["status"], &view["domain"]), (&json!("UPLOAD"), &json!("web.example.com")));
        }
        assert_eq!(said["exported"]["certificate"], bundle.leaf.replace("\r\n", "\n"));
        assert!(said["exported"]["private_key"].as_str().unwrap().starts_with("-----BEGIN PRIVATE KEY-----"));
        let refused = said["refused"].as_array().unwrap();
        let codes: Vec<_> = refused.iter().map(|each| (each["status"].as_u64().unwrap(), each["code"].as_str().unwrap())).collect();
        assert_eq!(codes, [(409, "SCM.2101"), (404, "SCM.0404"), (401, "SCM.0401")]);
        assert!(refused.iter().all(|each| !each["id"].as_str().unwrap().is_empty()), "{refused:?}");
        // The nightly upload of a deployer that looks first: each certificate once, and its text as it was sent.
        assert_eq!((&said["pages"], &said["different"]), (&json!([50, 10]), &json!(60)), "{said}");
        assert_eq!(said["same"], json!([bundle.leaf.replace("\r\n", "\n")]));
        assert!(said["twice"]["code"] == "SCM.2102" && said["twice"]["message"].as_str().unwrap().contains(id), "{said}");
        let shown = readme::python(stack, "huaweicloudsdkscm", &[("SCM_AK", &ak), ("SCM_SK", &sk)]).await;
        assert!(shown.starts_with("scs") && shown.trim().len() == 16, "{shown}");
        for function in ["ImportFunction", "CatalogFunction"] {
            assert!(!stack.log(function).await.contains(&sk), "{function} wrote the secret key into its log");
        }
    })
    .await;
}
