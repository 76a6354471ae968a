// Three nodes with one store: a rotation in one step, under load.

package e2e

import (
	"fmt"
	"testing"
	"time"
)

func TestThreeNodesWithOneStoreRotateWithoutAFailedRead(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t)
	var nodes []*Daemon
	store := newStore(t, cluster.dir, "common", true)
	for i := range 3 {
		nodes = append(nodes, newDaemon(t, cluster.dir, fmt.Sprintf("node-%d", i+1), rootKeys(store)))
	}
	nodes[0].createRootKey()
	startNodes(cluster, nodes)
	values := cluster.servers[0].createSecrets(50)
	load := startLoad(t, cluster.servers...)
	direct := startDirectLoad(t, nodes...)

	nodes[0].keys("rotate", "--activate-in", "10s")
	next, active := nodes[0].newest(true)
	finishRotation(t, cluster, nodes, next, active, load, direct)
	for _, server := range cluster.servers {
		server.mustHold(values)
	}
}

// finishRotation waits until every node and every API server use the new version, ends the loads, and rewrites.
func finishRotation(
	t *testing.T, cluster *Cluster, nodes []*Daemon, next string, active time.Time, load *Load, direct *DirectLoad,
) {
	t.Helper()
	for _, node := range nodes {
		node.awaitKeyID(next, active)
	}
	measured(t, "all three daemons report the new key_id %v after the activation",
		time.Since(active).Round(time.Millisecond))
	for _, server := range cluster.servers {
		first := awaitFirstWrite(t, cluster, server, next, active)
		measured(t, "first write of %s under the new key: %.1f s after the activation", server.name, first.Seconds())
	}
	load.goOn() // under the new key, through all three
	direct.goOn()
	direct.end()
	load.end(cluster.servers[2])
	load.mustNotHaveFailed()
	direct.mustNotHaveFailed()
	if kmsAPI() == kmsV2 { // only its values can be stale
		rewriteUntilNoneIsStale(t, cluster, cluster.servers[1], next)
	}
	// Only an API server that knows no data key shows that its node can open what the others wrote.
	cluster.servers[0].Restart()
}
