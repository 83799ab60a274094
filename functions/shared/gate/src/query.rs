//! What a handler reads of a query, said by the types that parse it: the API's description is made from that.

use std::convert::Infallible;
use std::marker::PhantomData;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Path, Query, RawQuery, Request, State};
use http::request::Parts;
use http::{HeaderMap, Method, Uri};
use serde::de::value::{Error, MapDeserializer, StrDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error as _, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

/// A parameter of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    pub name: &'static str,
    pub value: Value,
}

/// What a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    Text,
    /// Whole, and not negative.
    Number,
    Flag,
    OneOf(&'static [&'static str]),
}

/// Those of a route, in the extensions of its answers.
#[derive(Debug, Clone, Copy)]
pub struct Parameters(pub fn() -> Vec<Parameter>);

/// A part of a request that a handler takes: what it reads of the query.
pub trait Reads {
    fn parameters() -> Vec<Parameter> {
        Vec::new()
    }
}

/// The query as it was sent, for `T` to parse.
#[derive(Debug)]
pub struct Raw<T>(pub String, pub PhantomData<fn() -> T>);

impl<T, S: Send + Sync> FromRequestParts<S> for Raw<T> {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.uri.query().unwrap_or_default().to_owned(), PhantomData))
    }
}

impl Parameter {
    pub const fn new(name: &'static str, value: Value) -> Self {
        Self { name, value }
    }
}

/// For a refusal: the names, in the order given.
pub fn names(parameters: &[Parameter]) -> String {
    parameters.iter().map(|each| each.name).collect::<Vec<_>>().join(", ")
}

impl<T: Reads> Reads for Raw<T> {
    fn parameters() -> Vec<Parameter> {
        T::parameters()
    }
}

impl<T: DeserializeOwned> Reads for Result<Query<T>, QueryRejection> {
    fn parameters() -> Vec<Parameter> {
        fields::<T>()
    }
}

impl<T> Reads for State<T> {}
impl<T> Reads for Extension<T> {}
impl<T> Reads for Option<Extension<T>> {}
impl<T> Reads for Path<T> {}
impl<T, E> Reads for Result<Path<T>, E> {}
impl Reads for Parts {}
impl Reads for Uri {}
impl Reads for Method {}
impl Reads for HeaderMap {}
impl Reads for Request {}
impl Reads for String {}
impl Reads for axum::body::Bytes {}
/// Of the operator's page, which is no part of the description.
impl Reads for RawQuery {}

/// A handler's parts, after axum's marker of how it takes the last one.
macro_rules! handler {
    ($($part:ident)*) => {
        impl<M, $($part: Reads),*> Reads for (M, $($part,)*) {
            fn parameters() -> Vec<Parameter> {
                let parts: Vec<Vec<Parameter>> = vec![$($part::parameters()),*];
                parts.concat()
            }
        }
    };
}
handler!();
handler!(A);
handler!(A B);
handler!(A B C);
handler!(A B C D);
handler!(A B C D E);
handler!(A B C D E F);

/// The fields that `T` asks serde for, each with what it takes.
pub fn fields<T: DeserializeOwned>() -> Vec<Parameter> {
    let mut names: &[&str] = &[];
    let _ = T::deserialize(Names(&mut names));
    let value = |name: &'static str| {
        let mut value = Value::Text;
        let _ = T::deserialize(MapDeserializer::<_, Error>::new([(name, Probe(&mut value))].into_iter()));
        Parameter::new(name, value)
    };
    names.iter().copied().map(value).collect()
}

/// Takes down the fields that a struct is asked for, and has none.
struct Names<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("no struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Takes down what a field takes, and is empty text.
struct Probe<'a>(&'a mut Value);

impl<'a> IntoDeserializer<'_, Error> for Probe<'a> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! takes {
    ($($method:ident)*: $value:expr) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            *self.0 = $value;
            self.deserialize_any(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        StrDeserializer::new("").deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = Value::OneOf(variants);
        self.deserialize_any(visitor)
    }

    takes!(deserialize_bool: Value::Flag);
    takes!(deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64: Value::Number);

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    enum State {
        Open,
        LongGone,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    #[expect(dead_code, reason = "only asked what it has")]
    struct Filter {
        page_limit: Option<u32>,
        #[serde(rename = "where")]
        labels: String,
        state: Option<State>,
        #[serde(default)]
        compact: bool,
    }

    #[test]
    fn a_type_says_its_parameters_with_their_values() {
        let expected = [
            Parameter::new("pageLimit", Value::Number),
            Parameter::new("where", Value::Text),
            Parameter::new("state", Value::OneOf(&["open", "longGone"])),
            Parameter::new("compact", Value::Flag),
        ];
        assert_eq!(fields::<Filter>(), expected);
        assert_eq!(<((), Uri, Result<Query<Filter>, QueryRejection>)>::parameters(), expected);
        assert_eq!(fields::<Vec<(String, String)>>(), []);
    }
}
