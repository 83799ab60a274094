//! The API as a page asks it: by the rows of the route table, as the person who looks at the page.

use std::fmt::Write;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rootcast_gate::routes::{Function, Route};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::error;

use crate::App;
use crate::caller::Caller;
use crate::frame;
use crate::session::to_sign_in;

const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(crate) struct Api<'a> {
    pub(crate) app: &'a App,
    pub(crate) caller: &'a Caller,
}

/// An answer of the kind that was asked for.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) cookies: Vec<String>,
    body: String,
}

/// Why there is no such answer.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// There is no session, or it has ended.
    SignedOut,
    Refused(Told),
}

/// A refusal in the API's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
    pub(crate) advice: String,
    /// All of them, if an import has several.
    pub(crate) problems: Vec<String>,
    /// The request that a second person has to confirm.
    pub(crate) request: Option<String>,
}

/// The function's answer to the event.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    status_code: u16,
    #[serde(default)]
    cookies: Vec<String>,
    #[serde(default)]
    body: Option<String>,
}

impl Api<'_> {
    /// `arguments`: what stands in place of the path's parameters.
    pub(crate) async fn get(&self, route: Route, arguments: &[&str], query: &str) -> Result<Answer, Trouble> {
        self.call(route, arguments, query, None).await
    }

    pub(crate) async fn call(
        &self,
        route: Route,
        arguments: &[&str],
        query: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Trouble> {
        let functions = &self.app.functions;
        let function = match route.function {
            Function::Regenerate => &functions.regenerate,
            Function::Catalog => &functions.catalog,
            Function::Import => &functions.import,
            Function::Access => &functions.access,
            Function::Retry | Function::Console => return Err(Told::down().into()),
        };
        let event = self.caller.event(route.method.as_str(), &path(route, arguments), query, body);
        let answered = self.app.lambda.invoke(function, &event).await.map_err(|why| {
            error!(error = %why, route = route.name, "a page got no answer from the API");
            Told::down()
        })?;
        let answered: Answered = serde_json::from_value(answered).map_err(|_| Told::down())?;
        let body = answered.body.unwrap_or_default();
        match StatusCode::from_u16(answered.status_code) {
            Ok(StatusCode::UNAUTHORIZED) => Err(Trouble::SignedOut),
            // The call waits for a second person.
            Ok(StatusCode::ACCEPTED) if told(&body, StatusCode::ACCEPTED).request.is_some() => {
                Err(told(&body, StatusCode::ACCEPTED).into())
            }
            Ok(status) if status.is_success() => Ok(Answer { cookies: answered.cookies, body }),
            Ok(status) => Err(told(&body, status).into()),
            Err(_) => Err(Told::down().into()),
        }
    }
}

fn path(route: Route, arguments: &[&str]) -> String {
    let mut arguments = arguments.iter();
    route.path.split('/').skip(1).fold(String::new(), |mut path, segment| {
        let _ = match arguments.as_slice() {
            [argument, ..] if segment.starts_with('{') => {
                arguments.next();
                write!(path, "/{}", utf8_percent_encode(argument, SEGMENT))
            }
            _ => write!(path, "/{segment}"),
        };
        path
    })
}

/// Both formats have a text, and say what to do.
pub(crate) fn told(body: &str, status: StatusCode) -> Told {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let message = &body["messages"][0];
    let problems = body["problems"].as_array().into_iter().flatten().map(|problem| text(&problem["error_msg"]));
    Told {
        status,
        text: [&message["text"], &body["error_msg"]].map(text).concat(),
        advice: text(&message["recovery"]["text"]),
        problems: problems.collect(),
        request: body["response"]["request"].as_str().map(str::to_owned),
    }
}

impl Answer {
    /// The `response` of Lenovo's envelope.
    pub(crate) fn told<T: DeserializeOwned>(&self) -> Result<T, Trouble> {
        #[derive(Deserialize)]
        struct Envelope<T> {
            response: T,
        }
        self.json::<Envelope<T>>().map(|envelope| envelope.response)
    }

    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Trouble> {
        serde_json::from_str(&self.body).map_err(|why| {
            error!(error = %why, "a page cannot read the API's answer");
            Told::down().into()
        })
    }
}

impl Told {
    fn down() -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            text: "The API did not answer.".to_owned(),
            advice: "Nothing is known about what was asked for. Look again in a minute; the log of the function console has the reason.".to_owned(),
            problems: Vec::new(),
            request: None,
        }
    }

    /// Of the page itself.
    pub(crate) fn invalid(text: &str, advice: &str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            text: text.to_owned(),
            advice: advice.to_owned(),
            problems: Vec::new(),
            request: None,
        }
    }
}

impl From<Told> for Trouble {
    fn from(told: Told) -> Self {
        Self::Refused(told)
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        match self {
            Self::SignedOut => to_sign_in(),
            Self::Refused(told) => frame::refused(&told),
        }
    }
}

/// What a part of a page shows: the whole page only goes to a sign-in.
pub(crate) fn part<T>(asked: Result<T, Trouble>) -> Result<Result<T, Told>, Trouble> {
    match asked {
        Ok(answer) => Ok(Ok(answer)),
        Err(Trouble::Refused(told)) => Ok(Err(told)),
        Err(Trouble::SignedOut) => Err(Trouble::SignedOut),
    }
}

#[cfg(test)]
mod tests {
    use rootcast_gate::routes;

    use super::*;

    #[test]
    fn a_path_is_the_routes_with_its_arguments_encoded() {
        assert_eq!(path(routes::DEVICES, &[]), "/devices");
        assert_eq!(path(routes::PAUSE, &["7"]), "/jobs/7/pause");
        assert_eq!(path(routes::DEVICE, &["../principals?x#%"]), "/devices/..%2Fprincipals%3Fx%23%25");
    }

    #[test]
    fn refusals_of_both_formats_are_told() {
        let lenovo = r#"{"result":"failed","messages":[{"text":"No.","recovery":{"text":"Ask."}}]}"#;
        let shown = told(lenovo, StatusCode::CONFLICT);
        assert_eq!((shown.text.as_str(), shown.advice.as_str()), ("No.", "Ask."));
        let huawei = r#"{"error_code":"SCM.0400","error_msg":"Two.","problems":[{"error_msg":"A"},{"error_msg":"B"}]}"#;
        assert_eq!(told(huawei, StatusCode::BAD_REQUEST).problems, ["A", "B"]);
    }
}
