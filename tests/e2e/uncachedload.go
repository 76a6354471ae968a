// A load that needs the store of the root key for every request: no two of its payloads are under one data key.

package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

const (
	uncachedWorkers = 2
	// uncachedPause makes some 50 calls a second: each takes a payload that has cost two calls of a token.
	uncachedPause = 40 * time.Millisecond
)

// UncachedLoad has a daemon open payloads, each until that succeeds, and each only once.
type UncachedLoad struct {
	t        testing.TB
	daemon   *Daemon
	payloads chan sealedPayload
	lock     sync.Mutex
	tries    []try
	stop     chan struct{}
	workers  sync.WaitGroup
}

// try is one request.
type try struct {
	began, ended time.Time
	err          error
}

// sealEachUnderItsOwnKey makes payloads with a daemon that never uses a data key twice.
func sealEachUnderItsOwnKey(t testing.TB, cluster *Cluster, store Store, count int) chan sealedPayload {
	t.Helper()
	sealer := newDaemon(t, cluster.dir, "sealer", "")
	sealer.configure(rootKeys(store), "data_keys: {reuse: never}\n")
	knowPINs(t, []*Daemon{sealer})
	sealer.Start()
	payloads := make(chan sealedPayload, count)
	for range count {
		payload, err := seal(sealer)
		if err != nil {
			t.Fatal(err)
		}
		payloads <- payload
	}
	sealer.Stop()
	return payloads
}

func startUncachedLoad(t testing.TB, daemon *Daemon, payloads chan sealedPayload) *UncachedLoad {
	t.Helper()
	l := &UncachedLoad{t: t, daemon: daemon, payloads: payloads, stop: make(chan struct{})}
	for range uncachedWorkers {
		l.workers.Go(l.work)
	}
	t.Cleanup(l.halt)
	return l
}

func (l *UncachedLoad) work() {
	next := <-l.payloads
	for {
		began := time.Now()
		err := next.open(l.daemon)
		l.lock.Lock()
		l.tries = append(l.tries, try{began, time.Now(), err})
		l.lock.Unlock()
		if err == nil {
			select {
			case next = <-l.payloads:
			default:
				l.t.Error("no payload is left: the scenario needs more of them")
				return
			}
		}
		select {
		case <-l.stop:
			return
		case <-time.After(uncachedPause):
		}
	}
}

// awaitSuccess waits for the first request that began after a moment and succeeded, and gives the time from then to its
// answer.
func (l *UncachedLoad) awaitSuccess(since time.Time) time.Duration {
	l.t.Helper()
	var first time.Duration
	eventually(l.t, time.Minute, "a payload under a new data key opens", func() error {
		l.lock.Lock()
		defer l.lock.Unlock()
		var last error = fmt.Errorf("no answer yet")
		for _, request := range l.tries {
			if request.began.After(since) {
				if last = request.err; last == nil {
					first = request.ended.Sub(since)
					return nil
				}
			}
		}
		return last
	})
	return first
}

// between counts the requests that began in a span of time.
func (l *UncachedLoad) between(from, to time.Time) *Tally {
	l.lock.Lock()
	defer l.lock.Unlock()
	counted := &Tally{}
	for _, request := range l.tries {
		switch {
		case request.began.Before(from) || !request.began.Before(to):
		case request.err == nil:
			counted.good++
		default:
			counted.bad++
			if counted.firstErr == nil {
				counted.firstErr = request.err
			}
		}
	}
	return counted
}

// slowest is the longest request of a span of time.
func (l *UncachedLoad) slowest(from, to time.Time) time.Duration {
	l.lock.Lock()
	defer l.lock.Unlock()
	var most time.Duration
	for _, request := range l.tries {
		if !request.began.Before(from) && request.began.Before(to) {
			most = max(most, request.ended.Sub(request.began))
		}
	}
	return most
}

// halt stops the workers; a second time does nothing.
func (l *UncachedLoad) halt() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.workers.Wait()
}
