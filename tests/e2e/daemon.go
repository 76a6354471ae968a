// Runs a dekhand daemon, as one node of a control plane has it.

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Daemon is one node's dekhand; its configuration and socket stay the same across restarts.
type Daemon struct {
	t       testing.TB
	dir     string
	name    string
	config  string
	socket  string
	http    string // the address of health and metrics
	kms     *KMS
	process atomic.Pointer[Process] // a load watches its memory while a scenario starts it anew
	started time.Time
}

// dekhandBinary is the program under test.
func dekhandBinary() (string, error) {
	path := os.Getenv("DEKHAND_BIN")
	if path == "" {
		path = "../../target/debug/dekhand"
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("the program under test is missing (cargo build, or set DEKHAND_BIN): %w", err)
	}
	return path, nil
}

// newDaemon prepares a node; rootKeys is the `root_keys:` part of its configuration.
func newDaemon(t testing.TB, dir, name, rootKeys string) *Daemon {
	t.Helper()
	own := filepath.Join(dir, name)
	// The state directory too, as the installation does: `keys` notes in it that a PIN is right.
	if err := os.MkdirAll(filepath.Join(own, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(own, "kms.sock")
	d := &Daemon{
		t: t, dir: dir, name: name, config: filepath.Join(own, "config.yaml"),
		socket: socket, http: fmt.Sprintf("127.0.0.1:%d", reservePort(t)), kms: dial(socket),
	}
	d.configure(rootKeys)
	return d
}

// configure writes the configuration, whose last sections may be given; a daemon takes other root keys at its next start.
func (d *Daemon) configure(rootKeys string, sections ...string) {
	d.t.Helper()
	text := fmt.Sprintf(`apiVersion: dekhand/v1
name: %s
state: %q
listen: {socket: %q}
http: {address: %q}
%sprobe: {interval: 1s}
log: {level: info, format: json}
`, d.name, filepath.Join(filepath.Dir(d.config), "state"), d.socket, d.http, rootKeys)
	text += strings.Join(sections, "")
	if err := os.WriteFile(d.config, []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// withoutV1 has the daemon, from its next start on, serve KMS v2 alone.
func (d *Daemon) withoutV1() {
	d.t.Helper()
	text, err := os.ReadFile(d.config)
	if err != nil {
		d.t.Fatal(err)
	}
	changed := strings.Replace(string(text), "listen: {", "listen: {v1beta1: off, ", 1)
	if changed == string(text) {
		d.t.Fatalf("%s has no place for v1beta1: off", d.config)
	}
	if err := os.WriteFile(d.config, []byte(changed), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// endpoint is what an EncryptionConfiguration says to reach this daemon.
func (d *Daemon) endpoint() string { return "unix://" + d.socket }

// launch starts the process and does not wait for anything.
func (d *Daemon) launch() {
	d.t.Helper()
	program, err := dekhandBinary()
	if err != nil {
		d.t.Fatal(err)
	}
	d.started = time.Now()
	d.process.Store(startProcess(d.t, d.dir, d.name, program, "serve", "--config", d.config))
}

// Start starts the process and gives the time to its first answer.
func (d *Daemon) Start() time.Duration {
	d.t.Helper()
	d.launch()
	eventually(d.t, 30*time.Second, d.name+" answers", func() error {
		if !d.process.Load().Running() {
			d.t.Fatalf("%s ended", d.name)
		}
		_, err := d.kms.Status()
		return err
	})
	return time.Since(d.started)
}

// Kill ends the process with SIGKILL.
func (d *Daemon) Kill() { d.process.Load().Kill() }

// Stop ends the process with SIGTERM.
func (d *Daemon) Stop() { d.process.Load().Stop() }

// keyID is what Status reports now.
func (d *Daemon) keyID() string {
	d.t.Helper()
	keyID, err := d.kms.Status()
	if err != nil {
		d.t.Fatalf("Status of %s: %v", d.name, err)
	}
	return keyID
}

// awaitKeyID waits until Status reports the key_id, which is active from the given time.
func (d *Daemon) awaitKeyID(want string, active time.Time) {
	d.t.Helper()
	eventually(d.t, time.Until(active)+time.Minute, d.name+" reports the new key_id", func() error {
		got, err := d.kms.Status()
		if err == nil && got != want {
			err = fmt.Errorf("it reports %s, not %s", got, want)
		}
		return err
	})
}
