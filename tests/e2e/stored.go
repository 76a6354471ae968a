// Parses what a kube-apiserver stores for one object under KMS v2.

package e2e

import (
	"bytes"
	"fmt"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// kmsPrefix begins every value that KMS v2 encrypted; the name of the provider follows.
const kmsPrefix = "k8s:enc:kms:v2:"

// The fields of EncryptedObject (k8s.io/apiserver, envelope/kmsv2/v2/api.proto).
const (
	fieldData      = 1
	fieldKeyID     = 2
	fieldDEKSource = 3
)

// stored is a value of etcd, taken apart; the slices point into it.
type stored struct {
	data   []byte // the object under the API server's own key
	keyID  string // as dekhand reported it
	sealed []byte // dekhand's sealed payload, which is that key
}

// parseStored takes a value apart, or says what it is instead.
func parseStored(value []byte) (stored, error) {
	prefix := []byte(kmsPrefix + providerName + ":")
	rest, ok := bytes.CutPrefix(value, prefix)
	if !ok {
		return stored{}, fmt.Errorf("begins with %q, not with %q", value[:min(len(value), len(prefix))], prefix)
	}
	var s stored
	for len(rest) > 0 {
		number, kind, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return stored{}, protowire.ParseError(n)
		}
		rest = rest[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, kind, rest); n < 0 {
				return stored{}, protowire.ParseError(n)
			}
			rest = rest[n:]
			continue
		}
		content, n := protowire.ConsumeBytes(rest)
		if n < 0 {
			return stored{}, protowire.ParseError(n)
		}
		rest = rest[n:]
		switch number {
		case fieldData:
			s.data = content
		case fieldKeyID:
			s.keyID = string(content)
		case fieldDEKSource:
			s.sealed = content
		}
	}
	if len(s.data) == 0 || s.keyID == "" || len(s.sealed) == 0 {
		return stored{}, fmt.Errorf("incomplete: %d bytes of data, key_id %q, %d bytes sealed",
			len(s.data), s.keyID, len(s.sealed))
	}
	return s, nil
}

// keyIDs counts the stored Secrets by the key_id they carry, and fails on a value that KMS v2 did not encrypt.
func keyIDs(t testing.TB, etcd *Etcd, namespace string) map[string]int {
	t.Helper()
	count := map[string]int{}
	for _, kv := range etcd.Under(secretsPrefix + namespace + "/") {
		s, err := parseStored(kv.Value)
		if err != nil {
			t.Fatalf("%s: %v", kv.Key, err)
		}
		count[s.keyID]++
	}
	return count
}
