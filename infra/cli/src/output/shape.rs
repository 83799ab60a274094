//! The forms of results for programs.

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Table,
    /// One JSON document, a list as an array; a watch is one document after the other
    Json,
    /// JSON, one value a line
    Jsonl,
    /// One YAML document, a list as a sequence; a watch is a stream of documents
    Yaml,
}

/// An expression of JMESPath, <https://jmespath.org>, that chooses from the result.
#[derive(Clone, Debug)]
pub(crate) struct Query(jmespath::Expression<'static>);

impl std::str::FromStr for Query {
    type Err = jmespath::JmespathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        jmespath::compile(text).map(Self)
    }
}

/// The form of a result, and what is chosen from it.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) output: Output,
    pub(crate) query: Option<Query>,
}

impl Shape {
    pub(crate) const fn lines() -> Self {
        Self { output: Output::Jsonl, query: None }
    }

    /// A value: a document, or one of a stream.
    pub(super) fn one(&self, value: &impl Serialize) -> Result<String> {
        let text = match &self.query {
            None => self.document(value)?,
            Some(query) => self.document(&query.of(value)?)?,
        };
        Ok(if self.output == Output::Yaml { format!("---\n{text}") } else { text })
    }

    /// A list. The query is asked of the whole list.
    pub(super) fn all<T: Serialize>(&self, values: &[T]) -> Result<String> {
        let found = self.query.as_ref().map(|query| query.of(&values)).transpose()?;
        match (self.output, found) {
            (Output::Jsonl | Output::Table, None) => each_on_a_line(values),
            (Output::Jsonl | Output::Table, Some(Value::Array(found))) => each_on_a_line(&found),
            (_, None) => self.document(&values),
            (_, Some(found)) => self.document(&found),
        }
    }

    fn document(&self, value: &impl Serialize) -> Result<String> {
        match self.output {
            Output::Json => Ok(serde_json::to_string_pretty(value)?),
            Output::Yaml => serde_saphyr::to_string(value).context("the result cannot be written as YAML"),
            Output::Jsonl | Output::Table => Ok(serde_json::to_string(value)?),
        }
    }
}

impl Query {
    fn of(&self, value: &impl Serialize) -> Result<Value> {
        let found = self.0.search(serde_json::to_value(value)?).context("the query does not fit the result")?;
        Ok(serde_json::to_value(found)?)
    }
}

fn each_on_a_line<T: Serialize>(values: &[T]) -> Result<String> {
    let lines = values.iter().map(|value| Ok(serde_json::to_string(value)? + "\n"));
    lines.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use serde_json::{Value, json};

    use super::{Output, Shape};

    fn shape(output: Output, query: Option<&str>) -> Shape {
        Shape { output, query: query.map(|query| query.parse().unwrap()) }
    }

    fn two() -> [Value; 2] {
        [json!({"id": "a", "labels": {"site": "fra"}}), json!({"id": "b: no\n#", "pins": []})]
    }

    #[test]
    fn a_list_has_one_form_in_each_output() {
        let all = |output| shape(output, None).all(&two()).unwrap();
        assert_eq!(
            all(Output::Jsonl),
            "{\"id\":\"a\",\"labels\":{\"site\":\"fra\"}}\n{\"id\":\"b: no\\n#\",\"pins\":[]}\n"
        );
        assert_eq!(serde_json::from_str::<Vec<Value>>(&all(Output::Json)).unwrap(), two());
        assert_eq!(all(Output::Yaml), "- id: a\n  labels:\n    site: fra\n- id: |-\n    b: no\n    #\n  pins: []\n");
        assert_eq!(shape(Output::Json, None).all::<Value>(&[]).unwrap(), "[]");
        assert_eq!(shape(Output::Jsonl, None).all::<Value>(&[]).unwrap(), "");
    }

    #[test]
    fn text_in_yaml_stays_text() {
        let text = ["yes", "null", "~", "1e3", "0x10", "12:30:45", "2026-07-22", "- a", "a: b", "", "*x", "@x", "#"];
        let yaml = shape(Output::Yaml, None).all(&text).unwrap();
        let bare: Vec<_> = yaml.lines().filter(|line| !line.ends_with(['"', '\''])).collect();
        assert_eq!(bare, Vec::<&str>::new());
    }

    #[test]
    fn a_stream_has_a_document_for_each_value() {
        let one = |output| shape(output, None).one(&json!({"state": "running"})).unwrap();
        assert_eq!(one(Output::Jsonl), r#"{"state":"running"}"#);
        assert_eq!(one(Output::Json), "{\n  \"state\": \"running\"\n}");
        assert_eq!(one(Output::Yaml), "---\nstate: running\n");
    }

    #[test]
    fn a_query_chooses_from_the_whole_list() {
        let all = |output, query| shape(output, Some(query)).all(&two()).unwrap();
        assert_eq!(all(Output::Jsonl, "[].id"), "\"a\"\n\"b: no\\n#\"\n");
        assert_eq!(all(Output::Json, "length(@)"), "2");
        assert_eq!(all(Output::Jsonl, "[?labels.site=='fra'].id | [0]"), "\"a\"");
        assert!("[".parse::<super::Query>().is_err());
    }
}
