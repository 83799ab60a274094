//! Who is signed in, and the end of somebody's session.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use rootcast_gate::routes;
use serde::Deserialize;

use crate::App;
use crate::api::{Api, Told, Trouble};
use crate::caller::Caller;
use crate::form::Sent;
use crate::frame::csrf;
use crate::parts::{encoded, or_why, segment, when};

#[derive(Deserialize)]
pub(crate) struct Sessions {
    sessions: Vec<Session>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct Session {
    session: String,
    principal: String,
    identity: Option<String>,
    created: String,
    expires: String,
}

pub(crate) fn shown(caller: &Caller, sessions: Result<Sessions, Told>) -> Markup {
    html! {
        section.card aria-labelledby="sessions" {
            h2 id="sessions" { "Who is signed in" }
            (or_why(sessions, |sessions| table(caller, &sessions)))
        }
    }
}

fn table(caller: &Caller, Sessions { sessions, cursor }: &Sessions) -> Markup {
    html! {
        @if sessions.is_empty() { p { "Nobody, with a session. Tokens are not sessions." } } @else { div.scroll tabindex="0" role="group" aria-label="Table" { table {
            thead { tr { th { "Name" } th { "Since" } th { "Ends, if it is not used" } th { "Do" } } }
            tbody { @for each in sessions {
                tr {
                    td { (each.principal) @if let Some(identity) = &each.identity { div.small.soft.mono { (identity) } } }
                    td { (when(&each.created)) }
                    td { (when(&each.expires)) }
                    td {
                        form method="post" action={ "/console/sessions/" (segment(&each.session)) "/end" } {
                            (csrf(caller))
                            button.quiet aria-label={ "End this session: of " (each.principal) ", since " (each.created) } { "End this session" }
                        }
                    }
                }
            } }
        } } }
        @if let Some(cursor) = cursor {
            p { a href={ "/console/access?" (encoded(&[("sessions", cursor)])) } { "More sessions" } }
        }
    }
}

pub(crate) async fn end(
    State(app): State<Arc<App>>,
    Path(session): Path<String>,
    sent: Sent,
) -> Result<Response, Trouble> {
    (Api { app: &app, caller: &sent.caller }).call(routes::END_ONES_SESSION, &[&session], "", None).await?;
    Ok(Redirect::to("/console/access?done=ended").into_response())
}
