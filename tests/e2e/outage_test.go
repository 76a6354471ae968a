// A token that is gone for half a minute, under load, and comes back.

package e2e

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

const (
	outage = 30 * time.Second
	// recovery is the promise: from the token's return to the first answer that needed it.
	recovery = time.Second
)

// Two nodes with one token: the first is asked only for what it has in its cache, the second also for what it has not.
func TestATokenGoneForHalfAMinuteCostsNoCachedReadAndNoWrite(t *testing.T) {
	needsToken(t)
	t.Parallel()
	cluster := newCluster(t)
	store := newToken(t, filepath.Join(cluster.dir, "common-token"), rootKeyName, true)
	var nodes []*Daemon
	for i := range 2 {
		nodes = append(nodes, newDaemon(t, cluster.dir, fmt.Sprintf("node-%d", i+1), rootKeys(store)))
	}
	quiet, asked := nodes[0], nodes[1]
	quiet.createRootKey()
	payloads := sealEachUnderItsOwnKey(t, cluster, store, 1300)
	startNodes(cluster, nodes)
	keyID := quiet.keyID()
	values := cluster.servers[0].createSecrets(50)
	load := startLoad(t, cluster.servers...)
	direct := []*DirectLoad{startDirectLoad(t, quiet), startDirectLoad(t, asked)}
	uncached := startUncachedLoad(t, asked, payloads)
	watches := []*StatusWatch{watchStatus(t, quiet), watchStatus(t, asked)}
	load.goOn()
	uncached.awaitSuccess(time.Now())

	began := time.Now()
	store.takeAway()
	time.Sleep(outage)
	if tally := uncached.between(time.Now().Add(-outage/2), time.Now()); tally.good > 0 {
		t.Errorf("data keys were unwrapped without a token: %v", tally)
	}
	store.bringBack()
	returned := time.Now()
	took := uncached.awaitSuccess(returned)
	measured(t, "%s opens a payload under an unknown data key %v after the token's return", asked.name,
		took.Round(time.Millisecond))
	mustBeWithin(t, recovery, returned, returned.Add(took), "the first token call after the token's return")
	measured(t, "%s, which nobody asked for an unknown data key, calls the token %.0f s after its return", quiet.name,
		quiet.awaitGoodCall(returned).Seconds())
	load.goOn()
	uncached.awaitSuccess(time.Now())

	ended := time.Now()
	uncached.halt()
	measured(t, "payloads under unknown data keys, asked for before the outage: %v", uncached.between(time.Time{}, began))
	measured(t, "in it: %v, the slowest %v", uncached.between(began, returned),
		uncached.slowest(began, returned).Round(time.Millisecond))
	measured(t, "after it: %v", uncached.between(returned, ended))
	for _, watch := range watches {
		watch.end(keyID)
	}
	if bad := watches[0].calls.bad; bad > 0 {
		t.Errorf("Status of %s failed %d times: it could serve all that it was asked for", quiet.name, bad)
	}
	for _, each := range direct {
		each.end()
	}
	direct[0].mustNotHaveFailed()
	// It had to refuse a read, so it seals nothing for a minute: its API server should leave the load balancer. What it
	// has in its cache it opens all the same.
	if direct[1].opens.bad > 0 {
		t.Errorf("%s failed to open what it has in its cache: %v", asked.name, &direct[1].opens)
	}
	load.end(cluster.servers[1])
	load.mustNotHaveFailed()
	for _, server := range cluster.servers {
		server.Restart()
		server.mustHold(values)
	}
}
