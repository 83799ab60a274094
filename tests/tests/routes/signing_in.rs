//! Sign-in on the page at an OpenID provider, and what must not become a session.

use axum::body::Body;
use axum::http::header::{COOKIE, HOST, LOCATION, REFRESH, SET_COOKIE};
use axum::http::{Request, StatusCode};
use axum::response::Response;
use rootcast_core::access::permission::Role;
use rootcast_gate::routes::Function;
use serde_json::json;
use tower::ServiceExt;

use crate::tables::Caller;
use crate::world::World;

async fn world() -> World {
    World::with_provider(Some(&Caller { grants: Role::Operator.into(), scope: None })).await
}

async fn get(world: &World, path: &str, cookie: Option<&str>) -> Response {
    let mut request = Request::builder().uri(path).header(HOST, "pki.test");
    if let Some(cookie) = cookie {
        request = request.header(COOKIE, cookie);
    }
    world.router(Function::Console).oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

fn set(response: &Response) -> Vec<&str> {
    response.headers().get_all(SET_COOKIE).iter().map(|cookie| cookie.to_str().unwrap()).collect()
}

/// The cookie of a sign-in that was begun, and the address at the provider.
async fn begin(world: &World) -> (String, String) {
    let begun = get(world, "/console/oidc", None).await;
    assert_eq!(begun.status(), StatusCode::SEE_OTHER);
    let [cookie] = set(&begun)[..] else { panic!("{begun:?}") };
    assert!(cookie.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600"), "{cookie}");
    let location = begun.headers()[LOCATION].to_str().unwrap().to_owned();
    (cookie.split(';').next().unwrap().to_owned(), location)
}

fn is_session(response: &Response) -> bool {
    set(response).iter().any(|cookie| cookie.starts_with("JSESSIONID="))
}

/// No session, no redirect, and the sign-in is over.
fn refused(response: &Response, what: &str) {
    assert!(response.status().is_client_error() || response.status().is_server_error(), "{what}: {response:?}");
    assert!(!is_session(response) && !response.headers().contains_key(LOCATION), "{what}: {response:?}");
    assert!(set(response).iter().any(|cookie| cookie.starts_with("__Host-sign-in=;")), "{what}: {response:?}");
}

#[tokio::test]
async fn whoever_comes_back_from_the_provider_has_a_session() {
    let world = world().await;
    let page = get(&world, "/console/sign-in", None).await;
    assert!(crate::console::text(page).await.contains("sign in at id.test"));
    let (cookie, location) = begin(&world).await;
    let back = world.provider.sign_in(&location);
    let entered = get(&world, &back, Some(&cookie)).await;
    assert_eq!((entered.status(), &entered.headers()[REFRESH]), (StatusCode::OK, &"0; url=/console".parse().unwrap()));
    let cookies = set(&entered);
    assert!(cookies.iter().any(|each| each.starts_with("JSESSIONID=") && each.ends_with("SameSite=Strict; HttpOnly")));
    assert!(cookies.iter().any(|each| each.starts_with("csrf=")) && cookies.len() == 3, "{cookies:?}");
    // A code is good once, also for who has the cookie still.
    refused(&get(&world, &back, Some(&cookie)).await, "replayed");
}

#[tokio::test]
async fn no_answer_to_another_sign_in_becomes_a_session() {
    let world = world().await;
    let ((mine, location), (theirs, other)) = (begin(&world).await, begin(&world).await);
    let (back, others) = (world.provider.sign_in(&location), world.provider.sign_in(&other));
    let code = |back: &str| back.split_once('?').unwrap().1.split('&').next().unwrap().to_owned();
    let state = |back: &str| back.split_once("state=").unwrap().1.to_owned();
    for (what, path, cookie) in [
        ("no cookie", back.clone(), None),
        ("another browser's answer", others.clone(), Some(&mine)),
        ("mixed-up state", format!("/console/oidc/callback?{}&state={}", code(&back), state(&others)), Some(&mine)),
        // Without the verifier that belongs to it, a stolen code is worth nothing.
        ("a stolen code", format!("/console/oidc/callback?{}&state={}", code(&others), state(&back)), Some(&mine)),
        ("no state", format!("/console/oidc/callback?{}", code(&back)), Some(&mine)),
        ("another provider's", format!("{back}&iss=https%3A%2F%2Fevil.test"), Some(&mine)),
        ("an error", format!("/console/oidc/callback?error=access_denied&state={}", state(&back)), Some(&mine)),
        ("nothing", "/console/oidc/callback".to_owned(), Some(&theirs)),
    ] {
        refused(&get(&world, &path, cookie.map(String::as_str)).await, what);
    }
}

#[tokio::test]
async fn no_token_for_something_else_becomes_a_session() {
    for (what, wrong) in [
        ("another nonce", json!({ "nonce": "another" })),
        ("no nonce", json!({ "nonce": null })),
        ("another client", json!({ "aud": "api" })),
        ("another party", json!({ "aud": ["page", "api"], "azp": "api" })),
        ("nobody's identity", json!({ "sub": "Mallory" })),
        ("another issuer", json!({ "iss": "https://evil.test" })),
    ] {
        let world = world().await;
        let (cookie, location) = begin(&world).await;
        let back = world.provider.sign_in(&location);
        *world.provider.wrong.lock().unwrap() = wrong;
        refused(&get(&world, &back, Some(&cookie)).await, what);
    }
}

#[tokio::test]
async fn nobody_is_led_elsewhere_than_to_the_provider() {
    let asked = ["return_to", "next", "redirect_uri", "url"].map(|name| format!("{name}=https%3A%2F%2Fevil.test"));
    let world = world().await;
    let begun = get(&world, &format!("/console/oidc?{}", asked.join("&")), None).await;
    let location = begun.headers()[LOCATION].to_str().unwrap().to_owned();
    assert!(location.starts_with("https://id.test/authorize?") && !location.contains("evil"), "{location}");
    let cookie = set(&begun)[0].split(';').next().unwrap().to_owned();
    let back = format!("{}&{}", world.provider.sign_in(&location), asked.join("&"));
    let entered = get(&world, &back, Some(&cookie)).await;
    assert!(is_session(&entered) && entered.headers()[REFRESH] == "0; url=/console");
    assert!(!crate::console::text(entered).await.contains("evil"));
    for published in [
        json!({ "issuer": "https://evil.test" }),
        json!({ "issuer": "https://id.test/" }),
        json!({ "authorization_endpoint": "http://id.test/authorize" }),
        json!({ "authorization_endpoint": "javascript:alert(1)" }),
        json!({ "authorization_endpoint": "https://id.test/authorize#" }),
        json!({ "token_endpoint": "http://id.test/token" }),
        json!({ "token_endpoint": 7 }),
    ] {
        *world.provider.published.lock().unwrap() = published.clone();
        let response = get(&world, "/console/oidc", None).await;
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY, "{published}");
        assert!(!response.headers().contains_key(LOCATION), "{published}");
    }
}

#[tokio::test]
async fn without_a_client_there_is_no_such_sign_in() {
    let world = World::of(None).await;
    for path in ["/console/oidc", "/console/oidc/callback?code=c&state=s"] {
        assert_eq!(get(&world, path, None).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let page = crate::console::text(get(&world, "/console/sign-in", None).await).await;
    assert!(!page.contains("/console/oidc"), "{page}");
}
