// Follows a rotation of the root key as far as etcd.

package e2e

import (
	"fmt"
	"testing"
	"time"
)

// awaitFirstWrite writes through the API server until etcd shows the key_id, and gives the time since then.
func awaitFirstWrite(t testing.TB, cluster *Cluster, server *APIServer, keyID string, since time.Time) time.Duration {
	t.Helper()
	name := "first-write-" + server.name
	if err := server.createSecret(name, "0"); err != nil {
		t.Fatal(err)
	}
	attempt := 0
	var asked time.Time
	eventually(t, 2*time.Minute, server.name+" writes under the new key", func() error {
		// As its load balancer and kubelet do; left alone, an API server looks for a new key_id once a minute.
		if time.Since(asked) > time.Second {
			asked = time.Now()
			if err := server.kmsHealth(); err != nil {
				return err
			}
		}
		attempt++
		if err := server.replaceSecret(name, fmt.Sprint(attempt)); err != nil {
			return err
		}
		found, err := parseStored(cluster.etcd.Get(secretKey(namespace, name)))
		if err == nil && found.keyID != keyID {
			err = fmt.Errorf("etcd shows key_id %s, not %s", found.keyID, keyID)
		}
		return err
	})
	return time.Since(since)
}

// rewriteUntilNoneIsStale replaces every Secret by itself and fails if etcd then holds one under another key_id.
func rewriteUntilNoneIsStale(t testing.TB, cluster *Cluster, server *APIServer, keyID string) {
	t.Helper()
	before := keyIDs(t, cluster.etcd, namespace)
	stale := 0
	for id, count := range before {
		if id != keyID {
			stale += count
		}
	}
	if stale == 0 {
		t.Error("nothing was stale before the rewriting: it proves nothing")
	}
	began := time.Now()
	count := server.rewriteAll()
	took := time.Since(began)
	after := keyIDs(t, cluster.etcd, namespace)
	if len(after) != 1 || after[keyID] != count {
		t.Errorf("after the rewriting of %d Secrets, their number by key_id is %v", count, after)
	}
	measured(t, "rewrote %d Secrets, %d of them stale, in %v; stale afterwards: %d",
		count, stale, took.Round(time.Millisecond), count-after[keyID])
}
