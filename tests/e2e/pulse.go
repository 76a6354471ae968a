// Measures how busy the machine is: the reference for what is promised in seconds.

package e2e

import (
	"sync"
	"testing"
	"time"
)

const beat = 10 * time.Millisecond

// pulse is a goroutine that sleeps and notes how much later than due it wakes. That is how long a process that is ready
// waits for a processor.
type pulse struct {
	lock sync.Mutex
	due  time.Time // the beat to come
	late []lateness
}

// lateness is one beat that came late.
type lateness struct {
	at time.Time
	by time.Duration
}

var machine pulse

// watch notes every late beat, until the process ends.
func (p *pulse) watch() {
	for {
		p.lock.Lock()
		if by := time.Since(p.due); !p.due.IsZero() && by > time.Millisecond {
			p.late = append(p.late, lateness{p.due, by})
		}
		p.due = time.Now().Add(beat)
		p.lock.Unlock()
		time.Sleep(beat)
	}
}

// withheld is the time between two moments during which a process that was ready had no processor.
func (p *pulse) withheld(from, to time.Time) time.Duration {
	p.lock.Lock()
	defer p.lock.Unlock()
	var sum time.Duration
	for _, each := range append(p.late, lateness{p.due, time.Since(p.due)}) {
		begin, end := each.at, each.at.Add(each.by)
		if begin.Before(from) {
			begin = from
		}
		if end.After(to) {
			end = to
		}
		sum += max(0, end.Sub(begin))
	}
	return sum
}

// mustBeWithin fails if a span of time, less the time without a processor, is longer than promised: the promise is about
// a machine that is not overloaded.
func mustBeWithin(t testing.TB, promise time.Duration, from, to time.Time, what string) {
	t.Helper()
	took, withheld := to.Sub(from), machine.withheld(from, to)
	if took-withheld > promise {
		t.Errorf("%s took %v, of which the machine withheld %v: promised are %v", what, took, withheld, promise)
	}
}
