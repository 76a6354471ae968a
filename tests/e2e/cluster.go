// Puts one etcd and any number of kube-apiservers together.

package e2e

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"testing"
)

// namespace holds every Secret of a scenario.
const namespace = "e2e"

// Cluster is an etcd and the API servers in front of it.
type Cluster struct {
	t            testing.TB
	dir          string
	etcd         *Etcd
	certificates certificates
	servers      []*APIServer
	requests     Tally
}

// newCluster starts an etcd and nothing else.
func newCluster(t testing.TB) *Cluster {
	t.Helper()
	dir := scenarioDir(t)
	c := &Cluster{t: t, dir: dir, etcd: startEtcd(t, dir), certificates: makeCertificates(t, dir)}
	t.Cleanup(func() { measured(t, "requests for Secrets in all: %v", &c.requests) })
	return c
}

// createNamespace makes the namespace of the scenario, through any API server.
func (c *Cluster) createNamespace() {
	c.t.Helper()
	body := map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": namespace},
	}
	if err := c.servers[0].send(http.MethodPost, "/api/v1/namespaces", body, nil); err != nil {
		c.t.Fatal(err)
	}
}

// oneServer is the usual setting: a daemon, an API server behind it, both ready, and the namespace.
func oneServer(t testing.TB, shared bool) (*Cluster, *Daemon, *APIServer) {
	t.Helper()
	cluster := newCluster(t)
	node := newDaemon(t, cluster.dir, "node-1", rootKeys(newStore(t, cluster.dir, "node-1", shared)))
	node.createRootKey()
	node.Start()
	server := cluster.addAPIServer(node.endpoint())
	server.Start()
	server.waitReady()
	cluster.createNamespace()
	return cluster, node, server
}

// startNodes starts daemons, whose root keys are there already, and an API server behind each.
func startNodes(cluster *Cluster, daemons []*Daemon) {
	cluster.t.Helper()
	knowPINs(cluster.t, daemons)
	for _, node := range daemons {
		node.Start()
		cluster.addAPIServer(node.endpoint()).Start()
	}
	for _, server := range cluster.servers {
		server.waitReady()
	}
	cluster.createNamespace()
}

// knowPINs lists the keys on every node, as an operator does who sets nodes up. So that nodes with a wrong PIN do not
// lock a token at once, a first login waits up to 15 s; a daemon after that knows that its PIN is right.
func knowPINs(t testing.TB, daemons []*Daemon) {
	t.Helper()
	done := make(chan error)
	for _, node := range daemons {
		go func() {
			_, err := node.command("keys", "list")
			done <- err
		}()
	}
	for range daemons {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// canary is a random text that occurs nowhere unless somebody stored it.
func canary() string {
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(raw)
}

// copyFile puts a copy in place as one step, as an operator's copy must: a daemon may be reading the old file.
func copyFile(t testing.TB, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	beside := fmt.Sprintf("%s.%d", to, os.Getpid())
	if err := os.WriteFile(beside, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(beside, to); err != nil {
		t.Fatal(err)
	}
}
