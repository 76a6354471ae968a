// Secrets are sealed in etcd, all of them, and stay readable.

package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"
)

func TestEverySecretIsSealedInEtcdAndReadable(t *testing.T) {
	const count = 300
	cluster := newCluster(t)
	node := newDaemon(t, cluster.dir, "node-1", rootKeys(newStore(t, cluster.dir, "node-1", true)))
	node.createRootKey()
	measured(t, "daemon: start to first answer %v", node.Start().Round(time.Millisecond))
	server := cluster.addAPIServer(node.endpoint())
	server.Start()
	measured(t, "kube-apiserver: start to ready %v", server.waitReady().Round(time.Millisecond))
	measured(t, "RSS, idle: %v", node.memory())
	cluster.createNamespace()
	statusIsRight(t, node)

	mark := canary() // begins every value, so that one search finds any of them
	values := map[string]string{}
	began := time.Now()
	for i := range count {
		name := fmt.Sprintf("secret-%03d", i)
		values[name] = mark + canary()
		if err := server.createSecret(name, values[name]); err != nil {
			t.Fatalf("creating %s: %v", name, err)
		}
	}
	measured(t, "created %d Secrets in %v", count, time.Since(began).Round(time.Millisecond))
	server.mustHold(values)

	etcdHoldsOnlySealed(t, cluster, node, count)
	control := canary()
	body := map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "control"},
		"data": map[string]string{"value": control},
	}
	if err := server.send(http.MethodPost, "/api/v1/namespaces/"+namespace+"/configmaps", body, nil); err != nil {
		t.Fatal(err)
	}
	if values, files := cluster.etcd.Occurrences([]byte(control)); values == 0 || files == 0 {
		t.Errorf("the search misses what is not encrypted: %d in values, %d in files", values, files)
	}
	inBase64 := base64.StdEncoding.EncodeToString([]byte(mark))[:40] // the rest depends on what follows the mark
	for form, needle := range map[string]string{"as they are": mark, "in base64": inBase64} {
		values, files := cluster.etcd.Occurrences([]byte(needle))
		if values+files > 0 {
			t.Errorf("bytes of Secrets, %s, occur in etcd", form)
		}
		measured(t, "bytes of Secrets, %s: %d times in etcd's values, %d times in its files", form, values, files)
	}

	measured(t, "kube-apiserver: restart to ready with %d sealed Secrets %v",
		count, server.Restart().Round(time.Millisecond))
	server.mustHold(values)
	measured(t, "readable and listed after the restart of kube-apiserver: %d Secrets", len(values))

	direct := startDirectLoad(t, node)
	for range 5 { // a load to measure memory under
		direct.goOn()
	}
	direct.end()
	direct.mustNotHaveFailed()
}

// statusIsRight runs `dekhand status` and compares what it says with what the socket says.
func statusIsRight(t *testing.T, node *Daemon) {
	t.Helper()
	text, err := node.command("status", "--output", "json")
	if err != nil {
		t.Fatal(err)
	}
	var status struct {
		OK        bool    `json:"ok"`
		KeyID     string  `json:"key_id"`
		KeyIDHash string  `json:"key_id_hash"`
		StatusMS  float64 `json:"status_ms"`
		EncryptMS float64 `json:"encrypt_ms"`
		DecryptMS float64 `json:"decrypt_ms"`
	}
	if err := json.Unmarshal(text, &status); err != nil {
		t.Fatalf("dekhand status: %v\n%s", err, text)
	}
	keyID := node.keyID()
	if hash := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(keyID))); !status.OK || status.KeyID != keyID ||
		status.KeyIDHash != hash {
		t.Errorf("dekhand status says otherwise than the socket (key_id %s, %s):\n%s", keyID, hash, text)
	}
	measured(t, "dekhand status: Status %.2f ms, Encrypt %.2f ms, Decrypt %.2f ms",
		status.StatusMS, status.EncryptMS, status.DecryptMS)
}

// etcdHoldsOnlySealed looks at the prefix and the parts of every stored Secret.
func etcdHoldsOnlySealed(t *testing.T, cluster *Cluster, node *Daemon, count int) {
	t.Helper()
	all := cluster.etcd.Under(secretsPrefix)
	total, overhead := 0, 0
	var last stored
	for _, kv := range all {
		s, err := parseStored(kv.Value)
		if err != nil {
			t.Fatalf("%s: %v", kv.Key, err)
		}
		if s.keyID != node.keyID() {
			t.Errorf("%s carries key_id %s, the daemon reports %s", kv.Key, s.keyID, node.keyID())
		}
		total += len(kv.Value)
		overhead += len(kv.Value) - (len(s.data) - s.framing)
		last = s
	}
	if len(all) != count {
		t.Errorf("etcd holds %d Secrets, not %d", len(all), count)
	}
	dekhand := len(last.sealed) + last.stored
	measured(t, "%d values in etcd, each with %q: %d bytes per object, of which encryption takes %d: "+
		"dekhand's sealed payload %d, its key_id %d, Kubernetes' own %d", len(all), last.prefix, total/len(all),
		overhead/len(all), len(last.sealed), last.stored, overhead/len(all)-dekhand)
}
