// A load on the daemons' sockets: what one node seals, another opens at once.

package e2e

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"sync"
	"testing"
	"time"
)

const (
	directWorkers = 4
	directPause   = 2 * time.Millisecond
	// directKept is how many sealed payloads each worker opens again and again, from its first second on.
	directKept = 50
)

// DirectLoad asks the daemons what an API server would ask only once: it keeps no key in memory.
type DirectLoad struct {
	t       testing.TB
	daemons []*Daemon
	seals   Tally
	opens   Tally
	peak    []Memory // per daemon
	stop    chan struct{}
	workers sync.WaitGroup
}

// sealedPayload is what a daemon handed back, and what must come out of it again.
type sealedPayload struct {
	sealed  []byte
	keyID   string
	payload []byte
}

func startDirectLoad(t testing.TB, daemons ...*Daemon) *DirectLoad {
	t.Helper()
	l := &DirectLoad{t: t, daemons: daemons, stop: make(chan struct{})}
	for range daemons {
		l.peak = append(l.peak, Memory{})
	}
	for worker := range directWorkers {
		l.workers.Go(func() { l.work(worker) })
	}
	l.workers.Go(l.watchMemory)
	t.Cleanup(l.halt)
	return l
}

// work seals at one node and opens at the next: the new payload, then one that was sealed long ago.
func (l *DirectLoad) work(worker int) {
	sealing, opening := spell{tally: &l.seals}, spell{tally: &l.opens}
	defer sealing.close()
	defer opening.close()
	var kept []sealedPayload
	for turn := worker; ; turn++ {
		began := time.Now()
		fresh, err := seal(l.daemons[turn%len(l.daemons)])
		sealing.note(began, err)
		opener := l.daemons[(turn+1)%len(l.daemons)]
		if err == nil {
			began = time.Now()
			opening.note(began, fresh.open(opener))
			if len(kept) < directKept {
				kept = append(kept, fresh)
			}
		}
		if len(kept) > 0 {
			began = time.Now()
			opening.note(began, kept[turn%len(kept)].open(opener))
		}
		select {
		case <-l.stop:
			return
		case <-time.After(directPause):
		}
	}
}

// goOn waits until the load has made a good many calls under what was done before.
func (l *DirectLoad) goOn() {
	l.t.Helper()
	awaitSuccesses(l.t, "the direct load goes on", 500, &l.seals, &l.opens)
}

func seal(d *Daemon) (sealedPayload, error) {
	payload := make([]byte, 32)
	_, _ = rand.Read(payload) // never fails: crypto/rand ends the program instead
	sealed, keyID, err := d.kms.Encrypt(payload)
	if err != nil {
		return sealedPayload{}, fmt.Errorf("%s: %w", d.name, err)
	}
	return sealedPayload{sealed, keyID, payload}, nil
}

func (p sealedPayload) open(d *Daemon) error {
	got, err := d.kms.Decrypt(p.sealed, p.keyID)
	if err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	if !bytes.Equal(got, p.payload) {
		return fmt.Errorf("%s answered another payload than was sealed", d.name)
	}
	return nil
}

func (l *DirectLoad) watchMemory() {
	for {
		for i, d := range l.daemons {
			l.peak[i].raise(d.memory())
		}
		select {
		case <-l.stop:
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// end stops the load and prints its counts and the daemons' memory.
func (l *DirectLoad) end() {
	l.t.Helper()
	l.halt()
	var names []string
	for _, d := range l.daemons {
		names = append(names, d.name)
	}
	measured(l.t, "directly at the sockets of %v meanwhile: sealed %v, opened %v", names, &l.seals, &l.opens)
	for i, d := range l.daemons {
		measured(l.t, "RSS of %s meanwhile, at most: %v", d.name, l.peak[i])
	}
}

// halt stops the workers; a second time does nothing.
func (l *DirectLoad) halt() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.workers.Wait()
}

// mustNotHaveFailed is for what an operator may do at any hour.
func (l *DirectLoad) mustNotHaveFailed() {
	l.t.Helper()
	if l.seals.bad+l.opens.bad > 0 {
		l.t.Errorf("direct calls failed: sealed %v, opened %v", &l.seals, &l.opens)
	}
}
