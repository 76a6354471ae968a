//! Reads `grpc-timeout`, the time limit that a caller sets for its request.

use std::time::Duration;

use hyper::HeaderMap;

use crate::caller::Caller;

/// A request's `grpc-timeout` is malformed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The time limit in the headers; the longest if they have none.
pub(super) fn of(headers: &HeaderMap) -> Result<Duration, Malformed> {
    let mut values = headers.get_all("grpc-timeout").iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(Caller::LONGEST_TIMEOUT),
        (Some(value), None) => parse(value.as_bytes()).map(|timeout| timeout.min(Caller::LONGEST_TIMEOUT)),
        (Some(_), Some(_)) => Err(Malformed),
    }
}

/// One to eight digits and a unit, as gRPC's wire protocol has it.
fn parse(text: &[u8]) -> Result<Duration, Malformed> {
    let (unit, digits) = text.split_last().ok_or(Malformed)?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed);
    }
    let count = digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Ok(Duration::from_secs(count * 60 * 60)),
        b'M' => Ok(Duration::from_secs(count * 60)),
        b'S' => Ok(Duration::from_secs(count)),
        b'm' => Ok(Duration::from_millis(count)),
        b'u' => Ok(Duration::from_micros(count)),
        b'n' => Ok(Duration::from_nanos(count)),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("grpc-timeout", HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn every_unit_is_read_and_nothing_exceeds_a_minute() {
        for (text, expected) in [
            ("1H", Duration::from_secs(60)),
            ("99999999H", Duration::from_secs(60)),
            ("2M", Duration::from_secs(60)),
            ("3S", Duration::from_secs(3)),
            ("0S", Duration::ZERO),
            ("50m", Duration::from_millis(50)),
            ("2999999u", Duration::from_micros(2_999_999)),
            ("99999999n", Duration::from_nanos(99_999_999)),
        ] {
            assert_eq!(of(&headers(&[text])), Ok(expected), "{text}");
        }
        assert_eq!(of(&headers(&[])), Ok(Duration::from_secs(60)));
    }

    #[test]
    fn what_is_no_timeout_is_refused() {
        for text in [
            "",
            "S",
            "3",
            "3s",
            "-3S",
            "+3S",
            " 3S",
            "3 S",
            "3.5S",
            "123456789S",
            "3SS",
            "0x3S",
        ] {
            assert_eq!(of(&headers(&[text])), Err(Malformed), "{text}");
        }
        assert_eq!(of(&headers(&["3S", "3S"])), Err(Malformed));
    }
}
