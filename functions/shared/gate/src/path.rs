//! Paths, which are case-insensitive.

use axum::extract::Request;
use http::Uri;
use http::uri::PathAndQuery;

/// The segment after one of these keeps its case: it is a device's id or a principal's name.
const NAMED: [&str; 2] = ["devices", "principals"];

/// Middleware: lower-cases the path. Some clients send the documented letter case, others lower case.
pub async fn fold_case(mut request: Request) -> Request {
    let folded = folded(request.uri().path());
    let whole = request.uri().query().map_or_else(|| folded.clone(), |query| format!("{folded}?{query}"));
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = whole.parse::<PathAndQuery>().ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request
}

/// Whether the path is `root` or below it, in any case. `root` has no slash at its end.
pub fn is_under(root: &str, path: &str) -> bool {
    let split = path.split_at_checked(root.len());
    split.is_some_and(|(start, rest)| start.eq_ignore_ascii_case(root) && (rest.is_empty() || rest.starts_with('/')))
}

fn folded(path: &str) -> String {
    let mut kept = false;
    let fold = |part: &str| {
        let fold = if kept { part.to_owned() } else { part.to_ascii_lowercase() };
        kept = !kept && NAMED.contains(&fold.as_str());
        fold
    };
    path.split('/').map(fold).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_folded_except_names_of_devices_and_principals() {
        for (path, expected) in [
            ("/VedSDK/Certificates/Retry", "/vedsdk/certificates/retry"),
            ("/Devices/BMC-1/Certificate", "/devices/BMC-1/certificate"),
            ("/Devices/DEVICES/DEVICES", "/devices/DEVICES/devices"),
            ("/PRINCIPALS/Jane/Password", "/principals/Jane/password"),
            ("/X/%4A", "/x/%4a"),
            ("/", "/"),
            ("", ""),
        ] {
            assert_eq!(folded(path), expected);
        }
    }

    #[test]
    fn a_path_is_under_whole_segments_in_any_case() {
        for path in ["/v3/scm", "/V3/scm/", "/v3/SCM/certificates", "/v3/scm//x"] {
            assert!(is_under("/v3/scm", path), "{path}");
        }
        for path in ["", "/", "/v3", "/v3/scmx", "/x/v3/scm", "/v3//scm", "//v3/scm", "/v3/sc\u{fc}"] {
            assert!(!is_under("/v3/scm", path), "{path}");
        }
    }
}
