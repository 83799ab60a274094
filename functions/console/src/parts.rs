//! Small pieces of pages.

use maud::{Markup, html};
use serde::Serialize;
use serde_json::Value;

use crate::api::{Told, Trouble};
use crate::caller::Caller;
use crate::frame::{csrf, problem};

/// The API's own word for a value.
pub(crate) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

/// A camelCase word as a person writes it: `holdDown` is hold down.
pub(crate) fn plain(word: &str) -> String {
    word.chars().fold(String::new(), |mut text, letter| {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.push(letter.to_ascii_lowercase());
        text
    })
}

pub(crate) fn tag(kind: &str, text: &str) -> Markup {
    html! { span class={ "tag " (kind) } { (text) } }
}

/// A time of the API, RFC 3339 in UTC.
pub(crate) fn when(time: &str) -> Markup {
    let short = time.get(..16).map_or_else(|| time.to_owned(), |minute| minute.replace('T', " "));
    html! { time datetime=(time) title=(time) { (short) } }
}

pub(crate) fn facts(rows: &[(&str, Markup)]) -> Markup {
    html! { dl { @for (name, value) in rows { dt { (name) } dd { (value) } } } }
}

/// A bar of shares: class, size and name of each. What the bar shows is said in words too.
pub(crate) fn bar(shares: &[(&str, u64, &str)]) -> Markup {
    let total: u64 = shares.iter().map(|(_, size, _)| size).sum::<u64>().max(1);
    let mut from = 0.0;
    let mut parts = Vec::new();
    for (class, size, _) in shares {
        #[expect(clippy::cast_precision_loss, reason = "a width on a screen")]
        let width = *size as f64 * 100.0 / total as f64;
        parts.push((*class, from, width));
        from += width;
    }
    html! {
        svg.fill viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" {
            rect.b0 width="100" height="10" {}
            @for (class, from, width) in parts {
                rect class=(class) x=(format!("{from:.2}")) width=(format!("{width:.2}")) height="10" {}
            }
        }
    }
}

/// The bar with its names below.
pub(crate) fn named_bar(shares: &[(&str, u64, &str)]) -> Markup {
    html! {
        (bar(shares))
        ul.keys {
            @for (class, size, name) in shares {
                li class={ "key k" (class.trim_start_matches('b')) } { (name) ": " (size) }
            }
        }
    }
}

pub(crate) fn figure(value: &str, name: &str) -> Markup {
    html! { div { b { (value) } span { (name) } } }
}

pub(crate) fn field(id: &str, name: &str, input: &Markup) -> Markup {
    html! { div.field { label for=(id) { (name) } (input) } }
}

pub(crate) fn text_field(id: &str, name: &str, value: &str) -> Markup {
    field(id, name, &html! { input id=(id) name=(id) value=(value) autocomplete="off"; })
}

/// Something to do: what it does is said before it can be sent. `typed`: the name that has to be typed in for it.
pub(crate) struct Act<'a> {
    pub(crate) name: &'a str,
    pub(crate) action: &'a str,
    pub(crate) says: &'a str,
    pub(crate) typed: Option<&'a str>,
    pub(crate) fields: Markup,
}

pub(crate) fn act(caller: &Caller, act: &Act<'_>) -> Markup {
    let id = format!("typed-{}", plain(act.name).replace(' ', "-"));
    html! {
        details {
            // A refresh gives the focus back by the id.
            summary id={ "act-" (id) } { (act.name) "…" }
            p { (act.says) }
            form method="post" action=(act.action) {
                (csrf(caller))
                (act.fields)
                @if let Some(typed) = act.typed {
                    (field(&id, &format!("Type “{typed}” to confirm"), &html! {
                        input id=(id) name="typed" required autocomplete="off" autocapitalize="off" spellcheck="false";
                    }))
                }
                button.grave[act.typed.is_some()] { (act.name) }
            }
        }
    }
}

/// A part that could be asked for, or why not.
pub(crate) fn or_why<T>(asked: Result<T, Told>, shown: impl FnOnce(T) -> Markup) -> Markup {
    match asked {
        Ok(value) => shown(value),
        Err(why) => problem(&why),
    }
}

/// As [`or_why`], of an answer that is still to be read.
pub(crate) fn read<T>(asked: Result<Result<T, Trouble>, Told>) -> Result<Result<T, Told>, Trouble> {
    match asked {
        Ok(read) => crate::api::part(read),
        Err(why) => Ok(Err(why)),
    }
}

/// What was just done, by the word in the page's query.
pub(crate) fn done(query: Option<&str>) -> Markup {
    let said = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let word = said.into_owned().find(|(name, _)| name == "done").map(|(_, word)| word);
    let text = match word.as_deref() {
        Some("pause") => "The job is paused. No new device work starts; what is under way ends.",
        Some("resume") => "The job is resumed.",
        Some("continue") => "The job continues.",
        Some("abort") => "The job is being aborted.",
        Some("rollback") => "The job is being rolled back.",
        Some("retry") => "The failed devices are tried again.",
        Some("waive") => "The devices are waived.",
        Some("begun") => "The job has begun.",
        Some("approve") => "The device is approved.",
        Some("probe") => "The device is being looked at: the result is here in a moment.",
        Some("renew") => "The device gets a new certificate.",
        Some("import") => "The certificate is imported.",
        Some("ended") => "The session is ended.",
        Some("confirm") => "The request is confirmed. Whoever asked can send the same call again.",
        Some("reject") => "The request is rejected.",
        _ => return html! {},
    };
    html! { div.note.good role="status" { p { (text) } } }
}

/// A parameter of the page's query.
pub(crate) fn parameter(query: Option<&str>, wanted: &str) -> String {
    let mut said = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    said.find(|(name, _)| name == wanted).map_or_else(String::new, |(_, value)| value.trim().to_owned())
}

pub(crate) fn encoded(pairs: &[(&str, &str)]) -> String {
    let filled = pairs.iter().filter(|(_, value)| !value.is_empty());
    form_urlencoded::Serializer::new(String::new()).extend_pairs(filled).finish()
}

/// An argument in one of our own paths.
pub(crate) fn segment(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_written_as_a_person_does() {
        assert_eq!(
            (plain("holdDown"), plain("storeFull"), plain("running")),
            ("hold down".into(), "store full".into(), "running".into())
        );
    }

    #[test]
    fn shares_fill_the_bar() {
        let shown = bar(&[("b1", 3, "a"), ("b2", 1, "b")]).into_string();
        assert!(shown.contains(r#"x="75.00" width="25.00""#), "{shown}");
        assert!(bar(&[("b1", 0, "a")]).into_string().contains(r#"width="0.00""#));
    }

    #[test]
    fn nothing_is_left_unescaped() {
        let hostile = "<script>alert(1)</script>\"'&";
        let shown = html! {
            (tag(hostile, hostile)) (when(hostile)) (text_field("id", hostile, hostile)) (figure(hostile, hostile))
            (named_bar(&[("b1", 1, hostile)]))
        };
        let shown = shown.into_string();
        assert!(!shown.contains("<script") && !shown.contains("\"'&"), "{shown}");
    }
}
