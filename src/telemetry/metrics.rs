//! The daemon's metrics, in Prometheus' text format.

use std::sync::Arc;
use std::sync::OnceLock;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tracing_appender::non_blocking::ErrorCounter;

/// A call of kube-apiserver: its protocol, its method, and the name of its gRPC code.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// `v2`, `v1beta1`, or `other`.
    pub api: &'static str,
    /// `Status`, `Version`, `Encrypt`, `Decrypt`, or `other`.
    pub method: &'static str,
    /// `OK`, `UNAVAILABLE`, ...
    pub code: &'static str,
}

/// A version of a root key, by its `key_id`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct VersionLabels {
    /// Hex of the version's id.
    pub key_id: String,
}

/// The hash that kube-apiserver's own metrics carry for a `key_id`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KeyIdHashLabels {
    /// `sha256:` and the hex digest of the `key_id`.
    pub key_id_hash: String,
}

/// A root key, by its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RootKeyLabels {
    /// Its name in the configuration.
    pub root_key: String,
}

/// The start of a token worker, by its reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WorkerStartLabels {
    /// The root key's name in the configuration.
    pub root_key: String,
    /// `start`, `died`, `hung`, `asked` or `memory`.
    pub reason: &'static str,
}

/// A call to a token worker, and its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TokenCallLabels {
    /// The root key's name in the configuration.
    pub root_key: String,
    /// `open`, `find`, `wrap`, `unwrap`.
    pub call: &'static str,
    /// `good`, `outage`, `refusal`, `corruption`, `bad_input` or `busy`.
    pub outcome: &'static str,
}

/// All metrics. Cheap to clone; clones share their counters.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Calls answered, by protocol, method and code.
    pub requests: Family<RequestLabels, Counter>,
    /// Connections refused because of their uid.
    pub refused_peers: Counter,
    /// Connections refused because of their `:authority`.
    pub refused_authorities: Counter,
    /// Open connections on the KMS socket.
    pub connections: Gauge,
    /// Data keys wrapped, by version: under AES-GCM a root key may wrap at most 2^32.
    pub wraps: Family<VersionLabels, Counter>,
    /// Data keys unwrapped, by version.
    pub unwraps: Family<VersionLabels, Counter>,
    /// Unwrapped data keys in the cache, as of the last listing.
    pub cached_data_keys: Gauge,
    /// 1 for the `key_id` that Status reports; the label equals the one of kube-apiserver's envelope metrics.
    pub primary: Family<KeyIdHashLabels, Gauge>,
    /// Seconds since 1970 of the last call to the root key whose result was verified.
    pub last_good_call: Gauge,
    /// 1 while the configuration file is refused and an older configuration is in use.
    pub config_broken: Gauge,
    /// Token workers started, by reason.
    pub worker_starts: Family<WorkerStartLabels, Counter>,
    /// Calls to token workers, by call and outcome.
    pub token_calls: Family<TokenCallLabels, Counter>,
    /// 1 while the token is not used because it has rejected the PIN.
    pub pin_rejected: Family<RootKeyLabels, Gauge>,
    /// Bytes of data memory of the token worker.
    pub worker_memory: Family<RootKeyLabels, Gauge>,
    dropped_log_lines: Arc<OnceLock<ErrorCounter>>,
}

impl Metrics {
    /// All metrics at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the log's count of dropped lines to the metrics.
    pub fn show_dropped_lines(&self, counter: ErrorCounter) {
        // One process has one log.
        self.dropped_log_lines.set(counter).ok();
    }

    /// The page that `/metrics` serves.
    pub fn page(&self) -> String {
        let mut registry = Registry::with_prefix("dekhand");
        let Self {
            requests,
            refused_peers,
            refused_authorities,
            connections,
            wraps,
            unwraps,
            cached_data_keys,
            primary,
            last_good_call,
            config_broken,
            worker_starts,
            token_calls,
            pin_rejected,
            worker_memory,
            dropped_log_lines,
        } = self.clone();
        registry.register("requests", "Calls answered, by method and gRPC code", requests);
        registry.register(
            "refused_peers",
            "Connections refused because of their uid",
            refused_peers,
        );
        registry.register(
            "refused_authorities",
            "Connections refused because of their :authority",
            refused_authorities,
        );
        registry.register("connections", "Open connections on the KMS socket", connections);
        registry.register("wraps", "Data keys wrapped, by root-key version", wraps);
        registry.register("unwraps", "Data keys unwrapped, by root-key version", unwraps);
        registry.register("cached_data_keys", "Unwrapped data keys in the cache", cached_data_keys);
        registry.register("primary_key_id_hash", "1 for the key_id that Status reports", primary);
        registry.register(
            "last_good_root_key_call_timestamp_seconds",
            "When the result of a call to the root key was last verified",
            last_good_call,
        );
        registry.register(
            "config_broken",
            "1 while a changed configuration file is refused",
            config_broken,
        );
        registry.register("worker_starts", "Token workers started, by reason", worker_starts);
        registry.register(
            "token_calls",
            "Calls to token workers, by call and outcome",
            token_calls,
        );
        registry.register(
            "pin_rejected",
            "1 while the token is not used because it has rejected the PIN",
            pin_rejected,
        );
        registry.register(
            "worker_memory_bytes",
            "Data memory of the token worker, as of its last reply",
            worker_memory,
        );
        let dropped: Counter = Counter::default();
        dropped.inc_by(
            dropped_log_lines
                .get()
                .map_or(0, |counter| counter.dropped_lines() as u64),
        );
        registry.register(
            "dropped_log_lines",
            "Log lines dropped because stderr was not read",
            dropped,
        );
        let mut page = String::new();
        match encode(&mut page, &registry) {
            Ok(()) => page,
            // Writing into a String does not fail.
            Err(std::fmt::Error) => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_metric() {
        let metrics = Metrics::new();
        metrics
            .requests
            .get_or_create(&RequestLabels {
                api: "v2",
                method: "Encrypt",
                code: "OK",
            })
            .inc();
        let page = metrics.page();
        assert!(
            page.contains("dekhand_requests_total{api=\"v2\",method=\"Encrypt\",code=\"OK\"} 1"),
            "{page}"
        );
        assert!(page.contains("dekhand_dropped_log_lines_total 0"), "{page}");
        assert!(page.ends_with("# EOF\n"));
    }
}
