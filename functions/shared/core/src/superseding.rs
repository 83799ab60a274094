//! A certificate that a renewal replaced stays valid until the new one is proven. Then it is revoked as *superseded*
//! (RFC 5280 §5.3.1). Pure.

use rootcast_pki::fingerprint::Fingerprint;
use time::OffsetDateTime;

/// A certificate that was replaced, by the SHA-256 of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replaced {
    pub successor: Fingerprint,
    pub not_after: OffsetDateTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A device may still need it.
    Wait,
    Revoke,
    /// It has expired: no list needs to name it.
    Forget,
}

impl Replaced {
    /// `current`: what the certificate's record holds now. `shown`: for each device that the certificate is bound to,
    /// what it was last proven to show. Nothing is proven where no device is bound, or where one of them has proven
    /// nothing or something else.
    pub fn judge(self, current: Option<Fingerprint>, shown: &[Option<Fingerprint>], now: OffsetDateTime) -> Verdict {
        let proves = |leaf: &Option<Fingerprint>| leaf.is_some() && (*leaf == Some(self.successor) || *leaf == current);
        match shown {
            _ if self.not_after <= now => Verdict::Forget,
            [] => Verdict::Wait,
            shown if shown.iter().all(proves) => Verdict::Revoke,
            _ => Verdict::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn leaf(number: u8) -> Fingerprint {
        Fingerprint::from_bytes([number; 32])
    }

    /// Of the first certificate, which the second replaced. `current`: a number.
    fn judge(current: u8, shown: &[Option<u8>]) -> Verdict {
        let replaced = Replaced { successor: leaf(2), not_after: NOW + Duration::SECOND };
        let shown: Vec<_> = shown.iter().map(|number| number.map(leaf)).collect();
        replaced.judge(Some(leaf(current)), &shown, NOW)
    }

    #[test]
    fn a_predecessor_is_revoked_once_every_device_shows_a_later_one() {
        assert_eq!(judge(2, &[Some(2)]), Verdict::Revoke);
        assert_eq!(judge(3, &[Some(2), Some(3)]), Verdict::Revoke, "renewed again meanwhile");
    }

    #[test]
    fn a_predecessor_that_a_device_may_show_stays() {
        for shown in [&[][..], &[None], &[Some(1)], &[Some(2), Some(1)], &[Some(2), None], &[Some(0)]] {
            assert_eq!(judge(2, shown), Verdict::Wait, "{shown:?}");
        }
        let replaced = Replaced { successor: leaf(2), not_after: NOW + Duration::SECOND };
        assert_eq!(replaced.judge(None, &[None], NOW), Verdict::Wait, "nothing is not proof of nothing");
    }

    #[test]
    fn an_expired_predecessor_is_forgotten() {
        let replaced = Replaced { successor: leaf(2), not_after: NOW };
        assert_eq!(replaced.judge(None, &[Some(leaf(2))], NOW), Verdict::Forget);
    }
}
