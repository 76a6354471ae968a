//! The first call and the number of calls of a fault.

/// `after N`, `times N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The number of calls that are skipped.
    pub after: u64,
    /// The number of calls after that; without a number all.
    pub times: Option<u64>,
}

impl Limits {
    /// Takes `after N` and `times N` from the end of a line.
    pub(crate) fn take(words: &mut Vec<&str>) -> Result<Self, String> {
        let mut limits = Self::default();
        while let [.., name @ ("after" | "times"), number] = words.as_slice() {
            let number = number.parse().map_err(|_| format!("{name} {number:?}: no number"))?;
            if *name == "after" {
                limits.after = number;
            } else {
                limits.times = Some(number);
            }
            words.truncate(words.len() - 2);
        }
        Ok(limits)
    }

    /// Whether calls must be counted.
    pub(crate) fn count(self) -> bool {
        self != Self::default()
    }

    /// Whether the fault affects this call; the first one is 0.
    pub(crate) fn include(self, call: u64) -> bool {
        let since = call.checked_sub(self.after);
        since.is_some_and(|since| self.times.is_none_or(|times| since < times))
    }
}
