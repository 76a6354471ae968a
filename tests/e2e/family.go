// Finds the processes that a daemon has started, and their memory.

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The processes of a daemon whose root keys are in a token.
const (
	roleDaemon  = "daemon"
	roleSpawner = "token-spawner"
	roleWorker  = "token-worker"
	// roleUnknown has ended, and its parent does not know yet.
	roleUnknown = "unknown"
)

// relative is a process of a daemon: itself, or one that it or one of them started.
type relative struct {
	pid  int
	role string
}

// family gives the processes of a daemon, itself first.
func (d *Daemon) family() []relative {
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // gone meanwhile
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		// Behind the program's name, which may hold anything: the state, then the parent.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			children[parent] = append(children[parent], pid)
		}
	}
	found := []relative{{d.process.Load().cmd.Process.Pid, roleDaemon}}
	for at := 0; at < len(found); at++ {
		for _, pid := range children[found[at].pid] {
			found = append(found, relative{pid, roleOf(pid)})
		}
	}
	return found
}

// roleOf is the subcommand with which dekhand runs.
func roleOf(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if words := strings.Split(string(text), "\x00"); len(words) > 1 {
		return words[1]
	}
	return roleUnknown
}

// only gives the one process of the role, or an error that says how many there are.
func (d *Daemon) only(role string) (int, error) {
	found := d.all(role)
	if len(found) != 1 {
		return 0, fmt.Errorf("%s has %d processes that are %s", d.name, len(found), role)
	}
	return found[0], nil
}

// all gives the processes of the role.
func (d *Daemon) all(role string) []int {
	var found []int
	for _, process := range d.family() {
		if process.role == role {
			found = append(found, process.pid)
		}
	}
	return found
}

// kill ends the one process of the role with SIGKILL, and says which it was.
func (d *Daemon) kill(role string) int {
	d.t.Helper()
	pid, err := d.only(role)
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err != nil {
		d.t.Fatalf("killing the %s: %v", role, err)
	}
	return pid
}

// mustEnd waits until none of the processes is there any more.
func mustEnd(t testing.TB, processes []relative) time.Duration {
	t.Helper()
	return eventually(t, 30*time.Second, "all processes of the daemon end", func() error {
		for _, process := range processes {
			if roleOf(process.pid) == process.role || process.role == roleDaemon && alive(process.pid) {
				return fmt.Errorf("the %s (%d) runs", process.role, process.pid)
			}
		}
		return nil
	})
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// Memory is what each process of a daemon has in memory, in KiB: whole, and without the pages of its files.
type Memory map[string]struct{ resident, own int }

// memory is that of now.
func (d *Daemon) memory() Memory {
	m := Memory{}
	for _, process := range d.family() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", process.pid))
		if err != nil || process.role == roleUnknown {
			continue // gone meanwhile
		}
		sum := m[process.role]
		sum.resident += kibibytes(string(text), "VmRSS:")
		sum.own += kibibytes(string(text), "RssAnon:")
		m[process.role] = sum
	}
	return m
}

func kibibytes(status, name string) int {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			kib, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			return kib
		}
	}
	return 0
}

// raise keeps the higher of two figures, process by process.
func (m Memory) raise(now Memory) {
	for role, figure := range now {
		most := m[role]
		most.resident, most.own = max(most.resident, figure.resident), max(most.own, figure.own)
		m[role] = most
	}
}

func (m Memory) String() string {
	var parts []string
	for role, figure := range m {
		parts = append(parts, fmt.Sprintf("%s %d KiB (%d without files)", role, figure.resident, figure.own))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}
