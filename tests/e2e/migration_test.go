// From a keyring to a token in one daemon, without a moment at which something is unreadable.

package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestADaemonMovesFromAKeyringToAToken(t *testing.T) {
	needsKMS(t, kmsV2) // only its values can be stale
	needsToken(t)
	t.Parallel()
	const tokenKeyName = "e2e-token"
	cluster := newCluster(t)
	old := Keyring{t: t, rootKey: rootKeyName, shared: true, file: filepath.Join(cluster.dir, "keyring.json")}
	node := newDaemon(t, cluster.dir, "node-1", rootKeys(old))
	node.createRootKey()
	startNodes(cluster, []*Daemon{node})
	server := cluster.servers[0]
	oldID := node.keyID()
	values := server.createSecrets(50)
	load := startLoad(t, server)
	restart := func(what string, stores ...Store) {
		t.Helper()
		node.configure(rootKeys(stores...))
		node.Stop()
		measured(t, "%s: restart to first answer %v", what, node.Start().Round(time.Millisecond))
	}

	token := newToken(t, filepath.Join(cluster.dir, "node-1-token"), tokenKeyName, true)
	node.configure(rootKeys(old, token))
	node.keys("create", "--root-key", tokenKeyName)
	restart("token added behind the keyring", old, token)
	if now := node.keyID(); now != oldID {
		t.Errorf("key_id is %s, not %s, though the keyring comes first", now, oldID)
	}
	load.goOn()

	restart("token first", token, old)
	newID := node.keyID()
	if newID == oldID {
		t.Fatal("key_id is that of the keyring, though the token comes first")
	}
	switched := time.Now()
	first := awaitFirstWrite(t, cluster, server, newID, switched)
	measured(t, "first write under the token's key: %.1f s after the restart", first.Seconds())
	server.mustHold(values)
	load.end(server)
	load.mustNotHaveFailed()
	rewriteUntilNoneIsStale(t, cluster, server, newID)

	if err := os.Remove(old.file); err != nil {
		t.Fatal(err)
	}
	restart("keyring removed", token)
	if now := node.keyID(); now != newID {
		t.Errorf("key_id was %s, is %s", newID, now)
	}
	server.Restart()
	server.mustHold(values)
	measured(t, "readable through a new kube-apiserver without the keyring: %d Secrets", len(values))
}
