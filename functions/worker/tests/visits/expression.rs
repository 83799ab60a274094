//! The part of DynamoDB's expressions that a device's lease and release use.

use serde_json::{Map, Value, json};

type Item = Map<String, Value>;

/// `SET a = :a, #b = :b REMOVE c, #d ADD e :e`.
pub(crate) fn apply(item: &mut Item, text: &str, names: &Value, values: &Value) {
    let mut kind = "";
    for clause in text.replace("SET ", ",SET,").replace("REMOVE ", ",REMOVE,").replace("ADD ", ",ADD,").split(',') {
        let words: Vec<&str> = clause.split_whitespace().filter(|word| *word != "=").collect();
        let name = |word: &str| names[word].as_str().unwrap_or(word).to_owned();
        match (kind, words.as_slice()) {
            (_, []) => {}
            (_, ["SET" | "REMOVE" | "ADD"]) => kind = words[0],
            ("SET", [at, value]) => _ = item.insert(name(at), values[value].clone()),
            ("REMOVE", [at]) => _ = item.remove(&name(at)),
            ("ADD", [at, more]) => {
                let sum = item.get(&name(at)).map_or(0, number) + number(&values[more]);
                item.insert(name(at), json!({ "N": sum.to_string() }));
            }
            other => panic!("{other:?} in {text}"),
        }
    }
}

/// The condition on taking a lease.
pub(crate) fn is_free(item: &Item, values: &Value) -> bool {
    let is_over = item.get("lease").is_none_or(|lease| number(&lease["M"]["until"]) <= number(&values[":now"]));
    let is_wanted = values.get(":goal").is_none_or(|goal| number(&item["goal"]) <= number(goal));
    is_over && is_wanted
}

fn number(value: &Value) -> i64 {
    value["N"].as_str().unwrap().parse().unwrap()
}
