//! Bodies and flags in the forms that Venafi's clients send.

use std::fmt;

use axum::extract::{FromRequest, Request};
use rootcast_gate::{Reads, json};
use serde::de::{DeserializeOwned, Error, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::VenafiError;

/// In bytes: enough for a request with the most names, each of the greatest length.
const LIMIT: usize = 64 << 10;

/// A JSON body. Fields that `T` does not have are ignored, as Venafi does; an empty text is as good as no field.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = VenafiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, VenafiError> {
        let Filled(fields) = json(request, LIMIT).await?;
        let read = T::deserialize(Value::Object(fields));
        Ok(Self(
            read.map_err(|why| VenafiError::invalid(format!("The body has an attribute that is not valid: {why}.")))?,
        ))
    }
}

impl<T> Reads for Body<T> {}

/// The fields of an object, without those that are an empty text. A field that occurs twice is an error, as with any other body.
struct Filled(Map<String, Value>);

impl<'de> Deserialize<'de> for Filled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Filled;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Filled, A::Error> {
                let mut read = Map::new();
                while let Some((name, value)) = fields.next_entry::<String, Value>()? {
                    if read.contains_key(&name) {
                        return Err(A::Error::custom(format!("duplicate field `{name}`")));
                    }
                    read.insert(name, value);
                }
                read.retain(|_, value| value != "");
                Ok(Filled(read))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

/// A flag: `true`, `"true"` or `1`. Venafi's own examples use the second form, its filters the third.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flag(pub bool);

impl Flag {
    pub fn of_text(text: &str) -> Option<Self> {
        match text {
            "1" => Some(Self(true)),
            "0" => Some(Self(false)),
            _ => text.to_ascii_lowercase().parse().ok().map(Self),
        }
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl Visitor<'_> for Read {
            type Value = Flag;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true or false")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Flag, E> {
                Ok(Flag(value))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Flag, E> {
                match value {
                    0 | 1 => Ok(Flag(value == 1)),
                    _ => Err(E::invalid_value(Unexpected::Unsigned(value), &self)),
                }
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Flag, E> {
                Flag::of_text(value).ok_or_else(|| E::invalid_value(Unexpected::Str(value), &self))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use serde_json::{from_str, from_value, json};

    use super::*;

    #[test]
    fn an_empty_text_is_no_field_and_none_occurs_twice() {
        let Filled(fields) = from_str(r#"{"Format": "", "Reason": 0, "Disable": false, "Names": [""]}"#).unwrap();
        assert_eq!(Value::Object(fields), json!({ "Reason": 0, "Disable": false, "Names": [""] }));
        let twice = from_str::<Filled>(r#"{"Format": "", "Format": "DER"}"#).map(drop).unwrap_err();
        assert!(twice.to_string().starts_with("duplicate field `Format`"), "{twice}");
    }

    #[test]
    fn a_flag_is_read_in_every_form_that_clients_send() {
        for (value, flag) in [
            (json!(true), true),
            (json!("True"), true),
            (json!("true"), true),
            (json!(1), true),
            (json!("1"), true),
            (json!(false), false),
            (json!("False"), false),
            (json!(0), false),
        ] {
            assert_eq!(from_value::<Flag>(value.clone()).ok(), Some(Flag(flag)), "{value}");
        }
        for value in [json!(2), json!("yes"), json!(""), json!([]), json!(-1)] {
            assert!(from_value::<Flag>(value.clone()).is_err(), "{value}");
        }
    }
}
