// Parses what a kube-apiserver stores for one object under KMS v1 or KMS v2.

package e2e

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// kmsPrefix begins every value that a KMS provider encrypted; protocol and name of the provider follow.
const kmsPrefix = "k8s:enc:kms:"

// The fields of EncryptedObject (k8s.io/apiserver, envelope/kmsv2/v2/api.proto).
const (
	fieldData      = 1
	fieldKeyID     = 2
	fieldDEKSource = 3
)

// What Kubernetes' own encryption adds to an object: nonce and tag, and in KMS v2 the 32 bytes that make a key of a seed.
const (
	framingV1 = 12 + 16
	framingV2 = 32 + 12 + 16
)

// stored is a value of etcd, taken apart; the slices point into it.
type stored struct {
	prefix  string // protocol and name of its provider
	data    []byte // the object under the API server's own key
	framing int    // the bytes of it that are not the object
	keyID   string // as dekhand reported it; KMS v1 stores none, so that inside the sealed payload
	stored  int    // the bytes that the key_id takes in etcd
	sealed  []byte // dekhand's sealed payload, which is that key
}

// parseStored takes a value apart, or says what it is instead.
func parseStored(value []byte) (stored, error) {
	var api, name string
	rest, ok := bytes.CutPrefix(value, []byte(kmsPrefix))
	if parts := bytes.SplitN(rest, []byte(":"), 3); ok && len(parts) == 3 {
		api, name, rest = string(parts[0]), string(parts[1]), parts[2]
	}
	s := stored{prefix: kmsPrefix + api + ":" + name + ":"}
	var err error
	switch api {
	case kmsV1:
		err = s.parseV1(rest)
	case kmsV2:
		err = s.parseV2(rest)
	default:
		err = fmt.Errorf("begins with %q, not with %q and a protocol", value[:min(len(value), 24)], kmsPrefix)
	}
	if err == nil && (len(s.data) == 0 || s.keyID == "" || len(s.sealed) == 0) {
		err = fmt.Errorf("incomplete: %d bytes of data, key_id %q, %d bytes sealed", len(s.data), s.keyID, len(s.sealed))
	}
	return s, err
}

// parseV1 takes apart the length of the sealed payload in two bytes, the payload, and the object.
func (s *stored) parseV1(rest []byte) error {
	if len(rest) < 2 || len(rest)-2 < int(binary.BigEndian.Uint16(rest)) {
		return fmt.Errorf("%d bytes are no value of KMS v1", len(rest))
	}
	length := int(binary.BigEndian.Uint16(rest))
	s.sealed, s.data, s.framing = rest[2:2+length], rest[2+length:], framingV1
	// Format, suite, mechanism, length of the id, id.
	if length > 4 && length > 4+int(s.sealed[3]) {
		s.keyID = hex.EncodeToString(s.sealed[4 : 4+int(s.sealed[3])])
	}
	return nil
}

func (s *stored) parseV2(rest []byte) error {
	s.framing = framingV2
	for len(rest) > 0 {
		number, kind, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return protowire.ParseError(n)
		}
		rest = rest[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, kind, rest); n < 0 {
				return protowire.ParseError(n)
			}
			rest = rest[n:]
			continue
		}
		content, n := protowire.ConsumeBytes(rest)
		if n < 0 {
			return protowire.ParseError(n)
		}
		rest = rest[n:]
		switch number {
		case fieldData:
			s.data = content
		case fieldKeyID:
			s.keyID, s.stored = string(content), len(content)
		case fieldDEKSource:
			s.sealed = content
		}
	}
	return nil
}

// keyIDs counts the stored Secrets by the key_id they carry, and fails on a value that no KMS provider encrypted.
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

// mustBeUnder fails unless etcd holds so many values under each provider, of all the values that it holds of anything.
func mustBeUnder(t testing.TB, etcd *Etcd, want map[provider]int) {
	t.Helper()
	got, expected := map[string]int{}, map[string]int{}
	for _, kv := range etcd.Everything() {
		if !bytes.HasPrefix(kv.Value, []byte(kmsPrefix)) {
			continue
		}
		s, err := parseStored(kv.Value)
		if err != nil {
			t.Fatalf("%s: %v", kv.Key, err)
		}
		got[s.prefix]++
	}
	for p, count := range want {
		if count > 0 {
			expected[p.prefix()] = count
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(expected) {
		t.Errorf("etcd's values by prefix are %v, not %v", got, expected)
	}
	measured(t, "encrypted values in etcd, by prefix: %v", got)
}
