// The processes that a daemon with a token has beside it, killed under load.

package e2e

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestAKilledTokenWorkerCostsNothing(t *testing.T) {
	_, node, server, payloads := underLoad(t)
	values := server.createSecrets(20)
	load := startLoad(t, server)
	direct := startDirectLoad(t, node)
	uncached := startUncachedLoad(t, node, payloads)
	watch := watchStatus(t, node)
	keyID := node.keyID()

	var restarts []time.Duration
	for range 3 {
		load.goOn()
		uncached.awaitSuccess(time.Now()) // the load meets a worker that runs
		killed := node.kill(roleWorker)
		began := time.Now()
		eventually(t, time.Minute, "another worker runs", func() error {
			now, err := node.only(roleWorker)
			if err == nil && now == killed {
				err = errors.New("the killed one is still there")
			}
			return err
		})
		restarts = append(restarts, uncached.awaitSuccess(began).Round(time.Millisecond))
	}
	load.goOn()
	measured(t, "worker killed three times; from SIGKILL to the next unknown data key unwrapped: %v", restarts)
	uncached.halt()
	all := uncached.between(time.Time{}, time.Now())
	measured(t, "payloads under unknown data keys: %v, the slowest %v", all,
		uncached.slowest(time.Time{}, time.Now()).Round(time.Millisecond))
	if all.bad > 0 {
		t.Errorf("a payload under an unknown data key was refused: %v", all)
	}
	watch.end(keyID)
	if watch.calls.bad > 0 {
		t.Errorf("Status failed: %v", &watch.calls)
	}
	direct.end()
	direct.mustNotHaveFailed()
	load.end(server)
	load.mustNotHaveFailed()
	server.Restart()
	server.mustHold(values)
}

func TestAKilledSpawnerEndsTheDaemonWhoseSupervisorStartsItAnew(t *testing.T) {
	_, node, server, payloads := underLoad(t)
	values := server.createSecrets(20)
	load := startLoad(t, server)
	direct := startDirectLoad(t, node)
	uncached := startUncachedLoad(t, node, payloads)
	keyID := node.keyID()
	load.goOn()
	uncached.awaitSuccess(time.Now())

	before := node.family()
	began := time.Now()
	node.kill(roleSpawner)
	ended := eventually(t, time.Minute, "the daemon ends", func() error {
		if node.process.Load().Running() {
			return fmt.Errorf("%s runs", node.name)
		}
		return nil
	})
	measured(t, "the daemon ends %v after its spawner, its worker after %v", ended.Round(time.Millisecond),
		(ended + mustEnd(t, before)).Round(time.Millisecond))
	node.Start()
	measured(t, "from the spawner's SIGKILL to the new daemon's first answer %v, to the first unknown data key %v",
		time.Since(began).Round(time.Millisecond), uncached.awaitSuccess(node.started).Round(time.Millisecond))
	load.goOn()
	direct.goOn()
	if now := node.keyID(); now != keyID {
		t.Errorf("key_id was %s, is %s", keyID, now)
	}
	uncached.halt()
	measured(t, "payloads under unknown data keys: %v", uncached.between(time.Time{}, time.Now()))
	direct.end()
	load.end(server)
	server.Restart()
	server.mustHold(values)
}

// underLoad is one node with a token, and payloads of which each needs it.
func underLoad(t *testing.T) (*Cluster, *Daemon, *APIServer, chan sealedPayload) {
	t.Helper()
	needsToken(t)
	cluster := newCluster(t)
	store := newStore(t, cluster.dir, "node-1", true)
	node := newDaemon(t, cluster.dir, "node-1", rootKeys(store))
	node.createRootKey()
	payloads := sealEachUnderItsOwnKey(t, cluster, store, 800)
	startNodes(cluster, []*Daemon{node})
	return cluster, node, cluster.servers[0], payloads
}
