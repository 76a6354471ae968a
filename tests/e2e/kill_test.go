// A killed daemon costs nothing that was acknowledged.

package e2e

import (
	"testing"
	"time"
)

func TestNothingIsLostWhenTheDaemonIsKilled(t *testing.T) {
	cluster, node, server := oneServer(t, true)
	values := server.createSecrets(50)
	load := startLoad(t, server)
	direct := startDirectLoad(t, node)
	before := node.keyID()

	var restarts []time.Duration
	longest := time.Duration(0)
	for _, away := range []time.Duration{0, 0, 4 * time.Second} {
		load.goOn() // it meets a daemon that runs
		direct.goOn()
		killed := time.Now()
		before := node.family()
		node.Kill()
		time.Sleep(away)
		node.Start()
		took := time.Since(killed)
		restarts = append(restarts, took.Round(time.Millisecond))
		longest = max(longest, took)
		mustEnd(t, before) // what it had started goes with it
	}
	load.goOn()
	direct.goOn()
	measured(t, "killed three times; from SIGKILL to the next answer (the third with 4 s away): %v", restarts)
	if after := node.keyID(); after != before {
		t.Errorf("key_id was %s, is %s", before, after)
	}
	direct.end()
	// A new API server knows no data key: what it reads, the daemon has opened.
	load.halt()
	measured(t, "kube-apiserver: restart to ready afterwards %v", server.Restart().Round(time.Millisecond))
	load.end(server)
	server.mustHold(values)
	for _, tally := range []*Tally{&load.reads, &load.lists} {
		if tally.longest > longest {
			t.Errorf("reads failed for %v, the longest restart took %v", tally.longest, longest)
		}
	}
	if ids := keyIDs(t, cluster.etcd, namespace); len(ids) != 1 {
		t.Errorf("one key, but etcd shows %v", ids)
	}
}
