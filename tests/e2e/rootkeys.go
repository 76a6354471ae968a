// Where a node's root keys live: one implementation of Store per backend.

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rootKeyName is the name of the only root key of most scenarios.
const rootKeyName = "e2e"

// Store holds the versions of one root key, for one node or for all of them.
type Store interface {
	// entry is the store's entry of `root_keys:`, in YAML.
	entry() string
	// copyTo makes the store of another node a full copy of this one, also while that node's daemon uses it.
	copyTo(to Store)
}

// backends makes a store of a name of its own in a scenario's directory.
var backends = map[string]func(t testing.TB, dir, name, rootKey string, shared bool) Store{
	"keyring": func(t testing.TB, dir, name, rootKey string, shared bool) Store {
		return Keyring{t: t, rootKey: rootKey, shared: shared, file: filepath.Join(dir, name+"-keyring.json")}
	},
	"token": func(t testing.TB, dir, name, rootKey string, shared bool) Store {
		return newToken(t, filepath.Join(dir, name+"-token"), rootKey, shared)
	},
}

// backend is the one with which this run makes every scenario's stores.
func backend() string {
	if name := os.Getenv("E2E_BACKEND"); name != "" {
		return name
	}
	return "keyring"
}

// newStore makes an empty store of this run's backend; shared when it serves all nodes, or there is only one.
func newStore(t testing.TB, dir, name string, shared bool) Store {
	t.Helper()
	return backends[backend()](t, dir, name, rootKeyName, shared)
}

// needsToken leaves a scenario that is about tokens to the run with that backend.
func needsToken(t testing.TB) {
	t.Helper()
	if backend() != "token" {
		t.Skip("part of the run with E2E_BACKEND=token")
	}
}

// rootKeys is the `root_keys:` part of a configuration; the first store encrypts.
func rootKeys(stores ...Store) string {
	var text strings.Builder
	text.WriteString("root_keys:\n")
	for _, store := range stores {
		text.WriteString(store.entry())
	}
	return text.String()
}

// Keyring is a root key in a file.
type Keyring struct {
	t       testing.TB
	rootKey string
	shared  bool
	file    string
}

func (k Keyring) entry() string {
	return fmt.Sprintf(`  - name: %s
    shared: %t
    keyring: {file: %q}
`, k.rootKey, k.shared, k.file)
}

func (k Keyring) copyTo(to Store) {
	k.t.Helper()
	copyFile(k.t, k.file, to.(Keyring).file)
}
