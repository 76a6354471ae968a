// Three nodes with a store each: a rotation in three steps, under load.

package e2e

import (
	"fmt"
	"testing"
	"time"
)

func TestThreeNodesWithAStoreEachRotateWithoutAFailedRead(t *testing.T) {
	needsKMS(t, kmsV2) // only its values can be stale
	t.Parallel()
	cluster := newCluster(t)
	var nodes []*Daemon
	var stores []Store
	for i := range 3 {
		name := fmt.Sprintf("node-%d", i+1)
		stores = append(stores, newStore(t, cluster.dir, name, false))
		nodes = append(nodes, newDaemon(t, cluster.dir, name, rootKeys(stores[i])))
	}
	nodes[0].createRootKey()
	stores[0].copyTo(stores[1])
	stores[0].copyTo(stores[2])
	startNodes(cluster, nodes)
	old := nodes[0].keyID()
	values := cluster.servers[0].createSecrets(50)
	load := startLoad(t, cluster.servers...)
	direct := startDirectLoad(t, nodes...)

	if _, err := nodes[0].command("keys", "rotate", "--activate-in", "10s"); err == nil {
		t.Fatal("a rotation in one step was not refused where every node has a store of its own")
	}
	nodes[0].keys("rotate")
	next, _ := nodes[0].newest(false)
	record := nodes[0].record()
	if err := nodes[1].verifyAgainst(record); err == nil {
		t.Error("a node without the new version opened the record")
	}
	stores[0].copyTo(stores[1])
	stores[0].copyTo(stores[2])
	began := time.Now()
	for _, node := range nodes {
		if err := node.verifyAgainst(record); err != nil {
			t.Fatal(err)
		}
		if now := node.keyID(); now != old {
			t.Errorf("%s reports key_id %s before any activation", node.name, now)
		}
	}
	// Late enough for as many commands again.
	at := time.Now().Add(5*time.Second + 4*time.Since(began)).UTC().Truncate(time.Second)
	for _, node := range nodes {
		node.keys("activate", "--at", at.Format(time.RFC3339))
	}
	_, active := nodes[0].newest(true)
	if early, late := active.Before(at), active.After(at.Add(time.Minute)); early || late {
		t.Fatalf("%s activates at %v, not at %v or the next full minute", nodes[0].name, active, at)
	}
	for _, node := range nodes {
		if id, when := node.newest(true); id != next || !when.Equal(active) {
			t.Fatalf("%s activates %s at %v, not %s at %s", node.name, id, when, next, active)
		}
	}
	finishRotation(t, cluster, nodes, next, active, load, direct)
	for _, server := range cluster.servers {
		server.mustHold(values)
	}
}
