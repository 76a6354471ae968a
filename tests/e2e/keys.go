// Runs `dekhand keys` and `dekhand status` as an operator does.

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// version is a line of `dekhand keys list`.
type version struct {
	Version string  `json:"version"`
	ID      string  `json:"id"`
	State   string  `json:"state"`
	Since   *string `json:"since"`
	Primary bool    `json:"primary"`
}

// command runs dekhand with this node's configuration and gives what it wrote on stdout.
func (d *Daemon) command(args ...string) ([]byte, error) {
	program, err := dekhandBinary()
	if err != nil {
		return nil, err
	}
	var out, talk bytes.Buffer
	cmd := exec.Command(program, append(args, "--config", d.config)...)
	cmd.Stdout, cmd.Stderr = &out, &talk
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("dekhand %q on %s: %w\n%s", args, d.name, err, talk.Bytes())
	}
	return out.Bytes(), nil
}

// v1beta1 is what `dekhand status` says of KMS v1.
func (d *Daemon) v1beta1() string {
	d.t.Helper()
	out, err := d.command("status", "--output", "json")
	var said struct {
		V1beta1 string `json:"v1beta1"`
	}
	if err == nil {
		err = json.Unmarshal(out, &said)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return said.V1beta1
}

// keys runs `dekhand keys`, which must succeed.
func (d *Daemon) keys(args ...string) []byte {
	d.t.Helper()
	out, err := d.command(append([]string{"keys"}, args...)...)
	if err != nil {
		d.t.Fatal(err)
	}
	return out
}

// createRootKey makes the first version, before any daemon starts.
func (d *Daemon) createRootKey() {
	d.t.Helper()
	d.keys("create", "--root-key", rootKeyName)
}

// versions gives the versions of the root key, oldest first, as this node's store has them.
func (d *Daemon) versions() []version {
	d.t.Helper()
	var listed struct {
		RootKeys []struct {
			Name     string    `json:"name"`
			Versions []version `json:"versions"`
		} `json:"root_keys"`
	}
	text := d.keys("list", "--output", "json")
	if err := json.Unmarshal(text, &listed); err != nil {
		d.t.Fatalf("keys list: %v\n%s", err, text)
	}
	for _, rootKey := range listed.RootKeys {
		if rootKey.Name == rootKeyName {
			return rootKey.Versions
		}
	}
	d.t.Fatalf("keys list does not name the root key %s:\n%s", rootKeyName, text)
	return nil
}

// newest is the version with the highest number; it must have a date to come or past, as `dated` says.
func (d *Daemon) newest(dated bool) (id string, active time.Time) {
	d.t.Helper()
	all := d.versions()
	last := all[len(all)-1]
	if (last.Since != nil) != dated {
		d.t.Fatalf("%s of %s: dated is %v, expected %v", last.Version, d.name, last.Since != nil, dated)
	}
	if dated {
		var err error
		if active, err = time.Parse(time.RFC3339, *last.Since); err != nil {
			d.t.Fatal(err)
		}
	}
	return last.ID, active
}

// record makes a verification record of the pending version and gives its file.
func (d *Daemon) record() string {
	d.t.Helper()
	file := filepath.Join(d.dir, d.name+"-record")
	if err := os.WriteFile(file, d.keys("verify", "--record"), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return file
}

// verifyAgainst says whether this node's key opens the record.
func (d *Daemon) verifyAgainst(file string) error {
	_, err := d.command("keys", "verify", "--against", file)
	return err
}
