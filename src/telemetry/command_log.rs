//! The reports of a command's token workers, for the person who runs it: on stderr, in the form of a command's messages.

use std::fmt;
use std::io;
use std::io::Write as _;

use tracing::Event;
use tracing::Level;
use tracing::Subscriber;
use tracing::field::Field;
use tracing::field::Visit;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::layer::SubscriberExt as _;

/// Shows reports of warnings and errors from here on. Without effect if a log is running already.
pub fn start() {
    let registry = tracing_subscriber::registry().with(ToStderr);
    // Fails if there is a log, which shows them.
    tracing::subscriber::set_global_default(registry).ok();
}

struct ToStderr;

impl<S: Subscriber> Layer<S> for ToStderr {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        if *event.metadata().level() > Level::WARN {
            return;
        }
        let mut sentence = Sentence::default();
        event.record(&mut sentence);
        if let Some(sentence) = sentence.0 {
            // A closed stderr is no error.
            writeln!(io::stderr(), "warning: {sentence}").ok();
        }
    }
}

/// What a token worker reports, or does without. Failures are no part of it: the command ends with them.
#[derive(Debug, Default)]
struct Sentence(Option<String>);

impl Sentence {
    fn take(&mut self, field: &Field, value: impl FnOnce() -> String) {
        if matches!(field.name(), "event" | "warning") {
            self.0 = Some(value());
        }
    }
}

impl Visit for Sentence {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, || value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, || format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Heard {
        fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
            let mut sentence = Sentence::default();
            event.record(&mut sentence);
            self.0.lock().unwrap().extend(sentence.0);
        }
    }

    #[test]
    fn what_a_worker_reports_and_does_without_is_shown_and_failures_are_left_to_the_command() {
        let heard = Heard::default();
        let registry = tracing_subscriber::registry().with(heard.clone());
        tracing::subscriber::with_default(registry, || {
            tracing::warn!(
                root_key = "k",
                event = "type the PIN",
                suppressed = 0,
                "the token worker reports"
            );
            tracing::warn!(root_key = "k", warning = "no locked memory", "a protection is missing");
            tracing::error!(root_key = "k", error = "no token", "the token can't be used");
        });
        let expected = ["type the PIN", "no locked memory"];
        assert_eq!(*heard.0.lock().unwrap(), expected);
    }
}
