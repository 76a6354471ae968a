// What is different with KMS v1: it carries no key_id, so nothing is ever stale, and the way on is another provider.

package e2e

import (
	"testing"
	"time"
)

func TestSecretsMoveFromKMSv1ToKMSv2(t *testing.T) {
	needsKMS(t, kmsV1)
	t.Parallel()
	cluster, node, server := oneServer(t, true)
	v1 := server.providers[0]
	v2 := provider{kmsV2, providerName + "-v2", v1.endpoint}
	values := server.createSecrets(100)
	mustBeUnder(t, cluster.etcd, map[provider]int{v1: len(values)})
	add := func(name string) {
		t.Helper()
		values[name] = canary()
		if err := server.createSecret(name, values[name]); err != nil {
			t.Fatal(err)
		}
	}
	restart := func(what string, providers ...provider) {
		t.Helper()
		server.configure(providers...)
		measured(t, "%s: restart to ready %v", what, server.Restart().Round(time.Millisecond))
		server.mustHold(values)
	}

	restart("KMS v2 behind KMS v1", v1, v2)
	add("while-v2-only-reads")
	mustBeUnder(t, cluster.etcd, map[provider]int{v1: len(values)})

	restart("KMS v2 before KMS v1", v2, v1)
	add("while-v1-only-reads")
	mustBeUnder(t, cluster.etcd, map[provider]int{v1: len(values) - 1, v2: 1})

	began := time.Now()
	count := server.rewriteAll()
	measured(t, "rewrote %d Secrets in %v", count, time.Since(began).Round(time.Millisecond))
	mustBeUnder(t, cluster.etcd, map[provider]int{v2: len(values)})
	if ids := keyIDs(t, cluster.etcd, namespace); len(ids) != 1 || ids[node.keyID()] != len(values) {
		t.Errorf("the number of Secrets by key_id is %v, not all of them %s", ids, node.keyID())
	}

	restart("KMS v1 removed", v2)
	node.withoutV1()
	node.Stop()
	node.Start()
	if says := node.v1beta1(); says != "off" {
		t.Fatalf("dekhand status calls KMS v1 %q", says)
	}
	restart("KMS v1 switched off in the daemon", v2)
	add("afterwards")
	mustBeUnder(t, cluster.etcd, map[provider]int{v2: len(values)})
	measured(t, "readable through a new kube-apiserver without KMS v1: %d Secrets", len(values))
}

func TestARotationReachesKMSv1ThroughASecondEntry(t *testing.T) {
	needsKMS(t, kmsV1)
	t.Parallel()
	cluster, node, server := oneServer(t, true)
	before := server.providers[0]
	after := provider{kmsV1, providerName + "-2", before.endpoint}
	old := node.keyID()
	values := server.createSecrets(50)

	node.keys("rotate", "--activate-in", "5s")
	next, active := node.newest(true)
	node.awaitKeyID(next, active)
	first := awaitFirstWrite(t, cluster, server, next, active)
	measured(t, "first write under the new key: %.1f s after the activation", first.Seconds())
	server.mustHold(values)
	server.rewriteAll()
	if ids := keyIDs(t, cluster.etcd, namespace); ids[old] != len(values) {
		t.Errorf("Kubernetes rewrites unchanged values of KMS v1 by now: %v. Tell rotation.md", ids)
	}

	server.configure(before, after)
	server.Restart()
	server.configure(after, before)
	server.Restart()
	server.mustHold(values)
	rewriteUntilNoneIsStale(t, cluster, server, next)
	server.configure(after)
	server.Restart()
	server.mustHold(values)
	mustBeUnder(t, cluster.etcd, map[provider]int{after: len(values) + 1})
	measured(t, "readable through a new kube-apiserver without the old entry: %d Secrets", len(values))
}
