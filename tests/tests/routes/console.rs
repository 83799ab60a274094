//! The operator's page, in front of the API's real routers: it shows and does what its reader may, and nothing else.

use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_TYPE, COOKIE, HOST, LOCATION, ORIGIN, SET_COOKIE};
use axum::http::{Request, StatusCode};
use axum::response::Response;
use rootcast_core::access::permission::{Grants, Role};
use rootcast_gate::routes::{Function, Method, PAGES, Route};
use tower::ServiceExt;

use crate::requests::cookie;
use crate::tables::{Caller, DEVICE, PASSWORD, csrf};
use crate::world::World;

const HERE: &str = "pki.test";
/// In bytes. What a telephone loads in a second.
const LARGEST: usize = 100_000;

fn path(route: &Route) -> String {
    let path = route.path.replace("{job}", "7").replace("{device}", DEVICE).replace("{generation}", "1");
    let path = path
        .replace("{file}", "page.css")
        .replace("{request}", "r1")
        .replace("{verdict}", "confirm")
        .replace("{session}", "s1");
    let change = if route.path.contains("roots") { "preflight" } else { "probe" };
    path.replace("{command}", "pause").replace("{change}", change)
}

fn is_open(route: &Route) -> bool {
    ["/console/assets/{file}", "/console/sign-in", "/console/oidc", "/console/oidc/callback"].contains(&route.path)
}

struct Sent<'a> {
    method: &'a str,
    path: &'a str,
    origin: Option<&'a str>,
    in_session: bool,
    form: String,
}

impl Sent<'_> {
    fn get(path: &str) -> Sent<'_> {
        Sent { method: "GET", path, origin: None, in_session: true, form: String::new() }
    }

    /// By our own page, with the session's token.
    fn post(path: &str) -> Sent<'_> {
        let form = format!("csrf={}", csrf().expose());
        Sent { method: "POST", path, origin: Some("https://pki.test"), in_session: true, form }
    }

    async fn to(self, world: &World) -> Response {
        let mut request = Request::builder().method(self.method).uri(self.path).header(HOST, HERE);
        if self.in_session {
            request = request.header(COOKIE, cookie());
        }
        if let Some(origin) = self.origin {
            request = request.header(ORIGIN, origin);
        }
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(Body::from(self.form));
        world.router(Function::Console).oneshot(request.unwrap()).await.unwrap()
    }
}

pub(crate) async fn text(response: Response) -> String {
    String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
}

fn may(grants: impl Into<Grants>) -> Caller {
    Caller { grants: grants.into(), scope: None }
}

#[tokio::test]
async fn a_page_offers_what_its_reader_may_do() {
    let offered = async |role: Role, path: &str| {
        let caller = may(role);
        let page = text(Sent::get(path).to(&World::of(Some(&caller)).await).await).await;
        ["Start the rollover", "(preflight)", ">Import<", "Look at it", "End this session"]
            .map(|each| page.contains(each))
    };
    for (path, by_reader, by_operator, by_administrator) in [
        ("/console/roots", [false; 5], [false, true, false, false, false], [true, true, false, false, false]),
        ("/console/certificates", [false; 5], [false, false, true, false, false], [false, false, true, false, false]),
        ("/console/access", [false; 5], [false; 5], [false; 5]),
    ] {
        let found = (
            offered(Role::Reader, path).await,
            offered(Role::Operator, path).await,
            offered(Role::Administrator, path).await,
        );
        assert_eq!(found, (by_reader, by_operator, by_administrator), "{path}");
    }
    let access =
        async |role: Role| text(Sent::get("/console/access").to(&World::of(Some(&may(role))).await).await).await;
    assert!(access(Role::Administrator).await.contains("Who is signed in"));
    assert!(!access(Role::Operator).await.contains("Who is signed in"));
}

#[tokio::test]
async fn ending_a_session_is_for_who_manages_users() {
    let path = format!("/console/sessions/{}/end", crate::tables::session().sha256());
    for (role, status, to) in [
        (Role::Administrator, StatusCode::SEE_OTHER, Some("/console/access?done=ended")),
        (Role::Operator, StatusCode::FORBIDDEN, None),
        (Role::Reader, StatusCode::FORBIDDEN, None),
    ] {
        let response = Sent::post(&path).to(&World::of(Some(&may(role))).await).await;
        let location = response.headers().get(LOCATION).map(|location| location.to_str().unwrap());
        assert_eq!((response.status(), location), (status, to), "{role}");
    }
}

#[tokio::test]
async fn without_a_session_every_page_leads_to_the_sign_in() {
    let caller = may(Role::Administrator);
    let world = World::of(Some(&caller)).await;
    for route in PAGES.iter().filter(|route| !is_open(route)) {
        let path = path(route);
        let sent = if route.method == Method::Get { Sent::get(&path) } else { Sent::post(&path) };
        let response = Sent { in_session: false, ..sent }.to(&world).await;
        assert_eq!(response.status(), StatusCode::SEE_OTHER, "{path}");
        assert_eq!(response.headers()[LOCATION], "/console/sign-in", "{path}");
        assert_eq!(text(response).await, "", "{path}");
    }
}

#[tokio::test]
async fn a_refresh_without_a_session_leads_the_whole_page_there() {
    let world = World::of(None).await;
    let request = Request::builder().uri("/console").header("hx-request", "true").body(Body::empty()).unwrap();
    let response = world.router(Function::Console).oneshot(request).await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["hx-redirect"]),
        (StatusCode::OK, &"/console/sign-in".parse().unwrap())
    );
}

#[tokio::test]
async fn forms_of_other_sites_and_sessions_are_refused() {
    let caller = may(Role::Administrator);
    let world = World::of(Some(&caller)).await;
    for route in PAGES.iter().filter(|route| route.method == Method::Post) {
        let path = path(route);
        for origin in [None, Some("null"), Some("https://evil.test"), Some("https://pki.test.evil.test")] {
            let response = Sent { origin, ..Sent::post(&path) }.to(&world).await;
            assert_eq!(response.status(), StatusCode::FORBIDDEN, "{path} {origin:?}");
        }
        if !is_open(route) {
            for form in ["", "csrf=", "csrf=wrong"] {
                let response = Sent { form: form.to_owned(), ..Sent::post(&path) }.to(&world).await;
                assert_eq!(response.status(), StatusCode::FORBIDDEN, "{path} {form}");
            }
        }
    }
}

#[tokio::test]
async fn a_page_shows_what_its_reader_may_read() {
    for (grants, sees) in [
        (Role::Administrator.into(), true),
        (Role::Reader.into(), true),
        (crate::walk::only(r"\VED\Policy\Elsewhere=manage"), false),
    ] {
        let caller = may(grants);
        let world = World::of(Some(&caller)).await;
        let fleet = text(Sent::get("/console/devices").to(&world).await).await;
        assert_eq!(fleet.contains(DEVICE), sees, "{fleet}");
        let device = Sent::get(&format!("/console/devices/{DEVICE}")).to(&world).await;
        assert_eq!(device.status() == StatusCode::OK, sees);
        let certificates = text(Sent::get("/console/certificates").to(&world).await).await;
        assert_eq!(certificates.contains(r"\VED\Policy\Servers\web"), sees, "{certificates}");
    }
}

#[tokio::test]
async fn a_form_does_what_its_sender_may_do() {
    let caller = may(Role::Reader);
    let world = World::of(Some(&caller)).await;
    for path in ["/console/jobs/7/pause", "/console/roots/preflight", "/console/devices/bmc-1/probe"] {
        let response = Sent::post(path).to(&world).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{path}");
        let told = text(response).await;
        assert!(told.contains("role=\"alert\""), "{told}");
    }
    let caller = may(Role::Administrator);
    let world = World::of(Some(&caller)).await;
    let response = Sent::post("/console/devices/bmc-1/probe").to(&world).await;
    assert_eq!(response.headers()[LOCATION], "/console/devices/bmc%2D1?done=probe");
}

#[tokio::test]
async fn a_grave_form_needs_the_name_typed_in() {
    let caller = may(Role::Administrator);
    let world = World::of(Some(&caller)).await;
    let token = csrf();
    for (path, wrong) in [
        ("/console/jobs/7/abort", "job 8"),
        ("/console/jobs/7/rollback", ""),
        ("/console/jobs/7/waive", "yes"),
        ("/console/roots/rotate", "rotation"),
        ("/console/roots/compromise", "root 2 is compromised"),
    ] {
        let form = format!("csrf={}&generation=1&typed={}", token.expose(), wrong.replace(' ', "+"));
        let response = Sent { form, ..Sent::post(path) }.to(&world).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{path}");
        assert!(text(response).await.contains("Nothing was done"), "{path}");
    }
    let form = format!("csrf={}&generation=1&typed=root+1+is+compromised", token.expose());
    let response = Sent { form, ..Sent::post("/console/roots/compromise") }.to(&world).await;
    assert!(text(response).await.contains("the second question"));
}

#[tokio::test]
async fn pages_are_small_strict_and_without_inline_code() {
    let caller = may(Role::Administrator);
    let world = World::of(Some(&caller)).await;
    for route in PAGES.iter().filter(|route| route.method == Method::Get && route.path != "/console/assets/{file}") {
        let path = path(route);
        let response = Sent::get(&path).to(&world).await;
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let policy = header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(header("cache-control").as_deref(), Some("no-store"), "{path}");
        assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"), "{path}");
        let page = text(response).await;
        assert!(page.len() < LARGEST, "{path} has {} bytes", page.len());
        for inline in [" style=", " onclick=", "<style", "javascript:", "hx-on", "http://"] {
            assert!(!page.contains(inline), "{path} has {inline}: {page}");
        }
        let scripts = page.matches("<script").count();
        assert_eq!((scripts, page.matches("<script src=\"/console/assets/").count()), (2, 2), "{path}");
        assert_eq!(page.matches("integrity=\"sha256-").count(), 3, "{path}");
        assert!(page.contains("lang=\"en\"") && page.contains("href=\"#main\""), "{path}");
        // What a page names of its own is there, and may be kept.
        for asset in page.split('"').filter(|part| part.starts_with("/console/assets/")) {
            let response = Sent { in_session: false, ..Sent::get(asset) }.to(&world).await;
            assert_eq!(response.status(), StatusCode::OK, "{asset}");
            assert!(response.headers()["cache-control"].to_str().unwrap().contains("immutable"), "{asset}");
        }
    }
}

#[tokio::test]
async fn signing_in_begins_the_apis_own_session() {
    let caller = may(Role::Administrator);
    let world = World::of(Some(&caller)).await;
    let sent = |password: &str| Sent {
        in_session: false,
        form: format!("name=ops&password={}", password.replace(' ', "+")),
        ..Sent::post("/console/sign-in")
    };
    let wrong = sent("wrong <b>").to(&world).await;
    assert_eq!((wrong.status(), wrong.headers().get(SET_COOKIE)), (StatusCode::UNAUTHORIZED, None));
    let told = text(wrong).await;
    assert!(told.contains("not valid") && !told.contains("wrong &lt;b&gt;"), "{told}");

    let begun = sent(PASSWORD).to(&world).await;
    assert_eq!(begun.headers()[LOCATION], "/console");
    let cookies: Vec<_> = begun.headers().get_all(SET_COOKIE).iter().map(|each| each.to_str().unwrap()).collect();
    assert_eq!(cookies.len(), 2, "{cookies:?}");
    assert!(cookies.iter().all(|cookie| cookie.contains("; Path=/; Secure; SameSite=Strict")), "{cookies:?}");
    assert!(cookies.iter().any(|cookie| cookie.starts_with("JSESSIONID=") && cookie.ends_with("; HttpOnly")));

    let ended = Sent::post("/console/sign-out").to(&world).await;
    assert_eq!(ended.headers()[LOCATION], "/console/sign-in");
    assert!(ended.headers().get_all(SET_COOKIE).iter().all(|cookie| cookie.to_str().unwrap().contains("Max-Age=0")));
}

#[tokio::test]
async fn an_import_shows_its_problems_and_no_key_again() {
    let caller = may(Role::Administrator);
    let world = World::of(Some(&caller)).await;
    let form = format!("csrf={}&name=new&certificate=no+PEM&private_key=hidden-key", csrf().expose());
    let response = Sent { form, ..Sent::post("/console/certificates") }.to(&world).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let page = text(response).await;
    assert!(page.contains("no PEM") && !page.contains("hidden-key"), "{page}");
    for field in ["certificate", "private_key"] {
        assert!(page.contains(&format!("aria-describedby=\"wrong-{field}\"")), "{page}");
    }
}
