// Writes the `root_keys:` part of a node's configuration, one function per backend.

package e2e

import "fmt"

// rootKeyName is the name of the only root key of every scenario.
const rootKeyName = "e2e"

// keyring is a root key in a file; shared when one file serves all nodes (or there is only one node).
func keyring(file string, shared bool) string {
	return fmt.Sprintf(`root_keys:
  - name: %s
    shared: %t
    keyring: {file: %q}
`, rootKeyName, shared, file)
}
