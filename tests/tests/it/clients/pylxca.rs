//! PyPI `pylxca` 4.2.0, over TLS: it logs in with a password, and keeps its session with cookies.

use rootcast_core::access::permission::Role;
use rootcast_core::job::JobId;
use serde_json::json;

use super::{readme, run};
use crate::stack::Stack;

#[tokio::test]
async fn lenovos_own_client_works_unchanged() {
    Stack::run(1, async |stack| {
        stack.enrol_fleet().await;
        let password = stack.principal_who_may("rack-admin", Role::Administrator).await;
        // Warm the function up: the client's log-in times out after three seconds, and a cold start on a busy machine
        // takes longer.
        stack.log_in("rack-admin", &password, "certificate").await.json();
        stack.api.get("/jobs").await.response();
        let said = run(stack, "pylxca", &json!({ "user": "rack-admin", "password": password })).await;

        let (session, csrf) = (&said["cookies"]["JSESSIONID"], &said["cookies"]["csrf"]);
        assert!(session["secure"] == true && csrf["secure"] == true, "{said}");
        assert!(csrf["value"] == said["header"] && csrf["value"] != session["value"]);
        let job = said["job"].as_str().unwrap();
        assert_eq!(said["put"]["result"], "success");
        assert_eq!(said["location"], JobId(job.parse().unwrap()).path());
        let task = &said["tasks"]["TaskList"][0];
        assert_eq!((&task["jobUID"], task["children"].as_array().map(Vec::len)), (&json!(job), Some(1)), "{said}");
        assert!(said["compact"]["TaskList"][0].get("children").is_none(), "{said}");
        assert_eq!(said["all"]["TaskList"].as_array().map(Vec::len), Some(1), "{said}");

        let refused = said["refused"].as_array().unwrap();
        let statuses: Vec<_> = refused.iter().map(|each| each["status"].as_u64().unwrap()).collect();
        assert_eq!(statuses, [403, 403, 401], "{refused:?}");
        assert!(refused[0]["body"]["messages"][0]["text"].as_str().unwrap().contains("X-Csrf-Token"));
        assert_eq!((&said["ended"], &said["basic"]), (&json!(true), &json!(200)));
        assert_eq!((&said["wrong"], &said["logged"]), (&json!(true), &json!(false)));

        stack.ended(JobId(job.parse().unwrap())).await;
        let user = [("LXCA_USER", "rack-admin"), ("LXCA_PASSWORD", password.as_str())];
        let shown = readme::python(stack, "pylxca", &user).await;
        assert!(shown.contains("'jobUID'"), "{shown}");
        let operator = stack.principal_who_may("rack-operator", Role::Operator).await;
        let user = [("LXCA_USER", "rack-operator"), ("LXCA_PASSWORD", operator.as_str())];
        let refused = readme::python(stack, "pylxca", &user).await;
        assert!(refused.contains("permission regenerate") && !refused.contains("Traceback"), "{refused}");

        let secrets = [&password, session["value"].as_str().unwrap(), csrf["value"].as_str().unwrap(), "wrongwrong"];
        for function in ["LoginFunction", "RegenerateFunction", "CatalogFunction"] {
            let log = stack.log(function).await;
            assert!(!log.is_empty() && secrets.iter().all(|secret| !log.contains(secret)), "{function}");
        }
    })
    .await;
}
