// Three nodes with a keyring file each: a rotation in three steps, under load.

package e2e

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

func TestThreeNodesWithAKeyringEachRotateWithoutAFailedRead(t *testing.T) {
	cluster := newCluster(t)
	var nodes []*Daemon
	var files []string
	for i := range 3 {
		name := fmt.Sprintf("node-%d", i+1)
		files = append(files, filepath.Join(cluster.dir, name+"-keyring.json"))
		nodes = append(nodes, newDaemon(t, cluster.dir, name, keyring(files[i], false)))
	}
	nodes[0].createRootKey()
	copyFile(t, files[0], files[1])
	copyFile(t, files[0], files[2])
	threeNodes(cluster, nodes)
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
	copyFile(t, files[0], files[1])
	copyFile(t, files[0], files[2])
	for _, node := range nodes {
		if err := node.verifyAgainst(record); err != nil {
			t.Fatal(err)
		}
		if now := node.keyID(); now != old {
			t.Errorf("%s reports key_id %s before any activation", node.name, now)
		}
	}
	at := time.Now().Add(10 * time.Second).UTC().Format(time.RFC3339)
	for _, node := range nodes {
		node.keys("activate", "--at", at)
	}
	var active time.Time
	for _, node := range nodes {
		var id string
		if id, active = node.newest(true); id != next || active.Format(time.RFC3339) != at {
			t.Fatalf("%s activates %s at %v, not %s at %s", node.name, id, active, next, at)
		}
	}
	finishRotation(t, cluster, nodes, next, active, load, direct)
	for _, server := range cluster.servers {
		server.mustHold(values)
	}
}
