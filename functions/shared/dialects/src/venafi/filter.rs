//! The filters of a list of certificates.
//!
//! Source: Venafi's pages "Certificates status filters" and "Certificates attribute filters". Several values of one
//! filter, separated by commas or in several parameters, are alternatives. Several filters all have to match. Letter
//! case is ignored. An unknown filter is refused: a caller who acts on a list must not get one with more certificates
//! than asked for.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use rootcast_core::access::permission::{CertificatesSeen, Grant, Grants, Right};
use rootcast_core::deployment::lifecycle::Lifecycle;
use rootcast_gate::{Parameter, Reads, Value, names};
use rootcast_ledger::{CertificateOrPending, CertificateRow};

use super::{Flag, VenafiError};

/// Venafi's default.
const DEFAULT_LIMIT: usize = 100;
/// Some 1.2 MB of JSON. A Lambda function's answer has at most 6 MB.
const LONGEST: usize = 1000;

/// In any case of letters. Others are refused.
const PARAMETERS: [Parameter; 12] = [
    Parameter::new("Limit", Value::Number),
    Parameter::new("Offset", Value::Number),
    // Ignored: the answer always has all fields that it may request.
    Parameter::new("OptionalFields", Value::Text),
    Parameter::new("CN", Value::Text),
    Parameter::new("InError", Value::Text),
    Parameter::new("Name", Value::Text),
    Parameter::new("ParentDn", Value::Text),
    Parameter::new("ParentDnRecursive", Value::Text),
    Parameter::new("Stage", Value::Text),
    Parameter::new("StageGreater", Value::Number),
    Parameter::new("StageLess", Value::Number),
    Parameter::new("Thumbprint", Value::Text),
];

/// The requested page, and its filter.
#[derive(Debug, PartialEq, Eq)]
pub struct ListRequest {
    pub limit: usize,
    pub offset: usize,
    pub filter: Filter,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Filter {
    stages: Option<Vec<u16>>,
    above: Option<u16>,
    below: Option<u16>,
    in_error: Option<bool>,
    /// In upper case.
    pub thumbprints: Option<Vec<String>>,
    /// This field and the following ones are in lower case.
    parents: Option<Vec<String>>,
    ancestors: Option<Vec<String>>,
    names: Option<Vec<String>>,
    common_names: Option<Vec<String>>,
}

impl Reads for ListRequest {
    fn parameters() -> Vec<Parameter> {
        PARAMETERS.to_vec()
    }
}

impl ListRequest {
    pub fn of(query: &str) -> Result<Self, VenafiError> {
        let mut asked = Self { limit: DEFAULT_LIMIT, offset: 0, filter: Filter::default() };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if !PARAMETERS.iter().any(|known| known.name.eq_ignore_ascii_case(&name)) {
                let names = names(&PARAMETERS);
                return Err(VenafiError::invalid(format!("There is no parameter {name:.60}: there are {names}.")));
            }
            let filter = &mut asked.filter;
            let lower = || value.split(',').map(str::to_lowercase);
            match name.to_ascii_lowercase().as_str() {
                "limit" => asked.limit = number(&name, &value, 1..=LONGEST)?,
                "offset" => asked.offset = number(&name, &value, 0..=usize::MAX)?,
                "stage" => {
                    for stage in value.split(',') {
                        filter.stages.get_or_insert_default().push(number(&name, stage, 0..=u16::MAX)?);
                    }
                }
                "stagegreater" => filter.above = Some(number(&name, &value, 0..=u16::MAX)?),
                "stageless" => filter.below = Some(number(&name, &value, 0..=u16::MAX)?),
                "inerror" => filter.in_error = Some(flag(&name, &value)?),
                "thumbprint" => {
                    let prints =
                        value.split(',').map(|print| thumbprint(&name, print)).collect::<Result<Vec<_>, _>>()?;
                    filter.thumbprints.get_or_insert_default().extend(prints);
                }
                "parentdn" => filter.parents.get_or_insert_default().extend(lower()),
                "parentdnrecursive" => filter.ancestors.get_or_insert_default().extend(lower()),
                "name" => filter.names.get_or_insert_default().extend(lower()),
                "cn" => filter.common_names.get_or_insert_default().extend(lower()),
                _ => {}
            }
        }
        Ok(asked)
    }
}

/// `name`: as it was sent.
fn number<N: FromStr + PartialOrd + Display>(
    name: &str,
    value: &str,
    bounds: RangeInclusive<N>,
) -> Result<N, VenafiError> {
    value
        .trim()
        .parse()
        .ok()
        .filter(|number| bounds.contains(number))
        .ok_or_else(|| VenafiError::invalid(format!("{name} is a number from {} to {}.", bounds.start(), bounds.end())))
}

/// In upper case. DynamoDB takes no empty key, and none of more than 2048 bytes.
fn thumbprint(name: &str, value: &str) -> Result<String, VenafiError> {
    if value.len() != 40 || !value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(VenafiError::invalid(format!("{name} is a SHA-1 hash: 40 hexadecimal digits.")));
    }
    Ok(value.to_ascii_uppercase())
}

/// The error text is that of Venafi's page "HEAD Certificates".
fn flag(name: &str, value: &str) -> Result<bool, VenafiError> {
    Flag::of_text(value).map(|Flag(flag)| flag).ok_or_else(|| {
        let value: String = value.chars().take(60).collect();
        VenafiError::invalid(format!(
            "Invalid Boolean value. The value [{value}] for the parameter [{name}] contained spaces, a non-numeric, or a \
             number other than zero or one."
        ))
    })
}

/// The attributes that filters check, except states and thumbprints.
struct Seen<'a> {
    folder: &'a str,
    name: &'a str,
    common_name: Option<&'a str>,
}

impl Filter {
    /// Whether only certificates match that have work to be done or failed work.
    pub fn wants_unfinished(&self) -> bool {
        self.stages.is_some() || self.above.is_some() || self.below.is_some() || self.in_error == Some(true)
    }

    /// Whether a filter checks the state of a certificate's work.
    pub fn is_of_lives(&self) -> bool {
        self.wants_unfinished() || self.in_error.is_some()
    }

    /// Whether a filter checks attributes of a list's row.
    pub fn is_of_rows(&self) -> bool {
        [&self.parents, &self.ancestors, &self.names, &self.common_names].into_iter().any(Option::is_some)
    }

    /// The certificates below the folders that the filter names, if it names any that are known by name.
    pub fn below(&self) -> Option<CertificatesSeen> {
        let folders = self.ancestors.as_ref().or(self.parents.as_ref())?;
        let mut below = Grants::default();
        for folder in folders {
            below.add(Grant { prefix: folder.parse().ok()?, rights: [Right::Read].into() });
        }
        Some(below.certificates_seen())
    }

    pub fn takes_row(&self, row: &CertificateRow) -> bool {
        self.takes(&Seen { folder: &row.folder, name: &row.name, common_name: row.common_name.as_deref() })
    }

    pub fn takes_held(&self, held: &CertificateOrPending) -> bool {
        let (folder, name) = held.place();
        let (common_name, thumbprint) = match held {
            CertificateOrPending::Certificate(record) => {
                (record.common_name.as_deref(), Some(record.leaf.thumbprint()))
            }
            CertificateOrPending::Pending(_) => (None, None),
        };
        let is_one = |prints: &Vec<String>| thumbprint.is_some_and(|print| prints.contains(&print));
        self.thumbprints.as_ref().is_none_or(is_one) && self.takes(&Seen { folder, name, common_name })
    }

    /// `life`: the state of the certificate as a whole; `None` if it has no device.
    pub fn takes_life(&self, life: Option<&Lifecycle>) -> bool {
        let stage = life.and_then(|life| life.stage).map(u16::from);
        self.in_error.is_none_or(|wanted| wanted == life.is_some_and(|life| life.in_error))
            && self.stages.as_ref().is_none_or(|wanted| stage.is_some_and(|stage| wanted.contains(&stage)))
            && self.above.is_none_or(|above| stage.is_some_and(|stage| stage > above))
            && self.below.is_none_or(|below| stage.is_some_and(|stage| stage < below))
    }

    fn takes(&self, seen: &Seen<'_>) -> bool {
        let parent = parent_dn(seen.folder).to_lowercase();
        let is_below = |wanted: &String| {
            parent.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('\\'))
        };
        let (name, common) = (seen.name.to_lowercase(), seen.common_name.map(str::to_lowercase));
        self.parents.as_ref().is_none_or(|wanted| wanted.contains(&parent))
            && self.ancestors.as_ref().is_none_or(|wanted| wanted.iter().any(is_below))
            && self.names.as_ref().is_none_or(|wanted| wanted.contains(&name))
            && self.common_names.as_ref().is_none_or(|wanted| common.is_some_and(|name| wanted.contains(&name)))
    }
}

/// Venafi's DN of a folder.
pub(super) fn parent_dn(folder: &str) -> String {
    format!(r"\VED\Policy\{folder}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use rootcast_core::deployment::lifecycle::{Stage, Work};

    use super::*;

    fn filter(query: &str) -> Filter {
        ListRequest::of(query).unwrap().filter
    }

    fn takes(query: &str) -> bool {
        let seen = Seen { folder: r"Servers\Berlin 2", name: "Web-1", common_name: Some("www.Example.com") };
        filter(query).takes(&seen)
    }

    fn takes_life(query: &str, stage: Option<Stage>, in_error: bool) -> bool {
        let life = Lifecycle { stage, in_error, ..Lifecycle::idle(Work::Issue, "") };
        filter(query).takes_life(Some(&life))
    }

    #[test]
    fn a_page_has_a_hundred_certificates_by_default() {
        assert_eq!(ListRequest::of("").unwrap(), ListRequest { limit: 100, offset: 0, filter: Filter::default() });
        let asked = ListRequest::of("limit=1000&Offset=7&OptionalFields=Issuer&OptionalFields=KeySize").unwrap();
        assert_eq!(asked, ListRequest { limit: 1000, offset: 7, filter: Filter::default() });
    }

    #[test]
    fn no_parameter_is_in_the_list_and_not_read() {
        for Parameter { name, .. } in PARAMETERS.iter().filter(|each| each.name != "OptionalFields") {
            let value = if *name == "Thumbprint" { "ab".repeat(20) } else { "1".to_owned() };
            assert_ne!(ListRequest::of(&format!("{name}={value}")).unwrap(), ListRequest::of("").unwrap(), "{name}");
        }
    }

    #[test]
    fn an_invalid_parameter_is_refused_by_name() {
        for (query, text) in [
            ("Limit=0", "Limit is a number from 1 to 1000."),
            ("Limit=1001", "Limit is a number from 1 to 1000."),
            ("Stage=500,x", "Stage is a number from 0 to 65535."),
            ("Thumbprint=", "Thumbprint is a SHA-1 hash: 40 hexadecimal digits."),
            ("thumbprint=AB,", "thumbprint is a SHA-1 hash: 40 hexadecimal digits."),
            ("StageLess=-1", "StageLess is a number from 0 to 65535."),
            (
                "InError=2",
                "Invalid Boolean value. The value [2] for the parameter [InError] contained spaces, a non-numeric, or a \
                 number other than zero or one.",
            ),
        ] {
            assert_eq!(ListRequest::of(query).unwrap_err().text(), text);
        }
        let unknown = ListRequest::of("Name=web&KeySize=2048").unwrap_err();
        assert!(unknown.text().starts_with("There is no parameter KeySize: there are Limit,"), "{}", unknown.text());
    }

    #[test]
    fn filters_ignore_letter_case_and_values_are_alternatives() {
        for query in [
            "name=web-1",
            "Name=other,WEB-1",
            "Name=other&NAME=web-1",
            "CN=WWW.example.COM",
            r"ParentDn=%5Cved%5Cpolicy%5Cservers%5Cberlin%202",
            r"ParentDnRecursive=%5CVED%5CPolicy",
            r"ParentDnRecursive=%5CVED%5CPolicy%5CServers&Name=Web-1",
        ] {
            assert!(takes(query), "{query}");
        }
        for query in [
            "Name=web",
            "Name=Web-1&CN=other",
            r"ParentDn=%5CVED%5CPolicy%5CServers",
            r"ParentDnRecursive=%5CVED%5CPolicy%5CServers%5CBerlin",
            r"ParentDn=Servers%5CBerlin%202",
        ] {
            assert!(!takes(query), "{query}");
        }
    }

    #[test]
    fn an_idle_certificate_has_no_stage_and_no_error() {
        let csr = Some(Stage::CreateCsr);
        assert!(takes_life("Stage=400,500", csr, false) && takes_life("StageGreater=399&StageLess=401", csr, true));
        assert!(takes_life("InError=1", csr, true) && takes_life("InError=False", csr, false));
        for (query, stage, in_error) in [
            ("Stage=500", csr, false),
            ("StageGreater=400", csr, false),
            ("StageLess=400", csr, true),
            ("StageLess=2000", None, false),
            ("InError=1", csr, false),
            ("InError=0", csr, true),
            ("Stage=400&InError=1", csr, false),
        ] {
            assert!(!takes_life(query, stage, in_error), "{query}");
        }
        assert!(filter("InError=0").takes_life(None) && !filter("Stage=0").takes_life(None));
    }
}
