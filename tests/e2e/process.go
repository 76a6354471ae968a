// Runs a program as a child that does not outlive the test.

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Process is a running child; what it says goes to a file beside the scenario's other data.
type Process struct {
	name string
	t    testing.TB
	cmd  *exec.Cmd
	done chan struct{}
}

// startProcess starts a program and ends it with the test, whatever becomes of the test.
func startProcess(t testing.TB, dir, name, program string, args ...string) *Process {
	t.Helper()
	logged, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer logged.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = logged, logged
	// Fires when the thread that forked ends; Go keeps its threads, so that is when this process ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	p := &Process{name: name, t: t, cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // its exit status is in cmd.ProcessState
		close(p.done)
	}()
	t.Cleanup(p.Kill)
	return p
}

// Stop asks the process to end (SIGTERM) and kills it only when it does not.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		p.t.Errorf("%s did not end within 30 s of SIGTERM", p.name)
		p.Kill()
	}
}

// Kill ends the process with SIGKILL and returns when it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Running says whether the process is still there.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// scenarioDir is a directory of a scenario's own, kept with the last lines of every log when it failed.
func scenarioDir(t testing.TB) string {
	t.Helper()
	// Not t.TempDir: with the test's name in it, the path of a socket may exceed 107 bytes.
	dir, err := os.MkdirTemp("", "dekhand-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			_ = os.RemoveAll(dir)
			return
		}
		logs, _ := filepath.Glob(filepath.Join(dir, "*.log"))
		for _, path := range logs {
			text, _ := os.ReadFile(path)
			lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
			last := bytes.Join(lines[max(0, len(lines)-15):], []byte("\n"))
			t.Logf("the end of %s:\n%s", path, last)
		}
	})
	return dir
}

// eventually repeats attempt until it succeeds and gives the time that took; limit is there against hangs.
func eventually(t testing.TB, limit time.Duration, what string, attempt func() error) time.Duration {
	t.Helper()
	begin := time.Now()
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := attempt()
		took := time.Since(begin)
		if err == nil {
			return took
		}
		if took > limit {
			t.Fatalf("%s: not within %v: %v", what, limit, err)
		}
		time.Sleep(pause)
	}
}

// measured prints a figure of the scenario as one line.
func measured(t testing.TB, format string, values ...any) {
	t.Helper()
	fmt.Fprintf(t.Output(), "measured: "+format+"\n", values...)
}
