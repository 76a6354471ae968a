// A load of writes, reads and lists that remembers what was acknowledged.

package e2e

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	loadWriters = 2
	loadReaders = 4
	// loadSecrets is how many Secrets each writer owns and overwrites in turn.
	loadSecrets = 20
	// loadPause keeps two cores from being the limit.
	loadPause = 5 * time.Millisecond
	listPause = 500 * time.Millisecond
)

// Load runs until it is stopped. Every request goes to an API server picked at random, so that what one wrote is
// read through another at once.
type Load struct {
	t       testing.TB
	servers []*APIServer
	secrets []*loadSecret
	writes  Tally
	reads   Tally
	lists   Tally
	stop    chan struct{}
	workers sync.WaitGroup
}

// loadSecret is a Secret whose value ends in a number that its only writer counts up.
type loadSecret struct {
	name         string
	lock         sync.Mutex
	tried, acked int
}

func startLoad(t testing.TB, servers ...*APIServer) *Load {
	t.Helper()
	l := &Load{t: t, servers: servers, stop: make(chan struct{})}
	for i := range loadWriters * loadSecrets {
		s := &loadSecret{name: fmt.Sprintf("load-%03d", i)}
		l.secrets = append(l.secrets, s)
		if err := servers[0].createSecret(s.name, s.content(0)); err != nil {
			t.Fatalf("creating %s: %v", s.name, err)
		}
	}
	for w := range loadWriters {
		own := l.secrets[w*loadSecrets : (w+1)*loadSecrets]
		l.work(&l.writes, loadPause, func(turn int) error { return l.write(own[turn%loadSecrets]) })
	}
	for range loadReaders {
		l.work(&l.reads, loadPause, func(int) error { return l.read() })
	}
	t.Cleanup(l.halt)
	l.work(&l.lists, listPause, func(int) error { return l.list() })
	// Whatever comes next meets a load that is under way.
	l.goOn()
	return l
}

// goOn waits until the load has made a good many requests under what was done before.
func (l *Load) goOn() {
	l.t.Helper()
	awaitSuccesses(l.t, "the load goes on", 50, &l.writes, &l.reads)
}

// work repeats one kind of request until the load stops.
func (l *Load) work(tally *Tally, pause time.Duration, request func(turn int) error) {
	l.workers.Go(func() {
		view := spell{tally: tally}
		defer view.close()
		for turn := 0; ; turn++ {
			began := time.Now()
			view.note(began, request(turn))
			select {
			case <-l.stop:
				return
			case <-time.After(pause):
			}
		}
	})
}

// end stops the load, prints its counts, and reads every Secret through the given API server: what was acknowledged,
// or tried after that, must be there.
func (l *Load) end(check *APIServer) {
	l.t.Helper()
	l.halt()
	measured(l.t, "under load: writes %v, reads %v, lists %v", &l.writes, &l.reads, &l.lists)
	lost := 0
	for _, s := range l.secrets {
		value, err := check.readSecret(s.name)
		if err == nil {
			err = s.admits(value, s.acked)
		}
		if err != nil {
			lost++
			l.t.Errorf("after the load: %s: %v", s.name, err)
		}
	}
	measured(l.t, "acknowledged and lost: %d of %d Secrets", lost, len(l.secrets))
}

// halt stops the workers; a second time does nothing.
func (l *Load) halt() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.workers.Wait()
}

// mustNotHaveFailed is for what an operator may do at any hour.
func (l *Load) mustNotHaveFailed() {
	l.t.Helper()
	for kind, tally := range map[string]*Tally{"writes": &l.writes, "reads": &l.reads, "lists": &l.lists} {
		if tally.bad > 0 {
			l.t.Errorf("%s failed: %v", kind, tally)
		}
	}
}

func (l *Load) server() *APIServer { return l.servers[rand.IntN(len(l.servers))] }

func (l *Load) write(s *loadSecret) error {
	s.lock.Lock()
	s.tried++
	next := s.tried
	s.lock.Unlock()
	if err := l.server().replaceSecret(s.name, s.content(next)); err != nil {
		return err // it may have been done all the same: a reader admits it
	}
	s.lock.Lock()
	s.acked = next
	s.lock.Unlock()
	return nil
}

func (l *Load) read() error {
	s := l.secrets[rand.IntN(len(l.secrets))]
	acked := s.acknowledged()
	value, err := l.server().readSecret(s.name)
	if err != nil {
		return err
	}
	return s.admits(value, acked)
}

func (l *Load) list() error {
	before := map[*loadSecret]int{}
	for _, s := range l.secrets {
		before[s] = s.acknowledged()
	}
	listed, err := l.server().listSecrets()
	if err != nil {
		return err
	}
	for s, acked := range before {
		if err := s.admits(listed[s.name], acked); err != nil {
			return fmt.Errorf("%s in a list: %w", s.name, err)
		}
	}
	return nil
}

func (s *loadSecret) content(number int) string { return fmt.Sprintf("%s value %d", s.name, number) }

func (s *loadSecret) acknowledged() int {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.acked
}

// admits says whether a value may be read when writes up to `acked` were acknowledged before the read began.
func (s *loadSecret) admits(value string, acked int) error {
	rest, ours := strings.CutPrefix(value, s.name+" value ")
	number, err := strconv.Atoi(rest)
	s.lock.Lock()
	defer s.lock.Unlock()
	if !ours || err != nil || number > s.tried {
		return fmt.Errorf("never written: %q", value)
	}
	if number < acked {
		return fmt.Errorf("write %d was acknowledged, write %d is there", acked, number)
	}
	return nil
}
