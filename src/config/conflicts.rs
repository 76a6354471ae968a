//! Settings that are valid one by one and do not work together, or mean less than they seem to.

use crate::config::Config;
use crate::envelope::policy::Policy;
use crate::envelope::policy::Reuse;
use crate::listener::options::ListenerOptions;
use crate::listener::options::SocketAddress;

/// Write permission of group and others, without which connecting to a socket fails.
const BY_GROUP_OR_OTHERS: u32 = 0o022;
const BY_GROUP: u32 = 0o020;

impl Config {
    /// A sentence for each such combination, with what to change.
    pub fn conflicts(&self) -> Vec<String> {
        let mut found = of_listener(&self.listener);
        found.extend(of_policy(&self.policy));
        found
    }
}

fn of_listener(options: &ListenerOptions) -> Vec<String> {
    let ListenerOptions {
        socket,
        mode,
        group,
        shared_directory,
        peers,
    } = options;
    let SocketAddress::Path(_) = socket else {
        return vec![format!(
            "`listen.socket` is an abstract name, {socket}: while the daemon does not run, every process in its network \
             namespace can take the name, and then kube-apiserver sends its new keys to that process. Use a path unless \
             you trust all of them"
        )];
    };
    let mut found = Vec::new();
    let own = rustix::process::geteuid().as_raw();
    let shut_out: Vec<_> = peers.iter().filter(|uid| **uid != 0 && **uid != own).collect();
    if let Some(uid) = shut_out.first()
        && mode & BY_GROUP_OR_OTHERS == 0
    {
        found.push(format!(
            "`listen.peers` admits uid {uid}, and `listen.mode` {mode:04o} lets only the socket's owner connect: set \
             `listen.group` to a group of that user and `listen.mode: \"0660\"`, unless dekhand runs as that user"
        ));
    }
    if let Some(group) = group
        && mode & BY_GROUP == 0
    {
        found.push(format!(
            "`listen.group` is {group}, and `listen.mode` {mode:04o} gives the group no permission: set `listen.mode: \
             \"0660\"`"
        ));
    }
    if *shared_directory {
        found.push(
            "`listen.shared_directory` is set: every user who can write to the socket's directory can replace the socket, \
             and then receives what kube-apiserver encrypts"
                .to_owned(),
        );
    }
    found
}

fn of_policy(policy: &Policy) -> Vec<String> {
    let default = Policy::default();
    let mut found = Vec::new();
    if policy.reuse == Reuse::Never && (policy.max_uses != default.max_uses || policy.max_age != default.max_age) {
        found.push(
            "`data_keys.max_uses` and `data_keys.max_age` have no effect with `data_keys.reuse: never`: leave them out"
                .to_owned(),
        );
    }
    if !policy.has_reserve() && policy.tolerate != default.tolerate && !policy.tolerate.is_zero() {
        found.push(
            "`outage.tolerate` has no effect: with `data_keys.reuse: never` or `data_keys.cache.ttl: 0s` no data key in \
             memory could bridge an outage"
                .to_owned(),
        );
    }
    if policy.has_reserve() && !policy.tolerate.is_zero() && policy.cache_ttl < policy.probe_interval {
        found.push(
            "`data_keys.cache.ttl` is shorter than `probe.interval`: when an outage is noticed, few data keys are left in \
             memory to bridge it"
                .to_owned(),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn listener(mode: u32, group: Option<u32>, peers: &[u32]) -> ListenerOptions {
        ListenerOptions {
            mode,
            group,
            peers: peers.to_vec(),
            ..ListenerOptions::at("/run/kms.sock".parse().unwrap())
        }
    }

    #[test]
    fn peers_and_groups_that_the_mode_shuts_out_are_named() {
        let stranger = rustix::process::geteuid().as_raw() + 4711;
        for (options, words) in [
            (listener(0o600, None, &[0]), None),
            (
                listener(0o600, None, &[0, stranger]),
                Some("lets only the socket's owner connect"),
            ),
            (listener(0o660, None, &[0, stranger]), None),
            (listener(0o660, Some(7), &[stranger]), None),
            (listener(0o600, Some(7), &[0]), Some("gives the group no permission")),
        ] {
            let found = of_listener(&options).join("; ");
            match words {
                Some(words) => assert!(found.contains(words), "{found}"),
                None => assert_eq!(found, ""),
            }
        }
    }

    #[test]
    fn an_abstract_name_and_a_shared_directory_are_named_with_what_they_mean() {
        let found = of_listener(&ListenerOptions::at("@kms".parse().unwrap()));
        assert!(found[0].contains("can take the name"), "{found:?}");
        let shared = ListenerOptions {
            shared_directory: true,
            ..listener(0o600, None, &[])
        };
        assert!(of_listener(&shared)[0].contains("can replace the socket"));
    }

    #[test]
    fn settings_of_data_keys_without_an_effect_are_named() {
        assert_eq!(of_policy(&Policy::default()), [""; 0]);
        let never = Policy {
            reuse: Reuse::Never,
            max_uses: 7,
            tolerate: Duration::from_secs(60),
            ..Policy::default()
        };
        assert_eq!(of_policy(&never).len(), 2);
        let short = Policy {
            cache_ttl: Duration::from_secs(1),
            ..Policy::default()
        };
        assert!(of_policy(&short)[0].contains("shorter than `probe.interval`"));
    }
}
