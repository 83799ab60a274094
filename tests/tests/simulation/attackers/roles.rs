//! Who attacks.

use rootcast_core::access::permission::{Grants, Operation, Role};
use rootcast_core::access::scope::Scopes;

/// How the attacker authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// A token of `rootcast login`: of nobody who has a principal, unless a second person is to know whose it is.
    Token,
    /// A token of Venafi's API with a refresh token, narrowed to this scope.
    Narrowed(&'static str),
    /// A session's cookie, with its CSRF token and the password.
    Session,
}

#[derive(Debug, Clone)]
pub struct Attacker {
    pub name: String,
    /// Of the attacker's principal.
    pub grants: Grants,
    pub credential: Credential,
    /// Whether no rollover is under way.
    pub calm: bool,
    /// Tries many sequences of two calls. The others try some: an operator in a session has an operator's rights, and an
    /// administrator's states are many.
    pub thorough: bool,
    /// Whether every operation needs a second person, and there is none.
    pub alone: bool,
}

impl Attacker {
    fn new(name: impl Into<String>, grants: impl Into<Grants>, credential: Credential) -> Self {
        Self { name: name.into(), grants: grants.into(), credential, calm: false, thorough: false, alone: false }
    }

    /// Everybody who attacks.
    pub fn all() -> Vec<Self> {
        let mut all = vec![
            Self::new("reader", Role::Reader, Credential::Token),
            Self { thorough: true, ..Self::new("operator", Role::Operator, Credential::Token) },
            Self::new("operator in a session", Role::Operator, Credential::Session),
            Self::new("administrator's narrowest token", Role::Administrator, Credential::Narrowed("certificate")),
            Self::new(
                "administrator's widest token for Venafi's API",
                Role::Administrator,
                Credential::Narrowed(
                    "admin;certificate:approve,delete,discover,manage,recyclebin,revoke;configuration:delete,manage;\
                     restricted:delete,manage;security:delete,manage",
                ),
            ),
        ];
        all.push(Self::without_a_second_person());
        let without = |left_out: &Operation| {
            let others = Operation::ALL.iter().copied().filter(|operation| operation != left_out).collect();
            let everything = vec![r"\VED\Policy=manage".parse().unwrap()];
            Self::new(
                format!("administrator without {left_out}"),
                Grants::given(None, everything, others),
                Credential::Token,
            )
        };
        all.extend(Operation::ALL.iter().map(without));
        all.push(without(&Operation::Activate).in_a_calm_fleet());
        all
    }

    /// Somebody who may do everything.
    pub fn administrator() -> Self {
        Self::new("administrator", Role::Administrator, Credential::Token)
    }

    /// Somebody who may do everything, where each operation needs a second person.
    pub fn without_a_second_person() -> Self {
        let name = "administrator without a second person";
        Self { alone: true, ..Self::new(name, Role::Administrator, Credential::Token) }
    }

    /// The same attacker before a rollover.
    pub fn in_a_calm_fleet(self) -> Self {
        Self { name: format!("{}, before a rollover", self.name), calm: true, ..self }
    }

    /// What the credential is good for.
    pub fn effective(&self) -> (Grants, Option<Scopes>) {
        match self.credential {
            Credential::Narrowed(scope) => {
                let scopes: Scopes = scope.parse().unwrap();
                (scopes.narrow(&self.grants), Some(scopes))
            }
            Credential::Token | Credential::Session => (self.grants.clone(), None),
        }
    }

    /// Whether the credential gives the operation. A narrowed one is good for Venafi's API alone, which has none.
    pub fn may(&self, operation: Operation) -> bool {
        !matches!(self.credential, Credential::Narrowed(_)) && !self.alone && self.grants.may(operation)
    }
}
