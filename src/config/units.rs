//! Durations and sizes as the configuration writes them.

use std::time::Duration;

/// A duration in the usual notation: `24h`, `30d`, `500ms`.
pub(super) fn duration_text(duration: Duration) -> String {
    const UNITS: [(u128, &str); 6] = [
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
    ];
    let all = duration.as_nanos();
    // A day is `24h`, a minute `60s`, zero `0s`.
    let fits = |(nanos, unit): &&(u128, &str)| match *unit {
        "d" | "m" => all.is_multiple_of(*nanos) && all >= 2 * nanos,
        "s" => all.is_multiple_of(*nanos),
        _ => all.is_multiple_of(*nanos) && all > 0,
    };
    match UNITS.iter().find(fits) {
        Some((nanos, unit)) => format!("{}{unit}", all / nanos),
        None => format!("{all}ns"),
    }
}

/// A MiB in bytes.
pub(super) const MIB: u64 = 1024 * 1024;

/// The units of sizes, the largest first.
pub(super) const SIZES: [(&str, u64); 3] = [("GiB", 1024 * MIB), ("MiB", MIB), ("KiB", 1024)];

/// A size of whole KiB in the usual notation: `512MiB`.
pub(super) fn size_text(bytes: u64) -> String {
    match SIZES.iter().find(|(_, unit)| bytes.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_written_as_it_can_be_read() {
        const SECOND: Duration = Duration::from_secs(1);
        for (duration, text) in [
            (Duration::ZERO, "0s"),
            (SECOND, "1s"),
            (90 * SECOND, "90s"),
            (60 * SECOND, "60s"),
            (120 * SECOND, "2m"),
            (3600 * SECOND, "1h"),
            (24 * 3600 * SECOND, "24h"),
            (48 * 3600 * SECOND, "2d"),
            (SECOND / 2, "500ms"),
            (SECOND / 2_000_000, "500ns"),
            (SECOND / 2_000, "500us"),
        ] {
            assert_eq!(duration_text(duration), text);
            assert_eq!(humantime::parse_duration(text).unwrap(), duration);
        }
    }
}
