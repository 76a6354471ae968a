// Daemon and API server may start in either order.

package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// startLimit is the promise, from the start of whichever comes second.
const startLimit = 10 * time.Second

func TestEitherStartOrderIsHealthyWithinTenSeconds(t *testing.T) {
	t.Parallel()
	for _, count := range []int{0, 20} {
		t.Run(fmt.Sprintf("with %d Secrets", count), func(t *testing.T) { startOrders(t, count) })
	}
}

func startOrders(t *testing.T, count int) {
	t.Parallel()
	_, node, server := oneServer(t, true)
	values := server.createSecrets(count)
	stop := func() {
		server.process.Stop()
		node.Stop()
	}
	promised := func(since time.Time, took time.Duration) {
		t.Helper()
		mustBeWithin(t, startLimit, since, since.Add(took), "to become healthy")
	}

	stop()
	node.Start()
	server.Start()
	took := healthy(t, server, server.started, values)
	measured(t, "daemon first: healthy %v after kube-apiserver's start", took)
	promised(server.started, took)

	stop()
	server.Start()
	time.Sleep(5 * time.Second)
	node.launch()
	took = healthy(t, server, node.started, values)
	measured(t, "kube-apiserver 5 s earlier: healthy %v after the daemon's start", took)
	promised(node.started, took)

	if count == 0 {
		return
	}
	stop()
	server.Start()
	time.Sleep(10 * time.Second)
	node.launch()
	took = healthy(t, server, node.started, values)
	// Not compared: by now kube-apiserver dials 4 to 8 s apart and then remembers a bad health for 3 s.
	measured(t, "kube-apiserver 10 s earlier: healthy %v after the daemon's start", took)
}

// healthy waits for health and readiness, gives the time since then, and reads everything.
func healthy(t *testing.T, server *APIServer, since time.Time, values map[string]string) time.Duration {
	t.Helper()
	eventually(t, 2*time.Minute, "healthy", func() error {
		if err := server.kmsHealth(); err != nil {
			return err
		}
		return server.send(http.MethodGet, "/readyz", nil, nil)
	})
	took := time.Since(since).Round(time.Millisecond)
	server.mustHold(values)
	return took
}
