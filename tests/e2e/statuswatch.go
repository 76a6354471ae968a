// Watches a daemon's Status during a scenario.

package e2e

import (
	"sync"
	"testing"
	"time"
)

const statusPause = 100 * time.Millisecond

// StatusWatch asks for Status ten times a second, and remembers every key_id that it hears.
type StatusWatch struct {
	t       testing.TB
	daemon  *Daemon
	calls   Tally
	slowest time.Duration
	keyIDs  map[string]bool
	stop    chan struct{}
	worker  sync.WaitGroup
}

func watchStatus(t testing.TB, daemon *Daemon) *StatusWatch {
	t.Helper()
	w := &StatusWatch{t: t, daemon: daemon, keyIDs: map[string]bool{}, stop: make(chan struct{})}
	w.worker.Go(w.work)
	t.Cleanup(w.halt)
	return w
}

func (w *StatusWatch) work() {
	view := spell{tally: &w.calls}
	defer view.close()
	for {
		began := time.Now()
		keyID, err := w.daemon.kms.Status()
		view.note(began, err)
		w.slowest = max(w.slowest, time.Since(began))
		if err == nil {
			w.keyIDs[keyID] = true
		}
		select {
		case <-w.stop:
			return
		case <-time.After(statusPause):
		}
	}
}

// end stops the watch and fails if Status has named another key_id.
func (w *StatusWatch) end(keyID string) {
	w.t.Helper()
	w.halt()
	measured(w.t, "Status of %s: %v, the slowest %v", w.daemon.name, &w.calls, w.slowest.Round(time.Microsecond))
	if len(w.keyIDs) != 1 || !w.keyIDs[keyID] {
		w.t.Errorf("Status of %s named %v, not only %s", w.daemon.name, w.keyIDs, keyID)
	}
}

// halt stops the watch; a second time does nothing.
func (w *StatusWatch) halt() {
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
	w.worker.Wait()
}
