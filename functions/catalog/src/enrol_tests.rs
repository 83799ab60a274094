//! Rows of an enrolment, before and after they are stored.
#![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

use axum::body::to_bytes;
use proptest::prelude::*;
use rootcast_core::device::address::AddressPolicy;

use super::*;

fn parsed(row: Value) -> Result<RequestedDevice, Outcome> {
    let networks: AddressPolicy = "10.0.0.0/8".parse().unwrap();
    parse(row, &Rules::new(&networks, "/rootcast/devices/"), &mut Seen::default())
}

fn row() -> Value {
    json!({ "id": "bmc-1", "address": "https://10.0.0.7:443", "credential": "/rootcast/devices/bmc-1" })
}

fn with(field: &str, value: Value) -> Value {
    let mut row = row();
    row[field] = value;
    row
}

fn why(row: Value) -> String {
    parsed(row).unwrap_err().row.message.unwrap()
}

#[test]
fn bodies_have_three_forms() {
    let count = |form, body: &str| rows(form, body.as_bytes()).map(|(rows, single)| (rows.len(), single)).ok();
    assert_eq!(count(JSON, r#"{"address":"x"}"#), Some((1, true)));
    assert_eq!(count(JSON, r#"[{"address":"x"}]"#), Some((1, false)));
    assert_eq!(count(JSON, r#"{"devices":[{},{}]}"#), Some((2, false)));
    assert_eq!(count(LINES, "{}\n\n{}\r\nnot json\n"), Some((3, false)));
    for refused in ["", "[]", r#"{"devices":[]}"#, r#"{"devices":{}}"#, r#"{"devices":[{}],"device":1}"#, "[{}"] {
        assert_eq!(count(JSON, refused), None, "{refused}");
    }
    assert_eq!(count(LINES, "\n"), None);
    assert_eq!(count(LINES, &"{}\n".repeat(MOST_ROWS + 1)), None);
}

#[test]
fn an_invalid_json_line_is_refused_alone() {
    let (rows, _) = rows(LINES, b"{}\nnot json\n").unwrap();
    assert!(rows[0].is_ok() && rows[1].as_ref().unwrap_err().row.message.as_ref().unwrap().starts_with("not JSON"));
}

#[test]
fn missing_fields_get_defaults() {
    let wanted = parsed(row()).unwrap();
    let record = wanted.record;
    assert_eq!((record.driver, record.profile), (Driver::Redfish, Profile::Dmtf));
    assert_eq!(record.approved_version(), None);
    assert_eq!(record.address.to_string(), "https://10.0.0.7");
    let pin = format!("sha256:{}", "ab".repeat(32));
    let approved = parsed(with("pins", json!([pin]))).unwrap().record;
    assert_eq!(approved.approved_version(), Some(approved.version()));
}

#[test]
fn refusals_name_what_is_wrong() {
    assert!(why(with("adress", json!("x"))).contains("unknown field `adress`"));
    assert!(why(with("address", json!("http://10.0.0.7"))).contains("https://host"));
    assert!(why(with("address", json!("https://11.0.0.7"))).contains("DeviceCidrs"));
    assert!(why(with("credential", json!("/etc/passwd"))).contains("/rootcast/devices/"));
    assert!(why(with("pins", json!(["md5:00"]))).contains("sha256:"));
    assert!(why(with("slot", json!("/redfish/../x"))).contains("/redfish/"));
    assert!(why(with("profile", json!("dell"))).contains("openbmc"));
    assert!(why(with("id", json!("a b"))).contains("1 to 64"));
    assert!(why(with("id", json!("CASE-x"))).contains("in lower case: send case-x"));
    for id in [".", "..", "-a", "a_", "\u{441}ase"] {
        assert!(why(with("id", json!(id))).contains("a letter or digit first and last"), "{id}");
    }
    assert!(why(json!({ "id": "x" })).contains("missing field `address`"));
    assert_eq!(parsed(with("profile", json!(7))).unwrap_err().row.id, "bmc-1");
}

#[test]
fn a_missing_id_is_derived_from_the_address() {
    let id = |address: &str| id_of(&address.parse().unwrap()).map(|id| id.to_string());
    assert_eq!(id("https://10.0.0.7").unwrap(), "10.0.0.7");
    assert_eq!(id("https://10.0.0.7:8443").unwrap(), "10.0.0.7-8443");
    assert_eq!(id("https://[2001:db8::7]:444").unwrap(), "2001-db8--7-444");
    assert_eq!(id("https://BMC-7.Example").unwrap(), "bmc-7.example");
    for none in [&*format!("https://{}.example", "a".repeat(60)), "https://[::7]", "https://[2001:db8::]"] {
        assert_eq!(id(none), None, "{none}");
    }
}

#[test]
fn the_second_row_of_an_id_is_refused() {
    let networks = "10.0.0.0/8".parse().unwrap();
    let (rules, mut seen) = (Rules::new(&networks, "/rootcast/devices/"), Seen::default());
    assert!(parse(row(), &rules, &mut seen).is_ok());
    assert!(parse(row(), &rules, &mut seen).unwrap_err().row.message.unwrap().contains("earlier row"));
    // One device under two ids; two devices behind one address have different slots.
    let again = |address: &str, slot: Value| json!({ "id": "bmc-2", "address": address, "slot": slot, "credential": "/rootcast/devices/bmc-2" });
    for same in ["https://10.0.0.7", "https://10.0.0.7:443", "https://10.7"] {
        let refused =
            parse(again(same, Value::Null), &rules, &mut Seen { ids: HashSet::new(), places: seen.places.clone() });
        let refused = refused.unwrap_err().row.message.unwrap();
        assert!(refused.contains("this address, as bmc-1"), "{same}: {refused}");
    }
    let other = again("https://10.0.0.7", json!("/redfish/v1/Managers/2/Truststore/Certificates"));
    assert!(parse(other, &rules, &mut seen).is_ok());
}

#[test]
fn the_same_row_again_changes_nothing() {
    let pin = || format!("sha256:{}", "ab".repeat(32));
    let approved = parsed(with("pins", json!([pin()]))).unwrap().record;
    // Without pins, a row leaves the approval alone; an empty list would revoke it.
    assert!(parsed(row()).unwrap().is_met_by(&approved));
    assert!(!parsed(with("pins", json!([]))).unwrap().is_met_by(&approved));
    assert!(parsed(with("pins", json!([pin(), pin()]))).unwrap().is_met_by(&approved));
    assert!(!parsed(with("name", json!("other"))).unwrap().is_met_by(&approved));
}

async fn told(results: Vec<Outcome>, single: bool) -> (u16, Value) {
    let response = answer(results, single);
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), 100_000).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn refused_rows_determine_the_status() {
    let created = || Outcome::done("a".to_owned(), Enrolment::Created);
    let refused = || Outcome::refused("b", "no.");
    let taken = || Outcome { kind: Kind::Conflict, ..refused() };
    let (status, body) = told(vec![created()], true).await;
    assert_eq!((status, &body["result"]), (200, &json!("success")));
    assert_eq!(body["response"], json!({ "devices": [{ "id": "a", "result": "created" }] }));
    let (status, body) = told(vec![created(), refused()], false).await;
    assert_eq!((status, &body["result"]), (207, &json!("warning")));
    assert_eq!(body["response"]["devices"][1], json!({ "id": "b", "result": "refused", "message": "no." }));
    assert_eq!(told(vec![refused()], false).await.0, 207);
    assert_eq!(told(vec![refused()], true).await.0, 400);
    let (status, body) = told(vec![taken()], true).await;
    assert_eq!((status, &body["response"]["devices"][0]["result"]), (409, &json!("refused")));
}

proptest! {
    #[test]
    fn hostile_bodies_are_rows_or_refused(body: Vec<u8>, lines: bool) {
        if let Ok((rows, _)) = rows(if lines { LINES } else { JSON }, &body) {
            for row in rows.into_iter().flatten() {
                let _ = parsed(row);
            }
        }
    }

    #[test]
    fn hostile_values_are_refused(id: String, address: String, credential: String, slot: String, pin: String) {
        let hostile = json!({ "id": id, "address": address, "credential": credential, "slot": slot, "pins": [pin] });
        let _ = parsed(hostile);
        let _ = parsed(with("address", json!(address)));
        let _ = parsed(with("credential", json!(credential)));
    }
}
