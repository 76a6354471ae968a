// Runs etcd and reads what it holds behind the API server's back.

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Etcd is a running etcd of one member.
type Etcd struct {
	t       testing.TB
	url     string
	dataDir string
	client  *http.Client
}

// entry is one key and its value, as stored.
type entry struct {
	Key   []byte `json:"key"`
	Value []byte `json:"value"`
}

func startEtcd(t testing.TB, dir string) *Etcd {
	t.Helper()
	program, err := etcdServer.build()
	if err != nil {
		t.Fatal(err)
	}
	e := &Etcd{
		t:       t,
		url:     fmt.Sprintf("http://127.0.0.1:%d", reservePort(t)),
		dataDir: filepath.Join(dir, "etcd"),
		client:  &http.Client{Timeout: 10 * time.Second},
	}
	peer := fmt.Sprintf("http://127.0.0.1:%d", reservePort(t))
	startProcess(t, dir, "etcd", program.path,
		"--data-dir="+e.dataDir, "--log-level=warn",
		"--listen-client-urls="+e.url, "--advertise-client-urls="+e.url,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer)
	eventually(t, time.Minute, "etcd answers", func() error {
		_, err := e.call("range", map[string]any{"key": []byte("/")})
		return err
	})
	return e
}

// call speaks JSON to the gateway in front of etcd's gRPC, which spares the suite etcd's client.
func (e *Etcd) call(method string, request map[string]any) ([]entry, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	response, err := e.client.Post(e.url+"/v3/kv/"+method, "application/json", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("etcd: %s: %s", response.Status, text)
	}
	var answer struct {
		Kvs []entry `json:"kvs"`
	}
	return answer.Kvs, json.Unmarshal(text, &answer)
}

// Under gives every key that begins with the prefix, which is not empty, with its value.
func (e *Etcd) Under(prefix string) []entry {
	e.t.Helper()
	end := []byte(prefix)
	end[len(end)-1]++
	found, err := e.call("range", map[string]any{"key": []byte(prefix), "range_end": end})
	if err != nil {
		e.t.Fatal(err)
	}
	return found
}

// Get gives the value of one key.
func (e *Etcd) Get(key string) []byte {
	e.t.Helper()
	found, err := e.call("range", map[string]any{"key": []byte(key)})
	if err != nil {
		e.t.Fatal(err)
	}
	if len(found) != 1 {
		e.t.Fatalf("etcd has no %s", key)
	}
	return found[0].Value
}

// Put overwrites the value of one key.
func (e *Etcd) Put(key string, value []byte) {
	e.t.Helper()
	if _, err := e.call("put", map[string]any{"key": []byte(key), "value": value}); err != nil {
		e.t.Fatal(err)
	}
}

// Everything gives all keys with their values.
func (e *Etcd) Everything() []entry {
	e.t.Helper()
	found, err := e.call("range", map[string]any{"key": []byte{0}, "range_end": []byte{0}})
	if err != nil {
		e.t.Fatal(err)
	}
	return found
}

// Occurrences counts a byte string in every key and value, and in every file of the data directory (database and
// write-ahead log, which remember what was overwritten too).
func (e *Etcd) Occurrences(needle []byte) (values, files int) {
	e.t.Helper()
	for _, kv := range e.Everything() {
		values += bytes.Count(kv.Key, needle) + bytes.Count(kv.Value, needle)
	}
	seen := map[string]bool{}
	err := filepath.WalkDir(e.dataDir, func(path string, item fs.DirEntry, err error) error {
		if err != nil || item.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files += bytes.Count(text, needle)
		seen[filepath.Ext(path)] = true
		if filepath.Base(path) == "db" {
			seen["db"] = true
		}
		return nil
	})
	if err != nil {
		e.t.Fatal(err)
	}
	if !seen["db"] || !seen[".wal"] {
		e.t.Fatalf("%s has no database or no write-ahead log", e.dataDir)
	}
	return values, files
}

// secretKey is where a Secret lies in etcd.
func secretKey(namespace, name string) string {
	return secretsPrefix + strings.Join([]string{namespace, name}, "/")
}

// secretsPrefix begins the key of every Secret.
const secretsPrefix = "/registry/secrets/"
