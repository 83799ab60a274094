//! `rootcast api`: the API's routes, and curl for them.

use anyhow::{Result, bail};
use clap::Args;
use serde_json::Value;

use crate::{
    exit::End,
    output::{self, Format, out, plain, table},
};

/// What `GET /openapi.json` answers.
const DOCUMENT: &str = include_str!("../../../functions/catalog/openapi.json");

#[derive(Debug, Args)]
pub(crate) struct Routes {
    /// Print curl for each method of this path, with values in place of its parameters or without; the routes if left out
    #[arg(value_name = "PATH")]
    path: Option<String>,
}

pub(crate) fn run(routes: &Routes, format: Format) -> Result<End> {
    let document: Value = serde_json::from_str(DOCUMENT)?;
    let all = document["paths"].as_object().into_iter().flatten();
    match (&routes.path, format) {
        (None, Format::Json) => output::json(&document)?,
        (None, Format::Text) => {
            let rows: Vec<_> = all
                .flat_map(|(path, methods)| methods.as_object().into_iter().flatten().map(move |route| (path, route)))
                .map(|(path, (method, route))| {
                    [method.to_uppercase(), path.clone(), route["description"].as_str().unwrap_or_default().to_owned()]
                })
                .collect();
            out!("{}", table(["method", "path", "who may"], &rows));
        }
        (Some(path), _) => {
            // A path without parameters goes before one with.
            let mut fitting: Vec<_> = all.filter(|(known, _)| fits(known, path)).collect();
            fitting.sort_by_key(|(known, _)| known.contains('{'));
            let Some((_, methods)) = fitting.first() else {
                bail!("There is no path {}: `rootcast api` lists all of them.", plain(path));
            };
            for (method, route) in methods.as_object().into_iter().flatten() {
                out!("{}", curl(method, path, route));
            }
        }
    }
    Ok(End::Done)
}

/// Whether the path is the known one, or one with values for its parameters.
fn fits(known: &str, path: &str) -> bool {
    let (known, path): (Vec<_>, Vec<_>) = (known.split('/').collect(), path.split('/').collect());
    let same =
        |(known, part): (&&str, &&str)| known.eq_ignore_ascii_case(part) || known.starts_with('{') && !part.is_empty();
    known.len() == path.len() && known.iter().zip(&path).all(same)
}

fn curl(method: &str, path: &str, route: &Value) -> String {
    let named = route["parameters"].as_array().into_iter().flatten().filter(|each| each["in"] == "query");
    let named: Vec<_> = named.filter_map(|each| each["name"].as_str()).collect();
    let note =
        if named.is_empty() { String::new() } else { format!("# In the query, if wanted: {}\n", named.join(", ")) };
    let mut line = format!("{note}curl -sS -X {} \"$ROOTCAST_URL\"{}", method.to_uppercase(), quoted(path));
    if route["security"].as_array().is_some_and(|schemes| !schemes.is_empty()) {
        line += " -H \"Authorization: Bearer $ROOTCAST_TOKEN\"";
    }
    if let Some(body) = route["requestBody"]["content"]["application/json"].get("example") {
        line += &format!(" \\\n  -H 'Content-Type: application/json' -d {}", quoted(&body.to_string()));
    }
    line
}

/// One word for the shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(method: &str, path: &str) -> Option<String> {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let paths = document["paths"].as_object().unwrap();
        paths.iter().find(|(known, _)| fits(known, path)).map(|(_, methods)| curl(method, path, &methods[method]))
    }

    #[test]
    fn a_route_is_printed_as_curl() {
        let put = r#"# In the query, if wanted: activation, reason, canary, growth, largestWave, wavePause, errorBudget, errorBudgetMinimum, proofAge, holdDown, sample, until, generation, rollout, returnJobInfo
curl -sS -X PUT "$ROOTCAST_URL"'/signingCertificate' -H "Authorization: Bearer $ROOTCAST_TOKEN""#;
        assert_eq!(line("put", "/signingCertificate").unwrap(), put);
        assert_eq!(line("get", "/bundle").unwrap(), r#"curl -sS -X GET "$ROOTCAST_URL"'/bundle'"#);
        let retry = line("post", "/vedsdk/Certificates/Retry").unwrap();
        assert!(retry.ends_with(r#"-d '{"CertificateDN":"\\VED\\Policy\\Servers\\web"}'"#), "{retry}");
        assert!(line("get", "/devices/bmc-7").unwrap().contains("'/devices/bmc-7'"));
        assert_eq!(line("get", "/nothing"), None);
    }

    #[test]
    fn a_quote_stays_within_the_shells_word() {
        let route = json!({ "security": [], "requestBody": { "content": { "application/json": { "example": { "a": "it's" } } } } });
        let line = curl("post", "/x'; rm", &route);
        assert!(line.contains(r"'/x'\''; rm'") && line.ends_with(r#"-d '{"a":"it'\''s"}'"#), "{line}");
    }
}
