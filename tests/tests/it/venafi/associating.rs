//! Associate, push, dissociate.

use serde_json::json;

use super::{applications, at_stage, details, done, never_done, refused};
use crate::import::deploying::{fakes, print, shown};
use crate::import::pki::Bundle;
use crate::stack::{LIMIT, Stack, until};

#[tokio::test]
async fn a_certificate_is_associated_then_pushed_then_dissociated() {
    Stack::run(0, async |stack| {
        let fakes = fakes(stack, &["web-1", "web-2"]).await;
        let bundle = Bundle::new("web.example.com");
        let id = stack.import("web", &bundle).await;
        let is_shown = async |device: &str| {
            until("the device shows it", LIMIT, async || (shown(stack, device).await == print(&bundle)).then_some(()))
                .await;
        };

        let one = json!({ "ApplicationDN": applications(&["web-1"]) });
        let associated = done(stack, "Associate", "web", one.clone()).await;
        assert_eq!(associated, json!({ "Success": true }));
        done(stack, "Associate", "web", one.clone()).await;
        let bound = details(stack, id).await;
        assert_eq!((&bound["Consumers"], &bound["History"]), (&applications(&["web-1"]), &json!([])), "{bound}");
        assert_eq!(bound["ProcessingDetails"]["Stage"], json!(null));
        assert_eq!(stack.api.delete(&format!("/v3/scm/certificates/{id}")).await.status, 409, "it has a device");
        assert!(fakes["web-1"].requests().is_empty(), "nothing was to be done there");
        let other = json!({ "ApplicationDN": applications(&["web-2"]) });
        let text = refused(stack, "Push", "web", other.clone()).await;
        assert!(text.contains("not associated") && text.contains("web-2"), "{text}");

        done(stack, "Push", "web", one.clone()).await;
        is_shown("web-1").await;
        done(
            stack,
            "Associate",
            "web",
            json!({ "ApplicationDN": applications(&["web-1", "web-2"]), "PushToNew": true }),
        )
        .await;
        is_shown("web-2").await;
        let both = at_stage(stack, id, None, false).await;
        assert_eq!(both["Consumers"], applications(&["web-1", "web-2"]));

        // While a job is working on a device, its association cannot be removed.
        never_done(&fakes["web-2"]);
        fakes["web-1"].requests();
        let renewed = Bundle::new("web.example.com");
        let next = stack.import("next", &renewed).await;
        done(stack, "Associate", "next", json!({ "ApplicationDN": applications(&["web-2"]), "PushToNew": "true" }))
            .await;
        for call in ["Dissociate", "Associate"] {
            let text =
                refused(stack, call, "web", json!({ "ApplicationDN": applications(&["web-2", "nobody"]) })).await;
            assert!(text.contains("nobody] There is no such device"), "{text}");
        }
        let text = refused(stack, "Dissociate", "web", other.clone()).await;
        assert!(text.contains("Job") && text.contains(&next.to_string()), "{text}");
        fakes["web-2"].recover();
        done(stack, "Reset", "next", json!({})).await;
        at_stage(stack, next, None, false).await;

        done(stack, "Dissociate", "web", json!({ "ApplicationDN": applications(&["web-1", "web-2"]) })).await;
        done(stack, "Dissociate", "web", one).await;
        assert_eq!(details(stack, id).await["Consumers"], json!([]));
        assert_eq!(shown(stack, "web-1").await, print(&bundle), "what a device shows does not change");
        assert!(fakes["web-1"].requests().is_empty());
        assert_eq!(stack.api.delete(&format!("/v3/scm/certificates/{id}")).await.status, 204);
        let text = refused(stack, "Push", "web", other).await;
        assert!(text.starts_with("Access error. Certificates/Push requires write permissions"), "{text}");
    })
    .await;
}
