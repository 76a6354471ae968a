// Daemon and API server may start in either order.

package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

func TestEitherStartOrderBecomesHealthy(t *testing.T) {
	t.Parallel()
	for _, count := range []int{0, 20} {
		t.Run(fmt.Sprintf("with %d Secrets", count), func(t *testing.T) { startOrders(t, count) })
	}
}

// startOrders starts both in either order. How long a kube-apiserver that comes first takes is measured and not compared:
// it dials at growing distances, and remembers a bad health for 3 s. dekhand's part is that it refuses nothing.
func startOrders(t *testing.T, count int) {
	t.Parallel()
	_, node, server := oneServer(t, true)
	values := server.createSecrets(count)
	stop := func() {
		server.process.Stop()
		node.Stop()
	}

	stop()
	node.Start()
	server.Start()
	took := healthy(t, server, server.started, values)
	node.mustHaveRefusedNothing()
	measured(t, "daemon first: healthy %v after kube-apiserver's start", took)

	for _, ahead := range []time.Duration{5 * time.Second, 10 * time.Second}[:1+min(count, 1)] {
		stop()
		server.Start()
		time.Sleep(ahead)
		node.launch()
		took = healthy(t, server, node.started, values)
		node.mustHaveRefusedNothing()
		measured(t, "kube-apiserver %v earlier: healthy %v after the daemon's start", ahead, took)
	}
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
