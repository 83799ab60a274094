//! Routers built from rows of the route table.

use std::marker::PhantomData;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::handler::Handler;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use http::request::Parts;
use rootcast_core::access::permission::Operation;
use rootcast_core::access::second::ShownBody;

use crate::body::{BULK_BODY_LIMIT, read};
use crate::denials::Denial;
use crate::principal::Principal;
use crate::query::{Parameters, Reads};
use crate::refusal::{Kind, Refusal};
use crate::request_id::RequestId;
use crate::routes::{Denied, Method, Route, shown};
use crate::second::{Awaits, Called, SecondPerson, located};

/// A router that checks the requirements in a route's row of the table before it calls the handler. The caller is the
/// [`Principal`] in the request's extensions; `E` is the API's refusal.
#[derive(Debug)]
pub struct Guarded<S, E> {
    router: Router<S>,
    refusal: PhantomData<fn() -> E>,
}

impl<S, E> Default for Guarded<S, E>
where
    S: Clone + Send + Sync + 'static,
{
    fn default() -> Self {
        Self { router: Router::new(), refusal: PhantomData }
    }
}

impl<S, E> Guarded<S, E>
where
    S: Clone + Send + Sync + 'static,
    E: From<Denied> + From<Refusal> + IntoResponse + 'static,
{
    /// `route`: a row of the table ([`routes`](crate::routes)).
    pub fn on<T: Reads + 'static>(self, route: Route, handler: impl Handler<T, S>) -> Self {
        let guard = from_fn(move |request: Request, next: Next| async move {
            let mut answer = guard::<E>(route, request, next).await;
            answer.extensions_mut().insert(Parameters(T::parameters));
            answer
        });
        let guarded = on(filter(route.method), handler).route_layer(guard);
        Self { router: self.router.route(route.path, guarded), ..self }
    }

    pub fn into_router(self) -> Router<S> {
        self.router
    }
}

async fn guard<E>(route: Route, mut request: Request, next: Next) -> Response
where
    E: From<Denied> + From<Refusal> + IntoResponse,
{
    let second = request.extensions().get::<SecondPerson>().cloned();
    let Some(caller) = request.extensions_mut().get_mut::<Principal>() else {
        return admitted::<E>(route, request, next).await;
    };
    match second {
        // Looking at something needs nobody else.
        _ if route.method == Method::Get => caller.alone.extend(Operation::ALL),
        Some(second) if second.is_off() => caller.alone.extend(Operation::ALL),
        Some(second) => {
            caller.alone = second.alone();
            return watched::<E>(route, request, next, &second).await;
        }
        // It is not known what needs a second person, so nothing may be done alone, and no request can be stored.
        None => {}
    }
    admitted::<E>(route, request, next).await
}

/// Carries the call out if it needs no second person, or one has confirmed it. A call that needs one is refused before
/// it has written anything.
async fn watched<E>(route: Route, request: Request, next: Next, second: &SecondPerson) -> Response
where
    E: From<Denied> + From<Refusal> + IntoResponse,
{
    let (parts, body) = request.into_parts();
    let body = match read(body, BULK_BODY_LIMIT).await {
        Ok(body) => body,
        Err(refusal) => return E::from(refusal).into_response(),
    };
    let answer = admitted::<E>(route, whole(&parts, &body), next.clone()).await;
    let (Some(Awaits(operation)), Some(caller)) =
        (answer.extensions().get::<Awaits>(), parts.extensions.get::<Principal>())
    else {
        return answer;
    };
    let shown = ShownBody::of(&body, shown(&route));
    let shown = match second.with_rollout(route, parts.uri.query(), shown).await {
        Ok(shown) => shown,
        Err(error) => return E::from(Refusal::from(error)).into_response(),
    };
    let called = Called { route, parts: &parts, body: shown, caller };
    let refused = |refusal: Refusal| {
        let mut answer = E::from(refusal.clone()).into_response();
        located(&mut answer, &refusal);
        if refusal.kind() == Kind::Forbidden {
            answer.extensions_mut().insert(Denial {
                caller: caller.name.clone(),
                request_id: parts.extensions.get::<RequestId>().map(|RequestId(id)| id.clone()),
                route: named(route),
                path: parts.uri.path().to_owned(),
                missing: refusal.text().to_owned(),
            });
        }
        answer
    };
    let begun = match second.confirmed(&called, *operation).await {
        Ok(begun) => begun,
        Err(refusal) => return refused(refusal),
    };
    let mut again = whole(&parts, &body);
    if let Some(caller) = again.extensions_mut().get_mut::<Principal>() {
        caller.alone.extend(&begun.operations);
    }
    let answer = admitted::<E>(route, again, next).await;
    let further = answer.extensions().get::<Awaits>().map(|awaits| awaits.0);
    match second.settle(&called, begun, answer.status(), further).await {
        Ok(()) => answer,
        Err(refusal) => refused(refusal),
    }
}

fn whole(parts: &Parts, body: &Bytes) -> Request {
    Request::from_parts(parts.clone(), Body::from(body.clone()))
}

/// A denial, by the route or by its handler, goes along in the answer's extensions: see [`recorded`](crate::recorded).
async fn admitted<E: From<Denied> + IntoResponse>(route: Route, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Principal>();
    let admitted = route.admits(caller);
    let known = caller.map(|caller| (caller.name.clone(), caller.missed.clone()));
    let request_id = request.extensions().get::<RequestId>().map(|RequestId(id)| id.clone());
    let path = request.uri().path().to_owned();
    let (mut response, missing) = match admitted {
        Ok(()) => {
            let response = next.run(request).await;
            let missing = known.as_ref().and_then(|(_, missed)| missed.denied(response.status()));
            (response, missing)
        }
        Err(denied) => {
            let missing = denied.missing();
            (E::from(denied).into_response(), missing)
        }
    };
    if let (Some((caller, _)), Some(missing)) = (known, missing) {
        let route = named(route);
        response.extensions_mut().insert(Denial { caller, request_id, route, path, missing });
    }
    response
}

fn named(route: Route) -> String {
    format!("{} {}", route.method.as_str(), route.path)
}

const fn filter(method: Method) -> MethodFilter {
    match method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Put => MethodFilter::PUT,
        Method::Patch => MethodFilter::PATCH,
        Method::Delete => MethodFilter::DELETE,
    }
}

#[cfg(test)]
#[path = "guarded_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "guarded_denials_tests.rs"]
mod denials_tests;
