//! Routers built from rows of the route table.

use std::marker::PhantomData;

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};

use crate::bearer::Principal;
use crate::routes::{Denied, Method, Route};

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
    E: From<Denied> + IntoResponse + 'static,
{
    /// `route`: a row of the table ([`routes`](crate::routes)).
    pub fn on<T: 'static>(self, route: Route, handler: impl Handler<T, S>) -> Self {
        let guard = from_fn(move |request: Request, next: Next| guard::<E>(route, request, next));
        let guarded = on(filter(route.method), handler).route_layer(guard);
        Self { router: self.router.route(route.path, guarded), ..self }
    }

    pub fn into_router(self) -> Router<S> {
        self.router
    }
}

async fn guard<E: From<Denied> + IntoResponse>(route: Route, request: Request, next: Next) -> Response {
    match route.admits(request.extensions().get::<Principal>()) {
        Ok(()) => next.run(request).await,
        Err(denied) => E::from(denied).into_response(),
    }
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
