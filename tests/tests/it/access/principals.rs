//! Managing users through the API.

use reqwest::Method;
use rootcast_core::access::identity::Identity;
use rootcast_core::access::permission::{Grants, Role};
use serde_json::json;

use crate::stack::Stack;

const ROLE: &str = "iam#arn:aws:iam::123456789012:role/deployer";

#[tokio::test]
async fn an_administrator_adds_and_removes_a_user() {
    Stack::run(0, async |stack| {
        let mut grants: Grants = r"\VED\Policy\Principals=read".parse().map(|grant| Grants::given(None, vec![grant], vec![])).unwrap();
        grants.permit("administer-access".parse().unwrap());
        let warden = stack.api_of("warden", grants).await;
        let password = "a very long password indeed";
        let jane = json!({
            "name": "Jane", "password": password, "grants": [r"\VED\Policy\Web=read,write"], "permissions": ["abort"], "identities": [ROLE],
        });
        let answer = warden.post("/principals", jane.clone()).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let added = answer.response();
        assert!(!answer.text.contains("argon2") && !answer.text.contains(password), "{answer:?}");
        assert_eq!((&added["grants"], &added["password"]), (&json!([r"\VED\Policy\Web=read,write"]), &json!(true)));
        let given = stack.log_in("Jane", password, "certificate").await.json();
        assert_eq!(stack.status_with(&given).await, 200);
        let owner = stack.ledger.owner(&ROLE.parse::<Identity>().unwrap()).await.unwrap();
        assert_eq!(owner.unwrap().to_string(), "Jane");

        assert_eq!(warden.get("/principals/Jane").await.response(), added);
        warden.get("/principals/jane").await.refused(404);
        let listed = warden.get("/principals").await.response();
        assert_eq!(listed["principals"], json!([added]));
        warden.post("/principals", jane.clone()).await.refused(409);
        let stealing = json!({ "name": "john", "password": password, "identities": [ROLE] });
        warden.post("/principals", stealing).await.refused(409);
        for (body, word) in [
            (json!({ "name": "john" }), "neither"),
            (json!({ "name": "john", "password": "short" }), "15 characters"),
            (json!({ "name": "john", "password": 7_777_777 }), "not a string"),
            (json!({ "name": "jo hn", "password": password }), "principal's name"),
            (json!({ "name": "john", "password": password, "role": "root" }), "reader, operator, administrator"),
            (json!({ "name": "john", "password": password, "grants": ["Web=read"] }), "prefix"),
            (json!({ "name": "john", "password": password, "identities": ["iam#x"] }), "ARN"),
            (json!([password]), "no"),
        ] {
            let refused = warden.post("/principals", body).await.refused(400);
            let text = refused["text"].as_str().unwrap();
            assert!(text.contains(word) && !text.contains(password) && !text.contains("7777777"), "{text}");
        }
        // Requests that the user's grants do not permit.
        for (path, status) in [("/jobs", 404), ("/signingCertificate/details", 404)] {
            warden.get(path).await.refused(status);
        }
        let reader = stack.api_of("reader", Role::Reader).await;
        reader.get("/principals").await.refused(403);
        stack.api_of("stranger", Grants::default()).await.get("/principals").await.refused(404);
        stack.api.send_as(given["access_token"].as_str(), Method::GET, "/principals", None).await.refused(403);

        let next = "another very long password";
        warden.send(Method::PUT, "/principals/Jane/password", Some(json!({ "password": next }))).await.response();
        assert_eq!(stack.status_with(&given).await, 401, "tokens of the former password are invalid");
        let given = stack.log_in("Jane", next, "certificate").await.json();
        assert_eq!(stack.status_with(&given).await, 200);
        warden.send(Method::PUT, "/principals/john/password", Some(json!({ "password": next }))).await.refused(404);

        warden.delete("/principals/Jane").await.response();
        warden.delete("/principals/Jane").await.refused(404);
        assert_eq!(stack.status_with(&given).await, 401);
        assert_eq!(stack.log_in("Jane", next, "certificate").await.status, 400);
        // The identity can be used again.
        let john = json!({ "name": "john", "identities": [ROLE] });
        assert_eq!(warden.post("/principals", john).await.response()["password"], false);
    })
    .await;
}
