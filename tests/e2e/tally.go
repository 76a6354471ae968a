// Counts what came of requests, and how long the longest spell without success lasted.

package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// Tally counts one kind of request of all workers of a load.
type Tally struct {
	lock     sync.Mutex
	good     int
	bad      int
	longest  time.Duration
	firstErr error
}

// spell is one worker's view: since when its requests fail.
type spell struct {
	tally *Tally
	since time.Time
}

// note counts a request that began at the given time; its spell lasts until a request succeeded.
func (s *spell) note(began time.Time, err error) {
	s.tally.lock.Lock()
	defer s.tally.lock.Unlock()
	if err == nil {
		s.tally.good++
		s.end()
		return
	}
	s.tally.bad++
	if s.tally.firstErr == nil {
		s.tally.firstErr = err
	}
	if s.since.IsZero() {
		s.since = began
	}
}

// close ends a spell that still lasts when the load ends.
func (s *spell) close() {
	s.tally.lock.Lock()
	defer s.tally.lock.Unlock()
	s.end()
}

func (s *spell) end() {
	if !s.since.IsZero() {
		s.tally.longest = max(s.tally.longest, time.Since(s.since))
		s.since = time.Time{}
	}
}

// succeeded is the number of good requests so far.
func (t *Tally) succeeded() int {
	t.lock.Lock()
	defer t.lock.Unlock()
	return t.good
}

// awaitSuccesses waits until so many more requests of each kind have succeeded.
func awaitSuccesses(t testing.TB, what string, count int, kinds ...*Tally) {
	t.Helper()
	var wanted []int
	for _, kind := range kinds {
		wanted = append(wanted, kind.succeeded()+count)
	}
	eventually(t, time.Minute, what, func() error {
		for i, kind := range kinds {
			if done := kind.succeeded(); done < wanted[i] {
				return fmt.Errorf("%d requests have succeeded, expected %d", done, wanted[i])
			}
		}
		return nil
	})
}

// String is read when the load has ended.
func (t *Tally) String() string {
	text := fmt.Sprintf("%d (%d failed", t.good+t.bad, t.bad)
	if t.bad > 0 {
		if t.longest > 0 {
			text += fmt.Sprintf(", longest spell %v", t.longest.Round(time.Millisecond))
		}
		text += fmt.Sprintf(", the first: %v", t.firstErr)
	}
	return text + ")"
}
