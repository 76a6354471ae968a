// A rotation on one node: new writes under the new key, old values readable, none stale after rewriting.

package e2e

import (
	"testing"
	"time"
)

func TestARotationReachesEveryValueInEtcd(t *testing.T) {
	needsKMS(t, kmsV2) // only its values can be stale
	t.Parallel()
	cluster, node, server := oneServer(t, true)
	old := node.keyID()
	values := server.createSecrets(100)
	direct := startDirectLoad(t, node)

	node.keys("rotate", "--activate-in", "5s")
	next, active := node.newest(true)
	if next == old {
		t.Fatal("the new version has the id of the old one")
	}
	if now := node.keyID(); time.Until(active) > time.Second && now != old {
		t.Errorf("key_id is %s already, %v before the activation", now, time.Until(active))
	}
	node.awaitKeyID(next, active)
	measured(t, "the daemon reports the new key_id %v after the activation", time.Since(active).Round(time.Millisecond))
	first := awaitFirstWrite(t, cluster, server, next, active)
	measured(t, "first write under the new key: %.1f s after the activation", first.Seconds())

	server.mustHold(values)
	if ids := keyIDs(t, cluster.etcd, namespace); ids[old] != len(values) || ids[next] != 1 {
		t.Errorf("before the rewriting, the number of Secrets by key_id is %v", ids)
	}
	rewriteUntilNoneIsStale(t, cluster, server, next)
	direct.end()
	direct.mustNotHaveFailed()

	server.Restart()
	server.mustHold(values)
	measured(t, "readable through a new kube-apiserver after the rotation: %d Secrets", len(values))
}
