// A value that was tampered with in etcd is refused, alone.

package e2e

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestAFlippedByteFailsAlone(t *testing.T) {
	cluster, _, server := oneServer(t, true)
	values := server.createSecrets(10)
	server.Restart() // a cache knows nothing of the values
	server.mustHold(values)

	t.Run("in the sealed payload", func(t *testing.T) {
		flip(t, cluster, server, values, func(s stored) []byte { return s.sealed }, "rpc error: code = InvalidArgument")
	})
	t.Run("in the data", func(t *testing.T) {
		flip(t, cluster, server, values, func(s stored) []byte { return s.data }, "")
	})
}

// flip changes one bit of one Secret's part in etcd, looks, and changes it back.
func flip(
	t *testing.T, cluster *Cluster, server *APIServer, values map[string]string, part func(stored) []byte, says string,
) {
	t.Helper()
	const victim = "secret-004"
	key := secretKey(namespace, victim)
	good := cluster.etcd.Get(key)
	bad := bytes.Clone(good)
	s, err := parseStored(bad)
	if err != nil {
		t.Fatal(err)
	}
	victims := part(s)
	victims[len(victims)-1] ^= 1
	cluster.etcd.Put(key, bad)

	_, err = server.readSecret(victim)
	var rejected rejection
	if !errors.As(err, &rejected) || rejected.status != http.StatusInternalServerError ||
		!strings.Contains(rejected.reason, says) {
		t.Errorf("reading the flipped one: %v, not a 500 that says %q", err, says)
	}
	measured(t, "the flipped one answers: %v", err)
	others := 0
	for name, value := range values {
		if name == victim {
			continue
		}
		if got, err := server.readSecret(name); err != nil || got != value {
			t.Errorf("reading %s beside it: %v", name, err)
		} else {
			others++
		}
	}
	listFails := eventually(t, time.Minute, "a list fails", func() error {
		if _, err := server.listSecrets(); err != nil {
			return nil
		}
		return errors.New("lists still succeed")
	})
	cluster.etcd.Put(key, good)
	if got, err := server.readSecret(victim); err != nil || got != values[victim] {
		t.Errorf("reading the restored one: %v", err)
	}
	heals := eventually(t, time.Minute, "lists heal", func() error {
		_, err := server.listSecrets()
		return err
	})
	server.mustHold(values)
	measured(t, "others readable beside it: %d of %d; lists fail after %v, heal %v after it is restored",
		others, len(values)-1, listFails.Round(time.Millisecond), heals.Round(time.Millisecond))
}
