//! The changes between two configurations, and which of them a running daemon applies.

use crate::config::Config;
use crate::config::location::PathStep;
use crate::config::settings::SettingEntry;
use crate::config::settings::entries;
use crate::kms::options::KmsOptions;
use crate::listener::options::ListenerOptions;
use crate::telemetry::log::LogOptions;

/// The settings in which two configurations differ, by their paths in the schema.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Those that a running daemon applies.
    pub reloadable: Vec<&'static str>,
    /// Those that need a restart.
    pub needs_restart: Vec<&'static str>,
}

impl Changes {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.reloadable.is_empty() && self.needs_restart.is_empty()
    }
}

/// The differences between two configurations.
pub fn changes(old: &Config, new: &Config) -> Changes {
    let [old, new] = [old, new].map(entries);
    let mut changes = Changes::default();
    for SettingEntry {
        setting, reloadable, ..
    } in old.iter().chain(&new)
    {
        if !values(&old, setting).eq(values(&new, setting)) {
            let name = name_of(setting);
            let list = if *reloadable {
                &mut changes.reloadable
            } else {
                &mut changes.needs_restart
            };
            if !list.contains(&name) {
                list.push(name);
            }
        }
    }
    changes
}

/// The values with their places, since not every item of a list has every setting.
fn values<'a>(
    entries: &'a [SettingEntry],
    setting: &'static str,
) -> impl Iterator<Item = (&'a [PathStep], &'a serde_json::Value)> {
    let of_setting = move |entry: &&SettingEntry| entry.setting == setting;
    let value = |entry: &'a SettingEntry| (entry.steps.as_slice(), &entry.value);
    entries.iter().filter(of_setting).map(value)
}

/// The setting's name in a message. For an item of a list it is the list, for a section that may be a word the section.
fn name_of(setting: &'static str) -> &'static str {
    match setting.split_once("[]") {
        Some((list, _)) => list,
        None if setting == "http.address" => "http",
        None => setting,
    }
}

impl Config {
    /// Applies the settings that can change while the daemon runs; those that need a restart stay.
    pub fn reload(&mut self, new: &Self) {
        let Self {
            name: _,
            state: _,
            listener:
                ListenerOptions {
                    socket: _,
                    mode: _,
                    group: _,
                    shared_directory: _,
                    peers,
                },
            kms:
                KmsOptions {
                    status_version: _,
                    v1beta1: _,
                    log_requests,
                },
            http: _,
            root_keys: _,
            policy,
            log: LogOptions { level, format: _ },
            hardening: _,
            worker_memory: _,
        } = new;
        self.listener.peers.clone_from(peers);
        self.kms.log_requests = *log_requests;
        self.policy.clone_from(policy);
        self.log.level = *level;
    }
}
